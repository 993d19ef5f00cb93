"""Copying a whole catalogue to another address: row by row, whatever databases there are.

Imported by who copies only, because the tables are declared with SQLAlchemy.
"""

import contextlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3
from msgpack import Packer
from sqlalchemy import String, Table

from n2s_core.catalogue import schema
from n2s_core.catalogue.database import (
    Database,
    Row,
    create_database,
    incarnation,
    open_database,
)
from n2s_core.catalogue.holding import Held
from n2s_core.catalogue.repeating import Repeating
from n2s_core.catalogue.versions import MOVED_TO, SCHEMA_VERSION, VERSION, require_usable
from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress, files_of
from n2s_core.errors import CatalogueError
from n2s_core.faults import crash_point
from n2s_core.model import Progress, Report

AT_ONCE = 10_000
"""So many rows, or so many bytes, are in memory and in one transaction of the target."""
BYTES_AT_ONCE = 8 << 20
ASKED_EVERY_S = 3
NUL, INSTEAD = "\0", "\N{REPLACEMENT CHARACTER}"
OWN_PROPERTIES = frozenset({SCHEMA_VERSION, MOVED_TO, "incarnation"})
"""What a copy does not take over: it has its own."""
NOT_COPIED = frozenset({"leases"})
"""Who has a lease has it of the source."""


class Copied(NamedTuple):
    """What was copied: rows by table, and how many texts lost a character."""

    rows: dict[str, int]
    changed_texts: int


class _Rows:
    """The rows of one table in the order of its key, as a target can hold them, and their sum."""

    def __init__(self, table: Table, *, without_nul: bool) -> None:
        self.columns = [column.name for column in table.columns]
        names = ", ".join(self.columns)
        marks = ", ".join("?" * len(self.columns))
        order = ", ".join(column.name for column in table.primary_key)
        self.select = f"SELECT {names} FROM {table.name} ORDER BY {order}"  # noqa: S608 - declared
        self.insert = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - same
        self._texts = [
            at
            for at, column in enumerate(table.columns)
            if without_nul and isinstance(column.type, String)
        ]
        self._own = OWN_PROPERTIES if table.name == "properties" else frozenset[str]()
        self._pack = Packer().pack
        self.hash = blake3()
        self.count = 0
        self.changed_texts = 0

    def of(self, db: Database) -> Generator[tuple[Row, int], None, None]:
        """Each row, and how many bytes it is."""
        for row in db.stream(self.select):
            if row[0] in self._own:
                continue
            held = self._held(row) if self._texts else row
            packed = self._pack(held)
            self.hash.update(packed)
            self.count += 1
            yield held, len(packed)

    def _held(self, row: Row) -> Row:
        found = list(row)
        for at in self._texts:
            if found[at] is not None and NUL in found[at]:
                found[at] = found[at].replace(NUL, INSTEAD)
                self.changed_texts += 1
        return tuple(found)

    @property
    def sum(self) -> tuple[int, bytes]:
        """How many there were, and a digest of all of them in order."""
        return self.count, self.hash.digest()


def copy(
    source: CatalogueAddress, target: CatalogueAddress, *, moving: bool, report: Report
) -> Copied:
    """Make a catalogue at `target` with every row of the one at `source`.

    Nobody else writes into the source meanwhile. Every row is read back and compared. What was not
    finished is no catalogue, and the next copy begins anew there. With `moving` the source is not
    usable any more, and says where it went. Raises LeaseHeld while a push, a prune or a rebuild
    runs, CatalogueError when something is at the target, or cannot be read or written.
    """
    with open_database(source) as db:
        require_usable(db, str(source))
        _clear(target)
        with Held(db) as held, db.transaction(durable=True):
            held.guard()
            with create_database(target) as new:
                new.create_tables()  # whoever was faster keeps what is there
                try:
                    crash_point("copy-begun")
                    alive = _Alive(db)
                    with alive.kept():
                        copied = _Copy(db, new, alive, report).run()
                except BaseException:
                    with contextlib.suppress(CatalogueError):  # the next copy removes it
                        _discard(target)
                    raise
            if isinstance(target, Path):
                _flush_folder(target)
            crash_point("copy-finished")
            if moving:
                db.execute(
                    "INSERT INTO properties (name, value) VALUES (?, ?)",
                    (MOVED_TO, _shown(target).encode(errors="surrogateescape")),
                )
        crash_point("copy-moved")
    return copied


def _shown(target: CatalogueAddress) -> str:
    """Where the copy is, for who looks for it from another machine."""
    if isinstance(target, PostgresqlAddress):
        return str(target)
    return f"{target} (a file on {os.uname().nodename})"


