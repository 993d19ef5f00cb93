"""Connections to PostgreSQL: how they are made, kept for the next user, and what their errors say.

A process keeps the connections that nobody uses at the moment, so that a thread which prolongs a
lease, a stream of rows or the next command need not make a new one.
"""

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import Buffer, Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from n2s_core.catalogue_address import PostgresqlAddress
from n2s_core.errors import CatalogueBusy, CatalogueError

WAIT_S: float = 3
"""So long one waits for a lock before it is asked whether who has it still lives."""
SILENT_S: float = 10
"""Who has a lock and says nothing for so long is disconnected, by the server after twice that."""
CONNECT_S = 15
KEPT = 4
KEPT_ADDRESSES = 4
"""Of so many catalogues, those used last, connections are kept; a server has a hundred of them."""
_OID_UNKNOWN = 0
_OID_TEXT = 25
Connection = psycopg.Connection[tuple[Any, ...]]
_idle: dict[tuple[int, PostgresqlAddress], list[Connection]] = {}
_lock = threading.Lock()
_SETTINGS = {
    "synchronous_commit": "off",  # a durable transaction turns it on
    "plan_cache_mode": "force_custom_plan",  # tables grow a thousandfold within one push
    "cursor_tuple_fraction": "1.0",  # who opens a stream reads all of it
    "jit": "off",
    "timezone": "UTC",
    "client_min_messages": "warning",
}
_ALIVE = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class _Text(Dumper):
    """Texts as PostgreSQL can hold them: without NUL and without halves of characters."""

    oid = _OID_UNKNOWN

    def dump(self, obj: str) -> Buffer:
        """UTF-8."""
        return obj.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")


class _BinaryText(_Text):
    """The same for COPY."""

    oid = _OID_TEXT
    format = Format.BINARY


class _Whole(NumericBinaryLoader):
    """Sums of whole numbers, which PostgreSQL gives as decimals."""

    def load(self, data: Buffer) -> int:  # type: ignore[override] # every sum here is whole
        """An int."""
        return int(super().load(data))


def _connect(address: PostgresqlAddress) -> Connection:
    given = conninfo_to_dict(address.url)
    limits = {
        "lock_timeout": f"{WAIT_S * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{2 * SILENT_S * 1000:.0f}",
    }
    settings = " ".join(f"-c {key}={value}" for key, value in (_SETTINGS | limits).items())
    own = {
        "options": f"{given.pop('options', '')} {settings} -c search_path={address.schema}".strip(),
        "client_encoding": "UTF8",
    }
    defaults = {"connect_timeout": str(CONNECT_S), "application_name": "n2s", **_ALIVE}
    made = psycopg.connect(
        **{**defaults, **given, **own},  # type: ignore[arg-type] # texts, as libpq has them
        autocommit=True,
        cursor_factory=psycopg.RawCursor,
    )
    made.prepare_threshold = 1
    made.adapters.register_dumper(int, Int8BinaryDumper)
    made.adapters.register_dumper(str, _BinaryText)
    made.adapters.register_dumper(str, _Text)
    made.adapters.register_loader("numeric", _Whole)
    return made


def plain(address: PostgresqlAddress) -> "psycopg.Connection[Any]":
    """A connection for SQLAlchemy, which has its own ideas of parameters and transactions."""
    given = conninfo_to_dict(address.url)
    own = f"-c search_path={address.schema} -c lock_timeout={WAIT_S}s -c timezone=UTC"
    given["options"] = f"{given.get('options', '')} {own}".strip()
    return psycopg.connect(**{"connect_timeout": CONNECT_S, **given})  # type: ignore[arg-type] # texts


def borrow(address: PostgresqlAddress) -> Connection:
    """A connection with nothing left over from who had it before. Raises psycopg.Error."""
    with _lock:
        idle = _idle.get((os.getpid(), address))
        kept = idle.pop() if idle else None
    if kept is None:
        return _connect(address)
    try:
        kept.execute("DISCARD TEMP; RESET ALL", prepare=False)
    except psycopg.Error:  # it broke while nobody used it
        kept.close()
        return _connect(address)
    return kept


