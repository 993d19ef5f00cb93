"""Putting one schema in the place of another, in a single transaction."""

import contextlib
import os
from collections.abc import Callable

from psycopg import errors

from n2s_core.catalogue import postgresql_connection as connecting
from n2s_core.catalogue.database import Database
from n2s_core.catalogue.database_postgresql import INCARNATION
from n2s_core.catalogue_address import PostgresqlAddress

NEW, OLD = "_new", "_old_"


def new_address(address: PostgresqlAddress) -> PostgresqlAddress:
    """Where a catalogue is made that is to be put in the place of the one at `address`."""
    return address.with_schema(address.schema + NEW)


def remove(address: PostgresqlAddress) -> None:
    """Remove a catalogue, if there is one. Raises CatalogueBusy while somebody reads it."""
    with connecting.named(address), connecting.borrowed(address) as db:
        if _has_catalogue(db, address.schema):
            db.execute(f"DROP SCHEMA {address.schema} CASCADE", prepare=False)
    connecting.close_idle(address)


def remove_replaced(address: PostgresqlAddress) -> None:
    """Remove what was replaced at `address`, but for what somebody still reads: the next does."""
    pattern = f"^{address.schema}{OLD}[0-9a-f]{{8}}$"
    with connecting.named(address), connecting.borrowed(address) as db:
        for (name,) in db.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ $1", (pattern,)
        ).fetchall():
            if _has_catalogue(db, name):
                with contextlib.suppress(errors.LockNotAvailable):
                    db.execute(f"DROP SCHEMA {name} CASCADE", prepare=False)


def _has_catalogue(db: connecting.Connection, schema: str) -> bool:
    """Whether the schema is there, and is one of n2s's."""
    found = db.execute("SELECT to_regclass($1)", (f"{schema}.properties",)).fetchone()
    return found not in (None, (None,))


def replace(address: PostgresqlAddress, old: Database | None, guard: Callable[[], None]) -> None:
    """Put the new catalogue in the place of the old one, which may be damaged or missing.

    `guard` is called in the transaction that has the lock of the old one, if that can be opened;
    who waits for this lock, or comes later with what is known of the old one, is refused.
    """
    if old is None:
        with connecting.named(address), connecting.borrowed(address) as db:
            db.execute("BEGIN; SET LOCAL synchronous_commit = on", prepare=False)
            try:
                for statement in _swap(address, is_there=_is_there(db, address.schema)):
                    db.execute(statement, prepare=False)
                db.execute("COMMIT", prepare=False)
            finally:
                if not db.closed:
                    db.execute("ROLLBACK", prepare=False)
    else:
        with old.transaction(durable=True):
            guard()
            old.execute("UPDATE properties SET value = ? WHERE name = ?", (b"", INCARNATION))
            for statement in _swap(address, is_there=True):
                old.execute(statement)
    connecting.close_idle(new_address(address))
    remove_replaced(address)


def _is_there(db: connecting.Connection, schema: str) -> bool:
    found = db.execute("SELECT to_regnamespace($1)", (schema,)).fetchone()
    return found not in (None, (None,))


def _swap(address: PostgresqlAddress, *, is_there: bool) -> list[str]:
    name = address.schema
    away = [f"ALTER SCHEMA {name} RENAME TO {name}{OLD}{os.urandom(4).hex()}"] if is_there else []
    return [
        f"TRUNCATE {name}{NEW}.leases",
        *away,
        f"ALTER SCHEMA {name}{NEW} RENAME TO {name}",
    ]
