"""The database under the catalogue, as everybody but its two adapters knows it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress
from n2s_core.errors import CatalogueError

Row = tuple[Any, ...]


class Database(Protocol):
    """One connection. Statements use `?`; every write happens inside `transaction`.

    Statements are such as SQLite and PostgreSQL both take, but for what the adapter of the latter
    translates. Numbers, texts and bytes come back as int, str and bytes. Not for several threads
    at once. A context manager that closes the connection.
    """

    @property
    def address(self) -> CatalogueAddress:
        """Where it is."""

    @property
    def server_ns(self) -> int | None:
        """The server's time of day when the open transaction began, ns since 1970.

        None where there is no server: then the clock of this machine counts.
        """

    def __enter__(self) -> "Database":
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Close the connection."""

    def close(self) -> None:
        """Close the connection."""

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[None]:
        """All or nothing, and nobody else writes meanwhile. A `durable` one is on the disk.

        One that is not may be lost with the power of the machine, with all that followed it.
        Raises CatalogueError; what was written inside is undone by any exception. Raises it too
        when the catalogue is not the one that was opened any more.
        """

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, as if one after the other."""

    def one(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of an answer."""

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows of an answer that is known to be small."""

    def stream(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of an answer one by one, as they are when the first is asked for.

        They come over a connection of their own, so that this one can write meanwhile.
        """

    def create_tables(self) -> None:
        """Make the tables of a new catalogue."""

    def overwriting(self, table: str) -> AbstractContextManager[None]:
        """What is deleted from the table inside cannot be found in its files afterwards."""

    def settle(self) -> None:
        """After much was written: bring it into its final place, and count it for the planner."""

    def incarnation(self) -> object:
        """What no other catalogue at this address has; None when there is none now."""

    def version(self) -> str:
        """The name and version of the database."""

    def complaint(self) -> str:
        """What of the database will be in the way one day, in a sentence; empty if nothing."""


def open_database(address: CatalogueAddress, *, read_only: bool = False) -> Database:
    """Open the one that is there. Raises CatalogueError."""
    if isinstance(address, PostgresqlAddress):
        return _postgresql(address, read_only=read_only)
    from n2s_core.catalogue.database_sqlite import SqliteDatabase  # noqa: PLC0415 - or sqlite3

    return SqliteDatabase(address, read_only=read_only)


def create_database(address: CatalogueAddress) -> Database:
    """Make an empty one, and open it. Raises CatalogueError, also when there is one."""
    if isinstance(address, PostgresqlAddress):
        return _postgresql(address, create=True)
    from n2s_core.catalogue.database_sqlite import SqliteDatabase  # noqa: PLC0415

    return SqliteDatabase(address, create=True)


def incarnation(address: CatalogueAddress) -> object:
    """What no other catalogue at this address has; None when there is none. Raises CatalogueError.

    Of a file it is known without opening it.
    """
    if isinstance(address, Path):
        from n2s_core.catalogue.database_sqlite import file_at  # noqa: PLC0415

        return file_at(address)
    with _postgresql(address, create=True) as db:
        return db.incarnation()


def _postgresql(
    address: PostgresqlAddress, *, create: bool = False, read_only: bool = False
) -> Database:
    """Its adapter. Raises CatalogueError, also when the library that it needs is not there."""
    try:
        from n2s_core.catalogue.database_postgresql import PostgresqlDatabase  # noqa: PLC0415
    except ImportError as error:
        message = (
            f"The catalogue {address} needs a library that is not installed ({error});"
            " pip install 'n2s[postgresql]' brings it."
        )
        raise CatalogueError(message) from error
    return PostgresqlDatabase(address, create=create, read_only=read_only)
