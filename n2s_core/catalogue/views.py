"""Two views for people: ids in digits, paths as text, times with a zone."""

_SECONDS = "({0} - ({0} % 1000000000 + 1000000000) % 1000000000) / 1000000000"
_CHANGESETS = """CREATE VIEW changesets_readable AS
SELECT d.name AS dataset, c.changeset_no, {id} AS changeset_id, c.changeset_name,
 c.status, {created} AS created, {stored} AS stored, c.plugin, c.written, c.touched, c.removed,
 c.unchanged, c.failed, c.bytes_read, c.bytes_stored
FROM changesets c JOIN datasets d ON d.dataset_no = c.dataset_no"""
_FILES = """CREATE VIEW files_readable AS
SELECT d.name AS dataset, {path} AS path,
 CASE f.type WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'symlink' WHEN 4 THEN 'FIFO'
 WHEN 5 THEN 'character device' WHEN 6 THEN 'block device' ELSE 'socket' END AS type, f.size,
 {modified} AS modified, {mode} AS mode, f.user_name, f.group_name, f.valid_from, f.valid_to,
 CASE WHEN f.valid_to = 9223372036854775807 THEN 1 ELSE 0 END AS is_live, {hash} AS file_hash
FROM files f JOIN datasets d ON d.dataset_no = f.dataset_no"""
_READABLE = """CREATE FUNCTION readable(path bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
AS $$ BEGIN RETURN convert_from(path, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
RETURN encode(path, 'escape'); END $$"""


def sqlite_views() -> list[str]:
    """Times are texts of ISO 8601 in UTC."""

    def time(column: str) -> str:
        seconds = _SECONDS.format(column)
        return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || '+00:00'"

    return [
        _CHANGESETS.format(
            id="lower(hex(c.changeset_id))",
            created=time("c.created_ns"),
            stored=time("c.stored_ns"),
        ),
        _FILES.format(
            path="CAST(f.path AS TEXT)",
            modified=time("f.mtime_ns"),
            mode="printf('%04o', f.mode & 4095)",
            hash="lower(hex(f.file_hash))",
        ),
    ]


def postgresql_views() -> list[str]:
    """Times are of the type with a zone. A path that is no UTF-8 has escapes in octal."""

    def time(column: str) -> str:
        return f"to_timestamp({column} / 1e9)"

    return [
        _READABLE,
        _CHANGESETS.format(
            id="encode(c.changeset_id, 'hex')",
            created=time("c.created_ns"),
            stored=time("c.stored_ns"),
        ),
        _FILES.format(
            path="readable(f.path)",
            modified=time("f.mtime_ns"),
            mode="concat(f.mode >> 9 & 7, f.mode >> 6 & 7, f.mode >> 3 & 7, f.mode & 7)",
            hash="encode(f.file_hash, 'hex')",
        ),
    ]
