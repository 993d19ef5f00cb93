"""What a catalogue is, whatever its version: for people who want to know before they change it."""

from pathlib import Path
from typing import NamedTuple

from n2s_core.catalogue.database import Database, open_database
from n2s_core.catalogue.versions import MOVED_TO, version_in
from n2s_core.catalogue_address import CatalogueAddress, files_of

_IN_FILE = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " ORDER BY name"
)
_IN_SCHEMA = (
    "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
)
_ESTIMATE = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(?) AND reltuples >= 0"
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"
)
FEW = 100_000
"""So many rows of a table are counted; the server knows about how many more there are."""


class Description(NamedTuple):
    """What `describe` found. `rows` has every table; of those in `estimated` not quite."""

    kind: str
    version: int
    moved_to: str | None
    rows: dict[str, int]
    estimated: tuple[str, ...]
    size_bytes: int


def describe(address: CatalogueAddress) -> Description:
    """Kind, version, rows of each table, size on the disk. Raises CatalogueError."""
    with open_database(address, read_only=True) as db:
        version = version_in(db, str(address))
        moved = db.one("SELECT value FROM properties WHERE name = ?", (MOVED_TO,))
        is_file = isinstance(address, Path)
        names = [str(row[0]) for row in db.all(_IN_FILE if is_file else _IN_SCHEMA)]
        guessed = {} if is_file else _guessed(db, names)
        return Description(
            kind=db.version(),
            version=version,
            moved_to=None if moved is None else bytes(moved[0]).decode(errors="replace"),
            rows={name: guessed[name] if name in guessed else _count(db, name) for name in names},
            estimated=tuple(guessed),
            size_bytes=_files_size(address) if is_file else int(_one(db, _SIZE)),
        )


def _guessed(db: Database, names: list[str]) -> dict[str, int]:
    """Rows of the tables that have many, as the server counted them last."""
    found = {}
    for name in names:
        row = db.one(_ESTIMATE, (name,))
        if row is not None and row[0] > FEW:
            found[name] = int(row[0])
    return found


def _count(db: Database, table: str) -> int:
    return _one(db, f'SELECT count(*) FROM "{table}"')  # noqa: S608 - a name from the database


def _one(db: Database, statement: str) -> int:
    row = db.one(statement)
    assert row is not None
    return int(row[0])


def _files_size(address: CatalogueAddress) -> int:
    return sum(path.stat().st_size for path in files_of(address) if path.exists())
