"""The tables of the catalogue, declared once for every database.

`changesets` and `files` are documented for users (docs/catalogue.md); the others are n2s's own.
Paths, hashes and ids are bytes; times are integers, ns since 1970 UTC; sizes are bytes. This
module is imported to create a catalogue; day-to-day statements are plain SQL in the modules
beside it, because importing SQLAlchemy takes longer than a small push.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    text,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from n2s_core.catalogue.lookups import BEGUN_LATER, ENDED
from n2s_core.catalogue.postgresql_dialect import PATH, key_of
from n2s_core.catalogue.views import postgresql_views, sqlite_views

TABLES = MetaData()
Number = BigInteger().with_variant(Integer, "sqlite")
Text = AnyText().with_variant(postgresql.TEXT(collation="C"), "postgresql")  # order of bytes


def _number(name: str, **options: object) -> "Column[int]":
    return Column(name, Number, nullable=False, **options)  # type: ignore[arg-type]


Table(
    "properties",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
Table(  # the one in which Alembic remembers the version
    "alembic_version",
    TABLES,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
Table(
    "datasets",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("dataset_id", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    _number("head_no"),
    _number("live_files"),
    _number("live_bytes"),
    _number("entries_since_checkpoint"),
    _number("changesets_since_checkpoint"),
    Column("mark", LargeBinary),
    Column("mark_owner", Text),
    Column("last_verify_ns", Number),
)
Table(
    "changesets",
    TABLES,
    Column("changeset_no", Number, primary_key=True, autoincrement=False),
    _number("dataset_no", index=True),
    _number("number"),
    Column("changeset_id", LargeBinary, index=True),
    Column("parent_id", LargeBinary),
    Column("changeset_name", Text, nullable=False),
    Column("status", Text, nullable=False),
    _number("created_ns"),
    Column("stored_ns", Number),
    Column("plugin", Text, nullable=False),
    Column("mark", LargeBinary),
    Column("complete", SmallInteger, nullable=False),
    Column("fallback", Text),
    _number("written"),
    _number("touched"),
    _number("removed"),
    _number("unchanged"),
    _number("failed"),
    _number("bytes_read"),
    _number("bytes_stored"),
    _number("objects_stored"),
    _number("files_delta"),
    _number("bytes_delta"),
    Column("head_digest", LargeBinary),
    Column("head_bytes", LargeBinary),
)
Table(
    "files",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("path", LargeBinary, primary_key=True),
    Column("valid_from", Number, primary_key=True, autoincrement=False),
    _number("valid_to"),
    Column("type", SmallInteger, nullable=False),
    _number("size"),
    _number("mtime_ns"),
    _number("ctime_ns"),
    Column("mode", Integer, nullable=False),
    _number("uid"),
    _number("gid"),
    Column("user_name", Text),
    Column("group_name", Text),
    _number("inode"),
    _number("nlink"),
    Column("mount", LargeBinary, nullable=False),
    Column("file_hash", LargeBinary),
    Column("blob_id", LargeBinary),
    _number("object_no"),
    _number("record_offset"),
    _number("record_length"),
    Column("content", LargeBinary),
    Column("segments", Integer, nullable=False),
    Column("extra", LargeBinary),
    Index(
        "files_links",
        "inode",
        sqlite_where=text("nlink > 1"),
        postgresql_where=text("nlink > 1"),
    ),
    Index(
        "files_directories",
        "inode",
        sqlite_where=text("type = 2"),
        postgresql_where=text("type = 2"),
    ),
    # What began and what ended with a changeset. The first one, which is most of a catalogue, and
    # what is live are left out, so that a first push pays nothing for them.
    Index(
        "files_begun",
        "valid_from",
        sqlite_where=text(BEGUN_LATER),
        postgresql_where=text(BEGUN_LATER),
    ),
    Index("files_ended", "valid_to", sqlite_where=text(ENDED), postgresql_where=text(ENDED)),
    sqlite_with_rowid=False,
)
Table(
    "segments",
    TABLES,
    Column("blob_id", LargeBinary, primary_key=True),
    Column("file_offset", Number, primary_key=True, autoincrement=False),
    _number("length"),
    Column("segment_hash", LargeBinary, nullable=False),
    _number("object_no"),
    _number("record_offset"),
    _number("record_length"),
    sqlite_with_rowid=False,
)
Table(
    "loose_segments",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("path", LargeBinary, primary_key=True),
    Column("segment_hash", LargeBinary, primary_key=True),
    _number("object_no"),
    _number("record_offset"),
    _number("record_length"),
    sqlite_with_rowid=False,
)
Table(
    "contents",
    TABLES,
    Column("content_hash", LargeBinary, primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    _number("object_no"),
    _number("record_offset"),
    _number("record_length"),
    sqlite_with_rowid=False,
)
Table(
    "objects",
    TABLES,
    Column("object_no", Number, primary_key=True, autoincrement=False),
    Column("shelf", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, index=True),
    _number("size"),
    _number("changeset_no"),
    _number("confirmed_ns"),
    Column("verified_ns", Number),
    Column("verified_how", Text),
    Column("sized_ns", Number),
    Column("packed_ns", Number),
    Index("objects_oldest", text("coalesce(verified_ns, 0)"), "object_no"),
)
Table(
    "damages",
    TABLES,
    Column("object_no", Number, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("why", Text, nullable=False),
    _number("found_ns"),
)
Table(
    "older_segments",
    TABLES,
    Column("blob_id", LargeBinary, primary_key=True),
    Column("object_no", Number, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
Table(
    "marked",
    TABLES,
    Column("object_no", Number, primary_key=True, autoincrement=False),
    _number("marked_ns"),
)
Table(
    "doomed",
    TABLES,
    Column("object_no", Number, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    _number("size"),
)
Table(
    "repacked",
    TABLES,
    Column("object_no", Number, primary_key=True, autoincrement=False),
    _number("new_no"),
    Column("told", SmallInteger, nullable=False),
    Column("move", LargeBinary, nullable=False),
)
Table(
    "strangers",
    TABLES,
    Column("digest", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)
Table(
    "quarantine",
    TABLES,
    Column("name", Text, primary_key=True),
    _number("size"),
    Column("why", Text, nullable=False),
    _number("since_ns"),
    _number("seen_ns"),
    sqlite_with_rowid=False,
)
Table(
    "verdicts",
    TABLES,
    Column("verdict_no", Number, primary_key=True, autoincrement=False),
    _number("dataset_no"),
    _number("made_ns"),
    Column("digest", LargeBinary, nullable=False, index=True),
    Column("bytes", LargeBinary),
    Column("sent", SmallInteger, nullable=False),
)
Table(
    "standings",
    TABLES,
    Column("changeset_no", Number, primary_key=True, autoincrement=False),
    Column("forgotten_ns", Number),
    Column("marked_ns", Number),
    Column("swept", SmallInteger, nullable=False),
    Column("pinned", SmallInteger, nullable=False),
    Column("tags", Text, nullable=False),
)
Table(
    "pending_entries",
    TABLES,
    Column("changeset_no", Number, primary_key=True, autoincrement=False),
    Column("object_no", Number, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary),
    _number("entries"),
    Column("meta", LargeBinary),
    Column("payload", LargeBinary),
)
Table(
    "failures",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("path", LargeBinary, primary_key=True),
    Column("error", Text, nullable=False),
    _number("first_ns"),
    _number("last_ns"),
)
Table(
    "audits",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("position", LargeBinary, nullable=False),
    _number("looked"),
    _number("missed"),
)
Table(
    "doubted",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("path", LargeBinary, primary_key=True),
    Column("lasting", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
Table(
    "debts",
    TABLES,
    Column("remote", Text, primary_key=True),
    Column("name", Text, primary_key=True, index=True),
    _number("since_ns"),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)
Table(
    "remotes",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("status", Text, nullable=False),
    _number("checked_ns"),
    Column("error", Text, nullable=False),
    _number("failures"),
)
Table(
    "leases",
    TABLES,
    Column("dataset_no", Number, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    _number("expires_ns"),
    _number("expires_boot_ns"),
    _number("fencing"),
)
Table(
    "key_objects",
    TABLES,
    Column("digest", LargeBinary, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)


def statements(dialect: Dialect) -> list[str]:
    """The DDL of a new catalogue."""
    found = []
    for table in TABLES.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        found.extend(
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        )
    return found


def sqlite_statements() -> list[str]:
    """For SQLite."""
    return statements(sqlite.dialect()) + sqlite_views()


def postgresql_statements() -> list[str]:
    """For PostgreSQL, where an index has the beginning of a path alone."""
    found = []
    for table in TABLES.sorted_tables:
        keys = [column.name for column in table.primary_key]
        if PATH not in keys:
            continue
        found.append(f"ALTER TABLE {table.name} DROP CONSTRAINT {table.name}_pkey")
        columns = ", ".join(key_of(one) if one == PATH else one for one in keys)
        found.append(f"CREATE UNIQUE INDEX {table.name}_key ON {table.name} ({columns})")
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return statements(dialect) + found + postgresql_views()
