"""Catalogues from below: their rows, past everything that n2s promises about them."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from n2s_core.catalogue_address import (
    CatalogueAddress,
    PostgresqlAddress,
    files_of,
    parse_address,
)

_NUMBERS = count(1)


class Answer(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Raw(Protocol):
    """A connection; statements have `?`."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Answer: ...


class _Postgresql:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Answer:
        from n2s_core.catalogue.postgresql_dialect import translated  # noqa: PLC0415 - psycopg

        answer: Answer = self._connection.execute(translated(statement), values)
        return answer


@contextmanager
def opened(address: CatalogueAddress) -> Iterator[Raw]:
    """All that is written is there at the end."""
    if not isinstance(address, PostgresqlAddress):
        with closing(sqlite3.connect(address)) as db, db:
            yield db
        return
    from n2s_core.catalogue import postgresql_connection  # noqa: PLC0415 - psycopg

    with postgresql_connection.borrowed(address) as connection, connection.transaction():
        yield _Postgresql(connection)


def tables(db: Raw, address: CatalogueAddress) -> list[str]:
    """The names of its tables."""
    found: Iterable[Any] = (
        db.execute("SELECT tablename FROM pg_tables WHERE schemaname = ?", (address.schema,))
        if isinstance(address, PostgresqlAddress)
        else db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    )
    return sorted(row[0] for row in found)


def remove(address: CatalogueAddress) -> None:
    """As if there had never been one."""
    if isinstance(address, PostgresqlAddress):
        from n2s_core.catalogue import postgresql_schemas  # noqa: PLC0415 - psycopg

        postgresql_schemas.remove(address)
    for path in files_of(address):
        path.unlink(missing_ok=True)


def copied(url: str) -> str:
    """The URL of a copy of a catalogue on a server, with everything in it."""
    from n2s_core.catalogue.database import create_database  # noqa: PLC0415 - psycopg

    old = parse_address(url, Path("/"))
    assert isinstance(old, PostgresqlAddress)
    new = old.with_schema(f"{old.schema}_copy_{next(_NUMBERS)}")
    with create_database(new) as db:
        db.create_tables()
    with opened(new) as raw:
        for name in tables(raw, new):
            raw.execute(f"DELETE FROM {name}")  # noqa: S608
            raw.execute(f"INSERT INTO {name} SELECT * FROM {old.schema}.{name}")  # noqa: S608
    return str(new)