def _clear(target: CatalogueAddress) -> None:
    """Remove what a copy that died had made. Raises CatalogueError when it is anything else."""
    if incarnation(target) is None:
        return
    if not isinstance(target, Path) or target.stat().st_size:
        with open_database(target, read_only=True) as db:
            for table in schema.TABLES.sorted_tables:
                db.one(f"SELECT 1 FROM {table.name}")  # noqa: S608 - declared
            if db.one("SELECT 1 FROM properties WHERE name = ?", (SCHEMA_VERSION,)) is not None:
                message = (
                    f"There is a catalogue at {target} already. Name another address, or remove it."
                )
                raise CatalogueError(message)
    _discard(target)


def _discard(target: CatalogueAddress) -> None:
    """Remove it; an empty schema stays, because an administrator may have made it."""
    if isinstance(target, PostgresqlAddress):
        names = ", ".join(schema.TABLES.tables)
        with create_database(target) as db:  # opens it, and makes nothing yet
            db.execute(f"DROP TABLE IF EXISTS {names} CASCADE")
            db.execute("DROP FUNCTION IF EXISTS readable(bytea)")
    else:
        for path in files_of(target):
            path.unlink(missing_ok=True)


def _flush_folder(path: Path) -> None:
    """The name of a new file is on the disk."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


class _Alive:
    """Asks the source something now and then, whatever is waited for elsewhere.

    Its server disconnects who is in a transaction and silent for long, because it may be gone.
    Nobody else uses this connection meanwhile.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._error: CatalogueError | None = None
        self._lock = threading.Lock()

    def kept(self) -> Repeating:
        """A context manager around all that takes long."""
        return Repeating("alive", ASKED_EVERY_S, self._goes_on)

    def _goes_on(self) -> bool:
        try:
            self.ask()
        except CatalogueError as error:
            self._error = error
            return False
        return True

    def ask(self) -> None:
        """Raises CatalogueError when the transaction is over."""
        with self._lock:
            self._db.one("SELECT 1")

    def check(self) -> None:
        """Raises the CatalogueError that it met."""
        if self._error is not None:
            raise self._error


class _Copy:
    """One copy into empty tables."""

    def __init__(self, source: Database, target: Database, alive: _Alive, report: Report) -> None:
        self._source = source
        self._target = target
        self._alive = alive
        self._report = report
        self._without_nul = isinstance(target.address, PostgresqlAddress)

    def run(self) -> Copied:
        """Copy, compare, finish."""
        rows: dict[str, int] = {}
        changed = 0
        tables = [one for one in schema.TABLES.sorted_tables if one.name not in NOT_COPIED]
        for table in tables:
            wanted = self._copy(table)
            changed += wanted.changed_texts
            rows[table.name] = wanted.count
            crash_point("copy-table")
            self._compare(table, wanted)
        self._target.settle()
        self._alive.ask()  # or somebody may have written what is not in the copy
        self._finish()
        return Copied(rows, changed)

    def _copy(self, table: Table) -> _Rows:
        rows = _Rows(table, without_nul=self._without_nul)
        with contextlib.closing(rows.of(self._source)) as found:
            for page in _pages(found):
                with self._target.transaction():
                    self._target.execute_many(rows.insert, page)
                self._tick(f"copying {table.name}", rows.count)
        return rows

    def _compare(self, table: Table, wanted: _Rows) -> None:
        found = _Rows(table, without_nul=False)
        with contextlib.closing(found.of(self._target)) as rows:
            for number, _ in enumerate(rows):
                if number % AT_ONCE == 0:
                    self._tick(f"comparing {table.name}", number)
        if found.sum != wanted.sum:
            message = (
                f"The table {table.name} of the copy at {self._target.address} is not what was"
                f" copied: {found.count} rows of {wanted.count}. The copy was removed; the"
                " catalogue that was copied is as it was."
            )
            raise CatalogueError(message)

    def _tick(self, what: str, rows: int) -> None:
        self._alive.check()
        self._report(Progress(what, rows, 0))

    def _finish(self) -> None:
        with self._target.transaction(durable=True):
            self._target.execute(
                "INSERT INTO properties (name, value) VALUES (?, ?)",
                (SCHEMA_VERSION, str(VERSION).encode()),
            )
            crash_point("copy-unfinished")


def _pages(rows: Iterable[tuple[Row, int]]) -> Iterator[list[Row]]:
    page: list[Row] = []
    size = 0
    for row, length in rows:
        page.append(row)
        size += length
        if len(page) >= AT_ONCE or size >= BYTES_AT_ONCE:
            yield page
            page, size = [], 0
    if page:
        yield page
