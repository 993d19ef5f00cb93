"""Indexes of what a changeset changed, two views for people, a name for each catalogue.

Catalogues on servers begin with this version, and are made with all of it.
"""

import secrets

from alembic import op
from sqlalchemy import column, table, text

revision = "0002"
down_revision = "0001"
_BYTES = 16
_SECONDS = "({0} - ({0} % 1000000000 + 1000000000) % 1000000000) / 1000000000"
_CHANGESETS = """CREATE VIEW changesets_readable AS
SELECT d.name AS dataset, c.changeset_no, lower(hex(c.changeset_id)) AS changeset_id,
 c.changeset_name, c.status, {created} AS created, {stored} AS stored, c.plugin, c.written,
 c.touched, c.removed, c.unchanged, c.failed, c.bytes_read, c.bytes_stored
FROM changesets c JOIN datasets d ON d.dataset_no = c.dataset_no"""
_FILES = """CREATE VIEW files_readable AS
SELECT d.name AS dataset, CAST(f.path AS TEXT) AS path,
 CASE f.type WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'symlink' WHEN 4 THEN 'FIFO'
 WHEN 5 THEN 'character device' WHEN 6 THEN 'block device' ELSE 'socket' END AS type, f.size,
 {modified} AS modified, printf('%04o', f.mode & 4095) AS mode, f.user_name, f.group_name,
 f.valid_from, f.valid_to,
 CASE WHEN f.valid_to = 9223372036854775807 THEN 1 ELSE 0 END AS is_live,
 lower(hex(f.file_hash)) AS file_hash
FROM files f JOIN datasets d ON d.dataset_no = f.dataset_no"""


def upgrade() -> None:
    """Make them in a file."""
    if op.get_bind().dialect.name != "sqlite":
        return
    properties = table("properties", column("name"), column("value"))
    op.execute(properties.insert().values(name="incarnation", value=secrets.token_bytes(_BYTES)))
    later, ended = text("valid_from > 1"), text("valid_to < 9223372036854775807")
    op.create_index("files_begun", "files", ["valid_from"], sqlite_where=later)
    op.create_index("files_ended", "files", ["valid_to"], sqlite_where=ended)
    times = {"created": "c.created_ns", "stored": "c.stored_ns", "modified": "f.mtime_ns"}
    texts = {name: _time(where) for name, where in times.items()}
    for view in (_CHANGESETS, _FILES):
        op.get_bind().exec_driver_sql(view.format(**texts))


def _time(nanoseconds: str) -> str:
    """ISO 8601; seconds are rounded down, those before 1970 too."""
    return f"strftime('%Y-%m-%dT%H:%M:%S', {_SECONDS.format(nanoseconds)}, 'unixepoch') || '+00:00'"
