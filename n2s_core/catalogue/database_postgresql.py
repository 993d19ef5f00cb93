"""A catalogue in a schema of PostgreSQL.

Whoever writes locks one row of `properties` first, so that one writes at a time, as with SQLite;
those who read wait for nobody. No lock is held while anything but the database is waited for. Who
has the row and does not speak any more (stopped, or on a machine that is gone) is disconnected by
whoever waits for it.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from n2s_core.catalogue import postgresql_connection as connecting
from n2s_core.catalogue.database import Row
from n2s_core.catalogue.postgresql_dialect import Insertion, insertion, translated
from n2s_core.catalogue_address import PostgresqlAddress
from n2s_core.errors import CatalogueBusy, CatalogueError

BUSY_S = 30
AGAIN_S = 0.2
MANY = 200
"""Rows from here on come in one go."""
AT_ONCE = 10_000
PAGE = 5000
INCARNATION = "incarnation"
_LOCKED = (
    "SELECT value, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM properties"
    " WHERE name = 'incarnation' FOR NO KEY UPDATE"
)
_WHICH = "SELECT value FROM properties WHERE name = 'incarnation'"
_HAS_MANY_ROWS = "SELECT reltuples >= 10000 FROM pg_class WHERE oid = 'files'::regclass"
_MAY = (
    "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'),"
    " has_database_privilege(current_database(), 'TEMPORARY'),"
    " quote_ident(current_database()), quote_ident(current_user)"
)
_END_THE_SILENT = (
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a, properties p"
    " WHERE p.name = 'incarnation' AND a.backend_xid = p.xmax AND a.wait_event_type = 'Client'"
    " AND a.state_change < clock_timestamp() - make_interval(secs => $1::float8)"
)


class PostgresqlDatabase:
    """Implements Database."""

    def __init__(
        self, address: PostgresqlAddress, *, create: bool = False, read_only: bool = False
    ) -> None:
        """Open it, or make an empty schema. Raises CatalogueError."""
        self.address = address
        self.server_ns: int | None = None
        self._read_only = read_only
        self._incarnation: bytes | None = None
        self._is_unsure = False
        self._loaded: Counter[str] = Counter()
        with connecting.named(address):
            self._db = connecting.borrow(address)
        self._cursor = self._db.cursor()
        if create:
            return
        try:
            self._incarnation = self.incarnation()
            self._choose_plans()
        except BaseException:
            self.close()
            raise
        if self._incarnation is None:
            self.close()
            message = (
                f"There is no catalogue at {address}. 'n2s rebuild' makes it anew from the store."
            )
            raise CatalogueError(message)

    def __enter__(self) -> "PostgresqlDatabase":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """The connection is kept for the next one of this process."""
        connecting.give_back(self.address, self._db)

    # -- connections ---------------------------------------------------------------------------

    @property
    def _in_transaction(self) -> bool:
        return self._db.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
            TransactionStatus.ACTIVE,
        )

    def _again(self, ask: "Callable[[], psycopg.Cursor[Row]]") -> "psycopg.Cursor[Row]":
        """What a question gets; outside of a transaction on a new connection if need be."""
        inside = self.server_ns is not None
        end = time.monotonic() + BUSY_S
        while True:
            try:
                return ask()
            except psycopg.OperationalError as error:
                if inside or not connecting.is_lost(error) or time.monotonic() > end:
                    raise
            self._connect_again(end)

    def _connect_again(self, end: float) -> None:
        """Raises psycopg.Error when it cannot be had for too long.

        A server that broke down may have lost what it confirmed last, if that was not durable. Who
        wrote such stops, and what follows takes up what is there.
        """
        if self._is_unsure:
            message = (
                f"The connection to the catalogue {self.address} was lost. Run the command again:"
                " it goes on from what was noted."
            )
            raise CatalogueError(message)
        self._db.close()
        connecting.close_idle(self.address)
        while True:
            time.sleep(AGAIN_S)
            try:
                self._db = connecting.borrow(self.address)
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                continue
            break
        self._cursor = self._db.cursor()
        if self._incarnation is not None and self.incarnation() != self._incarnation:
            raise CatalogueError(self._replaced())

    def _choose_plans(self) -> None:
        """Plans may be kept when there are so many rows that none of them ignores the indexes.

        Those of a table that is almost empty would be kept while it grows.
        """
        with connecting.named(self.address):
            if self._incarnation and self._say(_HAS_MANY_ROWS).fetchone() == (True,):
                self._say("SET plan_cache_mode = auto")

    def _replaced(self) -> str:
        return (
            f"The catalogue {self.address} was replaced or removed while it was in use, so nothing"
            " more is done with it. Run the command again."
        )

    def _say(self, text: str) -> "psycopg.Cursor[Row]":
        """Run what has no parameters, of which several may come at once."""
        return self._db.execute(text, prepare=False)

    # -- transactions --------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """See Database."""
        with connecting.named(self.address):
            self._begin(durable=durable)
        try:
            with connecting.named(self.address):
                yield
                self._commit()
                self._is_unsure = not durable
                if durable:
                    self._count_loaded()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self.server_ns = None

    def _begin(self, *, durable: bool) -> None:
        """Begin, and be the only one who writes. Raises CatalogueBusy, CatalogueError."""
        if self._read_only:
            message = f"The catalogue {self.address} was opened for questions alone."
            raise CatalogueError(message)
        commit = "SET LOCAL synchronous_commit = on; " if durable else ""
        end = time.monotonic() + BUSY_S
        while True:
            try:
                found = self._again(lambda: self._say(f"BEGIN; {commit}{_LOCKED}"))
                break
            except errors.LockNotAvailable:
                self._roll_back()
                if time.monotonic() > end:
                    raise
                self._db.execute(_END_THE_SILENT, (connecting.SILENT_S,))
            except errors.UndefinedTable:
                self._roll_back()
                raise CatalogueError(self._replaced()) from None
        while found.nextset():
            pass
        row = found.fetchone()
        if row is None or row[0] != self._incarnation:
            self._roll_back()
            raise CatalogueError(self._replaced())
        self.server_ns = int(row[1]) * 1000

    def _commit(self) -> None:
        try:
            self._say("COMMIT")
        except psycopg.OperationalError as error:
            if not connecting.is_lost(error):
                raise
            message = (
                f"The connection to the catalogue {self.address} was lost, so it is not known"
                " whether the last of it was noted. Run the command again: it goes on from what"
                " was."
            )
            raise CatalogueError(message) from error

    def _count_loaded(self) -> None:
        """The planner hears of many new rows at once, and not when the server comes to it."""
        for table in [table for table, rows in self._loaded.items() if rows >= AT_ONCE]:
            self._say(f"ANALYZE {table}")
            del self._loaded[table]

    def _roll_back(self) -> None:
        if not self._db.closed and self._in_transaction:
            with contextlib.suppress(psycopg.Error):  # the server does it when the connection ends
                self._say("ROLLBACK")

    # -- statements ----------------------------------------------------------------------------

    def _run(self, statement: str, values: Sequence[Any]) -> "psycopg.Cursor[Row]":
        text = translated(statement)
        return self._again(lambda: self._cursor.execute(text, values, binary=True))

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """See Database."""
        with connecting.named(self.address):
            return self._run(statement, values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Database. Many new rows go through a temporary table."""
        rows = iter(rows)
        into = insertion(statement)
        text = translated(statement)
        while page := list(islice(rows, AT_ONCE)):
            with connecting.named(self.address):
                if into is not None and len(page) >= MANY:
                    self._copy(into, page)
                else:
                    self._db.cursor().executemany(text, page)

    def _copy(self, into: Insertion, page: list[Sequence[Any]]) -> None:
        """As one statement takes them: of rows with one key the last counts."""
        if into.key is not None:
            key = into.key
            page = list({tuple(row[one] for one in key): row for row in page}.values())
        self._say(into.made)
        cursor = self._db.cursor()
        cursor.execute(f"SELECT * FROM {into.stage} LIMIT 0")  # noqa: S608 - of our own
        assert cursor.description is not None
        kinds = [one.type_code for one in cursor.description]
        with cursor.copy(f"COPY {into.stage} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(kinds)
            for row in page:
                copy.write_row(row)
        self._say(into.staged)
        self._loaded[into.table] += len(page)
        self._say(f"TRUNCATE {into.stage}")

    def one(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        """See Database."""
        with connecting.named(self.address):
            return self._run(statement, values).fetchone()

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """See Database."""
        with connecting.named(self.address):
            return self._run(statement, values).fetchall()

    def stream(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """See Database. The server keeps the answer as it was, however slowly it is read."""
        with connecting.named(self.address), connecting.borrowed(self.address) as reading:
            reading.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                " SET LOCAL idle_in_transaction_session_timeout = 0",
                prepare=False,
            )
            try:
                if reading.execute(_WHICH).fetchone() != (self._incarnation,):
                    raise CatalogueError(self._replaced())
                with psycopg.RawServerCursor(reading, "rows") as cursor:
                    cursor.itersize = PAGE
                    cursor.execute(translated(statement), values, binary=True)
                    yield from cursor
            finally:
                with contextlib.suppress(psycopg.Error):  # it broke, or the reader did
                    reading.execute("COMMIT", prepare=False)

    # -- as a whole ----------------------------------------------------------------------------

    def create_tables(self) -> None:
        """The schema and its tables, all at once."""
        from n2s_core.catalogue import schema  # noqa: PLC0415 - SQLAlchemy takes 130 ms to import

        incarnation = os.urandom(16)
        with connecting.named(self.address):
            self._require_utf8()
            try:
                self._say("BEGIN; SET LOCAL synchronous_commit = on")
                self._make_schema()
                for statement in schema.postgresql_statements():
                    self._say(statement)
                self._db.execute(
                    "INSERT INTO properties (name, value) VALUES ($1, $2)",
                    (INCARNATION, incarnation),
                )
                self._say("COMMIT")
            except (errors.DuplicateTable, errors.UniqueViolation, errors.DuplicateSchema):
                message = f"There is a catalogue at {self.address} already."
                raise CatalogueError(message) from None
            finally:
                self._roll_back()
        self._incarnation = incarnation

    def _make_schema(self) -> None:
        """An administrator may have made it, for a role that may not."""
        name = self.address.schema
        found = self._db.execute("SELECT to_regnamespace($1)", (name,)).fetchone()
        if found == (None,):
            self._say(f"CREATE SCHEMA {name}")

    def _require_utf8(self) -> None:
        encoding = self._db.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            message = (
                f"The database of the catalogue {self.address} has the encoding {encoding}, which"
                " cannot hold all names. Make one with: createdb --encoding UTF8 --template"
                " template0 NAME."
            )
            raise CatalogueError(message)

    @contextlib.contextmanager
    def overwriting(self, table: str) -> Iterator[None]:
        """The table gets a new file; the old one is removed."""
        yield
        with connecting.named(self.address):
            self._say(f"VACUUM FULL {table}")

    def settle(self) -> None:
        """Statistics of everything that was written."""
        with connecting.named(self.address):
            tables = self._db.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1",
                (self.address.schema,),
            ).fetchall()
            self._say(f"ANALYZE {', '.join(chain.from_iterable(tables))}")

    def incarnation(self) -> bytes | None:
        """See Database."""
        with connecting.named(self.address):
            try:
                row = self._again(lambda: self._db.execute(_WHICH)).fetchone()
            except errors.UndefinedTable:
                return None
            return None if row is None else bytes(row[0])

    def version(self) -> str:
        """Of the server."""
        return f"PostgreSQL {self._db.info.parameter_status('server_version')}"

    def complaint(self) -> str:
        """Of a role that may not do everything, or a server that takes nothing."""
        with connecting.named(self.address):
            row = self._db.execute(_MAY).fetchone()
        assert row is not None
        is_standby, may_create, may_use_temporary, database, role = row
        if is_standby:
            return "Its server is a standby, which only takes questions."
        missing = [
            word
            for word, may in (("CREATE", may_create), ("TEMPORARY", may_use_temporary))
            if not may
        ]
        if missing:
            return (
                "Its role lacks rights, without which not everything works:"
                f" GRANT {', '.join(missing)} ON DATABASE {database} TO {role}."
            )
        return ""


__all__ = ["BUSY_S", "CatalogueBusy", "PostgresqlDatabase"]
