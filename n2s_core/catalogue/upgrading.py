"""Making a catalogue of an older version one of this version, with Alembic.

Imported by who upgrades only, because SQLAlchemy and Alembic take longer to import than a push.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from n2s_core.catalogue import migrations
from n2s_core.catalogue.database import open_database
from n2s_core.catalogue.holding import Held
from n2s_core.catalogue.versions import SCHEMA_VERSION, VERSION, require_known
from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress
from n2s_core.errors import CatalogueError
from n2s_core.faults import crash_point

BUSY_S = 30
INCARNATION_BYTES = 16
_GIVE_BACK = "UPDATE leases SET owner = '', expires_ns = 0, expires_boot_ns = 0"
_RENAME = "UPDATE properties SET value = :value WHERE name = 'incarnation'"


class Step(NamedTuple):
    """What makes a catalogue one of `version`, in a sentence."""

    version: int
    what: str


class Upgraded(NamedTuple):
    """The version that was found, and the steps that led to the present one."""

    was: int
    steps: tuple[Step, ...]


def revision_of(version: int) -> str:
    """How Alembic calls a version."""
    return f"{version:04}"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(os.fspath(Path(migrations.__file__).parent))


def _revisions(scripts: ScriptDirectory, was: int) -> list[Script]:
    """Those above a version, oldest first."""
    lower = "base" if was == 0 else revision_of(was)
    found = scripts.iterate_revisions(revision_of(VERSION), lower)
    return sorted((one for one in found if one is not None), key=lambda one: one.revision)


def steps(was: int) -> tuple[Step, ...]:
    """What an upgrade from this version does."""
    found = _revisions(_scripts(), was)
    return tuple(Step(int(one.revision), one.doc) for one in found)


def engine_of(address: CatalogueAddress) -> Engine:
    """SQLAlchemy on a catalogue; every transaction shuts out all other writers."""
    if isinstance(address, PostgresqlAddress):
        return _server(address)
    url = URL.create("sqlite+pysqlite", database=os.fspath(address))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # or sqlite3 would begin and commit when it likes to
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _server(address: PostgresqlAddress) -> Engine:
    from n2s_core.catalogue import postgresql_connection as connecting  # noqa: PLC0415 - optional

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connecting.plain(address), poolclass=NullPool
    )

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(
            "SELECT 1 FROM properties WHERE name = 'incarnation' FOR NO KEY UPDATE"
        )

    return engine


def migrate(connection: Connection, was: int) -> None:
    """Bring the tables to the present version, inside a transaction of the caller.

    A catalogue that says no version to Alembic is one of version `was`.
    """
    scripts = _scripts()
    context = MigrationContext.configure(connection)
    if was and not context.get_current_heads():
        context.stamp(scripts, revision_of(was))
    for revision in _revisions(scripts, was):
        with Operations.context(context):
            revision.module.upgrade()
        context.stamp(scripts, revision.revision)
        crash_point("upgrade-step")
    found = connection.execute(
        text("UPDATE properties SET value = :value WHERE name = :name"),
        {"name": SCHEMA_VERSION, "value": str(VERSION).encode()},
    )
    if found.rowcount != 1:
        connection.execute(
            text("INSERT INTO properties (name, value) VALUES (:name, :value)"),
            {"name": SCHEMA_VERSION, "value": str(VERSION).encode()},
        )


def upgrade(address: CatalogueAddress, *, dry_run: bool = False) -> Upgraded:
    """Upgrade the catalogue at an address in one transaction, while nobody else uses it.

    Killed at any moment it leaves the old catalogue or the new one. One of the present version is
    left as it is. Raises LeaseHeld while a push, a prune or a rebuild runs, CatalogueError when it
    is newer, was moved, or cannot be upgraded; then nothing was changed.
    """
    with open_database(address) as db:
        was = require_known(db, str(address))
        if was == VERSION or dry_run:
            return Upgraded(was, steps(was))
        with Held(db) as held, _named(address):
            with engine_of(address).begin() as connection:
                held.require()
                was = require_known(db, str(address))
                migrate(connection, was)
                connection.execute(text(_GIVE_BACK))
                connection.execute(text(_RENAME), {"value": os.urandom(INCARNATION_BYTES)})
                crash_point("upgrade-uncommitted")
            held.were_given_back()
        crash_point("upgraded")
        return Upgraded(was, steps(was))


@contextlib.contextmanager
def _named(address: CatalogueAddress) -> Iterator[None]:
    """Errors of the database as errors of the catalogue."""
    try:
        yield
    except DBAPIError as error:
        message = (
            f"The catalogue {address} cannot be upgraded: {str(error.orig).strip()}. It is as it"
            " was, and the n2s that used it so far can go on with it."
        )
        raise CatalogueError(message) from error
