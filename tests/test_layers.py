"""Who may import whom.

A module imports from lower floors only, and the rooms of one floor do not know each other.
Imports inside one room (a module, or a package) are free.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TOP = Path(__file__).parents[1]
CORE = "n2s_core"
PLUGINS = "n2s_plugins"

# `errors` is the ground under floor 0, whose rooms raise what it defines.
FLOORS = (
    ("errors",),
    ("relpath", "clock", "faults", "judging", "hardening", "version"),
    ("model", "facts", "pending", "retention", "verdicts", "catalogue_address"),
    (
        "ports", "excludes", "reading", "hashing", "segments", "keys", "sealing", "manifest",
        "layout", "remotes", "prices", "sizes", "keypage", "credentials", "workers", "turns",
    ),
    ("walking", "writing", "packs", "rows", "hookspecs", "wanted", "uses", "orphans", "moves"),
    ("jobs",),
    ("catalogue_port",),
    ("plugins", "config", "stores", "catalogue", "flows"),
    ("app",),
    ("cli", "testing"),
    ("__main__",),
)  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
APP = FLOOR["app"]

FOR_PLUGINS = frozenset({"errors", "relpath", "clock", "model", "ports"})
ADAPTERS = frozenset({"stores", "catalogue", "flows"})

# A heavy or dangerous library, and the modules that may import it.
KEEPERS = {
    "sqlite3": ("n2s_core.catalogue.database_sqlite",),
    "psycopg": ("n2s_core.catalogue.database_postgresql", "n2s_core.catalogue.postgresql_"),
    "sqlalchemy": (
        "n2s_core.catalogue.schema",
        "n2s_core.catalogue.copying",
        "n2s_core.catalogue.upgrading",
        "n2s_core.catalogue.migrations",
    ),
    "alembic": ("n2s_core.catalogue.upgrading", "n2s_core.catalogue.migrations"),
    "http.client": (
        "n2s_core.stores.connections",
        "n2s_core.stores.rclone",
        "n2s_core.stores.ipfs",
    ),
    "subprocess": ("n2s_core.stores.rclone", "n2s_core.app.pool", "n2s_core.app.secrets"),
    "typer": ("n2s_core.cli", "n2s_core.__main__"),
    "rich": ("n2s_core.cli", "n2s_core.__main__"),
    "pytest": ("n2s_core.testing",),
    "zfec": ("n2s_core.stores.shards",),
    "mnemonic": ("n2s_core.keypage",),
    "segno": ("n2s_core.app.key_page",),
    "keyring": ("n2s_core.app.secrets",),
    "distributed": ("n2s_core.app.dask_",),
    "dask": ("n2s_core.app.dask_",),
}


# Distributions that are not called as what they bring.
DISTRIBUTIONS = {"google_crc32c": "google-crc32c", "yaml": "PyYAML"}


class Import(NamedTuple):
    """`module` says at `line` that it needs `wanted`, a dotted name."""

    module: str
    line: int
    wanted: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.wanted}"


def modules() -> dict[str, Path]:
    found = {}
    for root in (TOP / CORE, TOP / "plugins" / PLUGINS):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Every import, also those in functions and under TYPE_CHECKING.

    `from package import module` counts as an import of the module, and of `package` alone
    when what is imported is no module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield Import(module, node.lineno, "." * node.level + (node.module or ""))
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                foreign = not is_within(full, CORE) and not is_within(full, PLUGINS)
                yield Import(
                    module, node.lineno, full if foreign or full in MODULES else str(node.module)
                )


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def room(name: str) -> str:
    """The room of a module of n2s_core; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


IMPORTS = [one for name, path in MODULES.items() for one in imports_of(name, path.read_text())]


def offences(imports: list[Import]) -> Iterator[str]:
    """Each import of n2s_core's modules among themselves that breaks the rule of the floors."""
    for one in imports:
        if not is_within(one.module, CORE) or not is_within(one.wanted, CORE):
            continue
        here, there = room(one.module), room(one.wanted)
        if here == there:
            continue
        if not here:
            if there not in ("app", "version"):
                yield f"{one}: the package itself may know app and its version alone"
        elif FLOOR[there] >= FLOOR[here] if there else FLOOR[here] <= APP:
            yield f"{one}: {there or CORE} is not below {here}"


def test_every_room_has_a_floor() -> None:
    rooms = {room(name) for name in MODULES if is_within(name, CORE)} - {""}
    assert sorted(rooms - FLOOR.keys()) == []


def test_imports_go_down() -> None:
    assert list(offences(IMPORTS)) == []


def test_only_app_builds() -> None:
    """Only app knows the adapters: the front ends (cli, __main__) go through it."""
    above = [
        str(one)
        for one in IMPORTS
        if is_within(one.module, CORE)
        and FLOOR.get(room(one.module), APP + 1) > APP
        and is_within(one.wanted, CORE)
        and room(one.wanted) in ADAPTERS
    ]
    assert above == []


def test_imports_are_absolute() -> None:
    assert [str(one) for one in IMPORTS if one.wanted.startswith(".")] == []


def test_plugins_know_the_ports_and_nobody_else() -> None:
    wrong = []
    for one in IMPORTS:
        if not is_within(one.module, PLUGINS):
            continue
        if is_within(one.wanted, CORE):
            allowed = room(one.wanted) in FOR_PLUGINS
        else:
            other = is_within(one.wanted, PLUGINS) and one.wanted != PLUGINS
            own = ".".join(one.module.split(".")[:2])
            allowed = not other or is_within(one.wanted, own)
        if not allowed:
            wrong.append(str(one))
    assert wrong == []


def test_the_core_does_not_import_the_plugins() -> None:
    wrong = [
        one for one in IMPORTS if is_within(one.module, CORE) and is_within(one.wanted, PLUGINS)
    ]
    assert [str(one) for one in wrong] == []


@pytest.mark.parametrize("library", sorted(KEEPERS))
def test_a_heavy_library_stays_in_its_adapter(library: str) -> None:
    """`n2s_core.stores.rclone` stands for all modules whose names begin so."""
    wrong = [
        str(one)
        for one in IMPORTS
        if is_within(one.module, CORE)
        and is_within(one.wanted, library)
        and not one.module.startswith(KEEPERS[library])
    ]
    assert wrong == []


def test_libraries_are_declared() -> None:
    """Whatever else is imported is the standard library or stands in pyproject.toml."""
    declared = (TOP / "pyproject.toml").read_text().lower()
    own = {CORE, PLUGINS, "__future__"}
    foreign = {one.wanted.split(".")[0] for one in IMPORTS} - sys.stdlib_module_names - own
    names = {DISTRIBUTIONS.get(name, name).lower() for name in foreign}
    assert sorted(name for name in names if f'"{name}>=' not in declared) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("n2s_core.flows.push", "from n2s_core.stores import open_store"),
        ("n2s_core.flows.push", "from n2s_core import stores"),
        ("n2s_core.sealing", "def late():\n    import n2s_core.keys"),
        ("n2s_core.ports", "from n2s_core.app.pool import WorkerPool"),
        ("n2s_core.config", "import n2s_core"),
        ("n2s_core", "from n2s_core.flows import push"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(list(offences(list(imports_of(module, source))))) == 1
