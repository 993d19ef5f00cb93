"""A catalogue in a file of SQLite."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from n2s_core.catalogue.database import Row
from n2s_core.errors import CatalogueBusy, CatalogueError

BUSY_S = 30
CACHE_KIB = 32 << 10
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def file_at(path: Path) -> tuple[int, int] | None:
    """Which file lies at the path now; while it is open no other one gets its number."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class SqliteDatabase:
    """Implements Database: one connection to one file."""

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False) -> None:
        """Open (or create, 0600) the file. Raises CatalogueError."""
        self.address = path
        self.server_ns = None
        if create:
            self._make(path)
        elif not path.exists():
            message = (
                f"There is no catalogue at {path}. 'n2s rebuild' makes it anew from the store."
            )
            raise CatalogueError(message)
        with self._named():
            self._file = file_at(path)
            self._db = self._connect()
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            if read_only:
                self._db.execute("PRAGMA query_only = 1")
            else:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.address, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )

    def _require_file(self) -> None:
        """What is written into a file that was replaced or removed is lost, and guards nothing.

        A rebuild puts its file in the place of this one while nobody else is in a transaction.
        """
        if file_at(self.address) != self._file:
            message = (
                f"The catalogue {self.address} was replaced or removed while it was in use, so"
                " nothing more is done with it. Run the command again."
            )
            raise CatalogueError(message)

    @staticmethod
    def _make(path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            message = f"There is a catalogue at {path} already."
            raise CatalogueError(message) from None
        except OSError as error:
            message = f"The catalogue {path} cannot be created: {error.strerror}."
            raise CatalogueError(message) from error

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code, kind = getattr(error, "sqlite_errorcode", 0) & 0xFF, CatalogueError
            if code in _FULL:
                advice = (
                    "Is its disk full? What was confirmed is kept; push again when there is room."
                )
            elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                advice = "It is damaged; move it away and run 'n2s rebuild'."
            elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                advice, kind = "Another program holds it; try again.", CatalogueBusy
            elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                advice = "It cannot be opened for writing; check its permissions and its folder."
            else:
                advice = "If it is damaged, move it away and run 'n2s rebuild'."
            message = f"The catalogue {self.address} cannot be used: {error}. {advice}"
            raise kind(message) from error

    def __enter__(self) -> "SqliteDatabase":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All or nothing. A `durable` one is on the disk when it returns.

        Raises CatalogueError; what was written inside is undone by any exception.
        """
        with self._named():
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
        try:
            self._require_file()
            with self._named():
                yield
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise
        finally:
            if durable:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        with self._named():
            return self._db.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows."""
        with self._named():
            self._db.executemany(statement, rows)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of an answer."""
        with self._named():
            row: Row | None = self._db.execute(statement, values).fetchone()
            return row

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of an answer that is known to be small."""
        with self._named():
            return self._db.execute(statement, values).fetchall()

    def stream(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of an answer one by one, as they are when the first is asked for.

        They come over a connection of their own: on this one nothing could be written meanwhile
        as soon as anybody else had written something.
        """
        with self._named(), contextlib.closing(self._connect()) as reading:
            self._require_file()
            reading.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            reading.execute("PRAGMA query_only = 1")
            yield from reading.execute(statement, values)

    def create_tables(self) -> None:
        """The schema's, in one transaction."""
        from n2s_core.catalogue import schema  # noqa: PLC0415 - SQLAlchemy takes 130 ms to import

        with self.transaction(durable=True):
            for statement in schema.sqlite_statements():
                self._db.execute(statement)
            self._db.execute(
                "INSERT INTO properties (name, value) VALUES ('incarnation', ?)", (os.urandom(16),)
            )

    @contextlib.contextmanager
    def overwriting(self, table: str) -> Iterator[None]:
        """Bytes are overwritten in the file and do not stay in the write-ahead log."""
        del table
        self.execute("PRAGMA secure_delete = 1")
        yield
        self.settle()

    def settle(self) -> None:
        """Put all into the one file."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def incarnation(self) -> object:
        """The number of the file that lies at the address now."""
        return file_at(self.address)

    def version(self) -> str:
        """Of the library."""
        return f"SQLite {sqlite3.sqlite_version}"

    def complaint(self) -> str:
        """None."""
        return ""
