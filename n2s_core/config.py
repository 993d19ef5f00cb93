"""The configuration of a dataset: one TOML file, judged when it is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from n2s_core.errors import ConfigError

FOLDER = ".n2s"
NAME = "config.toml"
PACK_SIZE = 16 << 20
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """`[dataset]`: what is kept. `root` is relative to the folder that holds `.n2s`."""

    id: str
    name: str
    root: str = "."
    using: str = "find"
    options: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    exclude_if_present: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False


@dataclass(frozen=True, slots=True)
class StoreTable:
    """`[store]`: where it goes. Sizes in bytes; `compression` is the zstd level, 0 for none."""

    url: str
    pack_size: int = PACK_SIZE
    share: bool = False
    compression: int = 1


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """`[catalogue]`: a path relative to the folder of the config."""

    url: str = "catalogue.db"


@dataclass(frozen=True, slots=True)
class KeyTable:
    """`[key]`: where the passphrase or the master key comes from; never the secret itself."""

    passphrase_command: str = ""
    passphrase_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class WorkersTable:
    """`[workers]`: how many processes seal; 0 means one per processor, 8 at most."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, and the file that it came from."""

    path: Path
    dataset: DatasetTable
    store: StoreTable
    catalogue: CatalogueTable
    key: KeyTable
    workers: WorkersTable

    @property
    def root(self) -> Path:
        """Absolute path of the tree."""
        base = self.path.parent
        if base.name == FOLDER:
            base = base.parent
        return Path(os.path.normpath(base / self.dataset.root))

    @property
    def catalogue_path(self) -> Path:
        """Absolute path of the catalogue's file."""
        return self.path.parent / self.catalogue.url.removeprefix("sqlite:")

    @property
    def store_url(self) -> str:
        """The URL with a relative folder made absolute, from where the configuration lies."""
        return absolute_url(self.store.url, self.path.parent)


_TABLES = {
    "dataset": DatasetTable,
    "store": StoreTable,
    "catalogue": CatalogueTable,
    "key": KeyTable,
    "workers": WorkersTable,
}


def find(start: Path, environment: Mapping[str, str], wanted: Path | None = None) -> Path:
    """The file to use: `wanted`, $N2S_CONFIG, the nearest `.n2s` upwards, the user's, the host's.

    Raises ConfigError when there is none.
    """
    chosen = wanted or (Path(environment["N2S_CONFIG"]) if environment.get("N2S_CONFIG") else None)
    if chosen is not None:
        if chosen.is_dir():
            chosen = chosen / FOLDER / NAME if (chosen / FOLDER / NAME).exists() else chosen / NAME
        if not chosen.is_file():
            message = f"There is no configuration at {chosen}."
            raise ConfigError(message)
        return chosen.absolute()
    start = start.absolute()
    places = [folder / FOLDER / NAME for folder in (start, *start.parents)]
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME", "/"), ".config"
    )
    places += [Path(home) / "n2s" / NAME, Path("/etc/n2s") / NAME]
    for place in places:
        if place.is_file():
            return place
    message = (
        "There is no n2s configuration here or above. Prepare a directory with"
        " 'n2s init ROOT --store URL', or name one with --config or $N2S_CONFIG."
    )
    raise ConfigError(message)


def chosen(wanted: Path | None) -> Config:
    """The configuration that is meant here and now. Raises ConfigError."""
    return read(find(Path.cwd(), os.environ, wanted))


def read(path: Path) -> Config:
    """Read and judge a file. Raises ConfigError naming the file and the key."""
    import tomllib  # noqa: PLC0415 - the writer needs none

    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"The configuration {path} cannot be read: {error.strerror}."
        raise ConfigError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"The configuration {path} is not TOML: {error}."
        raise ConfigError(message) from error
    for name in found:
        if name not in _TABLES:
            message = f"{path}: there is no table [{name}]; there are {', '.join(_TABLES)}."
            raise ConfigError(message)
    tables = {name: _table(path, name, kind, found.get(name, {})) for name, kind in _TABLES.items()}
    config = Config(path=path, **tables)
    if config.store.pack_size < 0 or not -7 <= config.store.compression <= 19:  # noqa: PLR2004 - zstd's levels
        message = f"{path}: pack_size must not be negative, compression is a level from -7 to 19."
        raise ConfigError(message)
    try:
        bytes.fromhex(config.dataset.id)
    except ValueError:
        message = f"{path}: [dataset] id is not the hexadecimal id that 'n2s init' wrote."
        raise ConfigError(message) from None
    return config


def _table(path: Path, name: str, kind: type, found: object) -> Any:
    if not isinstance(found, dict):
        message = f"{path}: [{name}] must be a table."
        raise ConfigError(message)
    known = {one.name: one for one in fields(kind)}
    values = {}
    for key, value in found.items():
        if key not in known:
            message = f"{path}: [{name}] has no key {key!r}; it has {', '.join(known)}."
            raise ConfigError(message)
        values[key] = _value(f"{path}: [{name}] {key}", known[key].type, value)
    try:
        return kind(**values)
    except TypeError:
        missing = [one for one in ("id", "name", "url") if one in known and one not in values]
        message = f"{path}: [{name}] lacks {', '.join(missing)}."
        raise ConfigError(message) from None


def _value(where: str, kind: Any, value: object) -> object:
    if kind is int and isinstance(value, str):
        return parse_size(value, where=where)
    if kind in (str, bool, int):
        if type(value) is not kind:
            message = f"{where} must be of type {kind.__name__}."
            raise ConfigError(message)
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            message = f"{where} must be a list of strings."
            raise ConfigError(message)
        return tuple(value)
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        message = f"{where} must be a table of strings."
        raise ConfigError(message)
    return dict(value)


def parse_size(text: str, *, where: str = "The size") -> int:
    """Bytes of a size such as `16M`, `64MiB` or `0`. Raises ConfigError."""
    bare = text.strip().lower().removesuffix("b").removesuffix("i")
    digits = bare.rstrip("kmg")
    unit = bare[len(digits) :]
    if not digits.isdigit() or unit not in _UNITS:
        message = f"{where} is {text!r}; write bytes, or for example 512K, 16M, 1G."
        raise ConfigError(message)
    return int(digits) * _UNITS[unit]


def to_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a configuration: strings, numbers, booleans, lists and tables of strings."""
    import json  # noqa: PLC0415 - the reader needs none

    lines = ["# Written by 'n2s init'; docs/configuration.md explains every key."]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        nested = []
        for key, value in table.items():
            if isinstance(value, Mapping):
                nested.append((key, value))
            else:
                lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        for key, inner in nested:
            lines += ["", f"[{name}.{key}]"]
            lines += [
                f"{json.dumps(one)} = {json.dumps(what, ensure_ascii=False)}"
                for one, what in inner.items()
            ]
    return "\n".join(lines) + "\n"


def absolute_url(url: str, base: Path) -> str:
    """A store URL that means the same from every directory; a relative one counts from `base`."""
    scheme, colon, rest = url.partition(":")
    if colon and scheme != "file":
        return url
    path = rest if colon else url
    if path.startswith("///"):
        path = path[2:]
    if path.startswith("~"):
        path = os.path.expanduser(path)
    return "file:" + os.path.normpath(base / path)