def give_back(address: PostgresqlAddress, connection: Connection) -> None:
    """For the next one; what is broken or not finished is closed."""
    superfluous = [connection]
    if connection.info.transaction_status is TransactionStatus.IDLE:
        pid = os.getpid()
        with _lock:
            idle = _idle[pid, address] = _idle.pop((pid, address), [])
            if len(idle) < KEPT:
                idle.append(superfluous.pop())
            for one in [one for one in _idle if one[0] == pid][:-KEPT_ADDRESSES]:
                superfluous += _idle.pop(one)
    for each in superfluous:
        each.close()


def close_idle(address: PostgresqlAddress) -> None:
    """Nobody needs those that are kept."""
    with _lock:
        idle = _idle.pop((os.getpid(), address), [])
    for one in idle:
        one.close()


@atexit.register
def _close_all() -> None:
    """The server hears that this process ends; those of a parent are the parent's."""
    for pid, address in list(_idle):
        if pid == os.getpid():
            close_idle(address)


@contextlib.contextmanager
def borrowed(address: PostgresqlAddress) -> Iterator[Connection]:
    """For the time of a `with`."""
    connection = borrow(address)
    try:
        yield connection
    finally:
        give_back(address, connection)


@contextlib.contextmanager
def named(address: PostgresqlAddress) -> Iterator[None]:
    """Errors of PostgreSQL become those of n2s, with what the user can do."""
    try:
        yield
    except psycopg.Error as error:
        kind, advice = _judged(error)
        said = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".?")
        message = f"The catalogue {address} cannot be used: {said}. {advice}"
        raise kind(message) from error


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, or never was; the statement may be right."""
    gone = isinstance(
        error,
        (
            errors.AdminShutdown,
            errors.CrashShutdown,
            errors.CannotConnectNow,
            errors.IdleInTransactionSessionTimeout,
        ),
    )
    return gone or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None)


_ADVICE: tuple[tuple[tuple[type[psycopg.Error], ...], type[CatalogueError], str], ...] = (
    (
        (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure),
        CatalogueBusy,
        "Another program holds it; try again.",
    ),
    (
        (errors.DiskFull, errors.OutOfMemory),
        CatalogueError,
        "Is its server's disk full? What was confirmed is kept; push again when there is room.",
    ),
    (
        (errors.TooManyConnections,),
        CatalogueBusy,
        "Its server takes no more connections (max_connections); try again.",
    ),
    (
        (errors.InvalidPassword, errors.InvalidAuthorizationSpecification),
        CatalogueError,
        "The password is asked for in ~/.pgpass, $PGPASSFILE and $PGPASSWORD.",
    ),
    (
        (errors.InsufficientPrivilege,),
        CatalogueError,
        "Its role lacks a right; docs/catalogue.md names those that it needs.",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        CatalogueError,
        "Its server only takes questions; is it a standby?",
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted, errors.UndefinedTable),
        CatalogueError,
        "It is damaged; 'n2s rebuild' makes it anew from the store.",
    ),
)


def _judged(error: psycopg.Error) -> tuple[type[CatalogueError], str]:
    for kinds, kind, advice in _ADVICE:
        if isinstance(error, kinds):
            return kind, advice
    if is_lost(error):
        if "password" in str(error) or "authentication" in str(error):
            return CatalogueError, _ADVICE[3][2]
        return CatalogueError, (
            "Is its server running, and can it be reached? What was confirmed is kept; run the"
            " command again."
        )
    return CatalogueError, "If it is damaged, 'n2s rebuild' makes it anew from the store."


__all__ = ["Connection", "Format", "borrow", "borrowed", "close_idle", "give_back", "is_lost",
           "named"]  # fmt: skip
