"""What users ask: trees, versions, places, sums. Read-only."""

from collections.abc import Iterator

from n2s_core.catalogue.database import Database
from n2s_core.catalogue.lookups import BEGUN_LATER, ENDED, FILE_COLUMNS
from n2s_core.catalogue.pushes import CHANGESET_COLUMNS
from n2s_core.catalogue.verdicts import Verdicts
from n2s_core.errors import UsageError
from n2s_core.facts import Changeset, Dataset, Totals
from n2s_core.layout import Shelf, object_name
from n2s_core.model import FileRow, ObjectRow, Part, SegmentRow
from n2s_core.relpath import RelPath, Span, below
from n2s_core.verdicts import KEPT

_AT = "dataset_no = ? AND valid_from <= ? AND valid_to > ?"
_TREE = f"SELECT {FILE_COLUMNS} FROM files WHERE {_AT}"  # noqa: S608 - only constants
SHORTEST_PREFIX = 4
_NAMES = "SELECT path, valid_from FROM files WHERE dataset_no = ? AND path >= ? AND valid_from <= ?"
# The sign keeps the planner of SQLite from the primary key, which would read every row.
_ENDED = (
    f"SELECT {FILE_COLUMNS} FROM files WHERE +dataset_no = ? AND valid_to > ? AND valid_to <= ?"  # noqa: S608 - only constants
    f" AND {ENDED} AND valid_from <= ?"
)
_BEGUN = (
    f"SELECT {FILE_COLUMNS} FROM files WHERE +dataset_no = ? AND valid_from > ?"  # noqa: S608 - same
    f" AND valid_from <= ? AND {BEGUN_LATER} AND valid_to > ?"
)
_DIFFERENT = (
    f"SELECT {FILE_COLUMNS} FROM ({_ENDED} UNION ALL {_BEGUN}) AS versions"  # noqa: S608 - same
    " ORDER BY path, valid_from"
)
_PARTS = {
    Part.ALL: "ORDER BY path",
    Part.DIRECTORIES: "AND type = 2 ORDER BY path",
    Part.DEEPEST_FIRST: "AND type = 2 ORDER BY path DESC",
    Part.SINGLE: "AND type <> 2 AND nlink <= 1 ORDER BY object_no, record_offset",
    Part.LINKED: "AND type <> 2 AND nlink > 1 ORDER BY"
    " mount, inode, file_hash, size, mtime_ns, mode, uid, gid, type, path",
}


class Queries:
    """Questions about confirmed changesets. `changeset_no` says at which state of the tree."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._verdicts = Verdicts(db)

    # -- changesets ------------------------------------------------------------------------

    def changesets(self, dataset_no: int) -> list[Changeset]:
        """Those of the dataset that are stored, newest first."""
        rows = self._db.all(
            f"SELECT {CHANGESET_COLUMNS} FROM changesets"  # noqa: S608
            " WHERE dataset_no = ? AND status = 'stored' ORDER BY number DESC",
            (dataset_no,),
        )
        return [Changeset(*row) for row in rows]

    def changeset(self, dataset: Dataset, wanted: str) -> Changeset:
        """The one with this id, a unique prefix of it, or "latest".

        Raises UsageError when there is none, or more than one.
        """
        stored = self.changesets(dataset.dataset_no)
        if wanted == "latest":
            if not stored:
                message = f"Nothing has been pushed to dataset {dataset.name!r} yet."
                raise UsageError(message)
            return stored[0]
        prefix = wanted.lower()
        found = [one for one in stored if (one.changeset_id or b"").hex().startswith(prefix)]
        if len(found) != 1 or len(prefix) < SHORTEST_PREFIX:
            what = "no changeset" if not found else f"{len(found)} changesets"
            message = (
                f"{wanted!r} names {what} of dataset {dataset.name!r};"
                f" 'n2s changesets' lists them, {SHORTEST_PREFIX} digits are the least."
            )
            raise UsageError(message)
        return self._verdicts.require_whole(found[0])

    def changeset_at(self, dataset: Dataset, time_ns: int) -> Changeset:
        """The newest that was made at or before a time and is not forgotten.

        Raises UsageError when there is none.
        """
        standings = self._verdicts.standings(dataset.dataset_no)
        for one in self.changesets(dataset.dataset_no):
            forgotten_ns = standings.get(one.changeset_no, KEPT).forgotten_ns
            if one.created_ns <= time_ns and forgotten_ns is None:
                return one
        message = f"Dataset {dataset.name!r} has no changeset as old as that."
        raise UsageError(message)

    # -- trees -----------------------------------------------------------------------------

    def tree(
        self,
        dataset_no: int,
        changeset_no: int,
        *,
        under: RelPath = b"",
        part: Part = Part.ALL,
    ) -> Iterator[FileRow]:
        """The versions of paths at and below `under`, chosen and ordered as `part` says."""
        own = f"{_TREE} AND path = ? {_PARTS[part]}"
        values = (dataset_no, changeset_no, changeset_no)
        if not under:
            yield from self._rows(f"{_TREE} {_PARTS[part]}", values)
            return
        # Two questions, because no one range has the path and what is below it and nothing else.
        if part is not Part.DEEPEST_FIRST:
            yield from self._rows(own, (*values, under))
        inside = f"{_TREE} AND path >= ? AND path < ? {_PARTS[part]}"
        yield from self._rows(inside, (*values, *below(under)))
        if part is Part.DEEPEST_FIRST:
            yield from self._rows(own, (*values, under))

    def _rows(self, statement: str, values: tuple[object, ...]) -> Iterator[FileRow]:
        return (FileRow(*row) for row in self._db.stream(statement, values))

    def tree_size(self, dataset: Dataset, changeset_no: int) -> tuple[int, int]:
        """Number of paths that are no directories, and bytes of the files, of a tree.

        Counted backwards from the state of the dataset when every changeset says by how much it
        changed them, which those do not that an older version rebuilt.
        """
        row = self._db.one(
            "SELECT coalesce(sum(files_delta), 0), coalesce(sum(bytes_delta), 0),"
            " coalesce(sum(CASE WHEN changeset_no > ? THEN files_delta ELSE 0 END), 0),"
            " coalesce(sum(CASE WHEN changeset_no > ? THEN bytes_delta ELSE 0 END), 0)"
            " FROM changesets WHERE dataset_no = ? AND status = 'stored'",
            (changeset_no, changeset_no, dataset.dataset_no),
        )
        assert row is not None
        if (int(row[0]), int(row[1])) == (dataset.live_files, dataset.live_bytes):
            return dataset.live_files - int(row[2]), dataset.live_bytes - int(row[3])
        row = self._db.one(
            f"SELECT count(*), coalesce(sum(CASE WHEN type = 1 THEN size ELSE 0 END), 0)"  # noqa: S608
            f" FROM files WHERE {_AT} AND type <> 2",
            (dataset.dataset_no, changeset_no, changeset_no),
        )
        assert row is not None
        return int(row[0]), int(row[1])

    def at(self, dataset_no: int, changeset_no: int, path: RelPath) -> FileRow | None:
        """One path of a tree."""
        row = self._db.one(
            f"SELECT {FILE_COLUMNS} FROM files WHERE {_AT} AND path = ?",  # noqa: S608
            (dataset_no, changeset_no, changeset_no, path),
        )
        return None if row is None else FileRow(*row)

    def history(self, dataset: Dataset, path: RelPath) -> list[FileRow]:
        """All versions of a path, newest first."""
        rows = self._db.all(
            f"SELECT {FILE_COLUMNS} FROM files WHERE dataset_no = ? AND path = ?"  # noqa: S608
            " AND valid_from <= ? ORDER BY valid_from DESC",
            (dataset.dataset_no, path, dataset.head_no),
        )
        return [FileRow(*row) for row in rows]

    def names(self, dataset: Dataset, span: Span) -> Iterator[tuple[RelPath, int]]:
        """Path and beginning of every version of the paths in a span, by path and age."""
        first, last = span
        statement, ends = _NAMES, () if last is None else (last,)
        if last is not None:
            statement += " AND path < ?"
        values = (dataset.dataset_no, first, dataset.head_no, *ends)
        yield from self._db.stream(f"{statement} ORDER BY path, valid_from", values)

    def version(self, dataset_no: int, path: RelPath, valid_from: int) -> FileRow | None:
        """One version of a path."""
        row = self._db.one(
            f"SELECT {FILE_COLUMNS} FROM files WHERE dataset_no = ? AND path = ?"  # noqa: S608
            " AND valid_from = ?",
            (dataset_no, path, valid_from),
        )
        return None if row is None else FileRow(*row)

    def differences(
        self, dataset_no: int, older_no: int, newer_no: int
    ) -> Iterator[tuple[FileRow | None, FileRow | None]]:
        """Pairs (older, newer) of the paths whose versions differ, in byte order.

        Only versions that begin or end between the two are looked at, by the indexes of those.
        """
        low, high = min(older_no, newer_no), max(older_no, newer_no)
        rows = self._db.stream(
            _DIFFERENT, (dataset_no, low, high, low, dataset_no, low, high, high)
        )
        held: FileRow | None = None
        for values in rows:
            row = FileRow(*values)
            if held is not None and held.path == row.path:
                yield held, row
                held = None
                continue
            if held is not None:
                yield self._one_sided(held, older_no)
            held = row
        if held is not None:
            yield self._one_sided(held, older_no)

    @staticmethod
    def _one_sided(row: FileRow, older_no: int) -> tuple[FileRow | None, FileRow | None]:
        in_older = row.valid_from <= older_no < row.valid_to
        return (row, None) if in_older else (None, row)

    # -- objects ---------------------------------------------------------------------------

    def object(self, object_no: int) -> tuple[ObjectRow, int, int | None, str | None] | None:
        """An object, when it was confirmed, when it was last read and found whole (ns), and how."""
        row = self._db.one(
            "SELECT object_no, shelf, digest, size, confirmed_ns, verified_ns, verified_how"
            " FROM objects WHERE object_no = ?",
            (object_no,),
        )
        if row is None:
            return None
        return ObjectRow(row[0], row[1], bytes(row[2]), row[3]), row[4], row[5], row[6]

    def object_no(self, digest: bytes) -> int | None:
        """The number of the object with this BLAKE3."""
        row = self._db.one("SELECT min(object_no) FROM objects WHERE digest = ?", (digest,))
        return None if row is None or row[0] is None else int(row[0])

    def sizes(self, shelf: str, *, first: int | None = None) -> dict[str, int]:
        """Sizes of the confirmed objects on a shelf, by name; of those whose BLAKE3 begins so.

        Objects whose bytes a rebuild did not find are not among them.
        """
        low = b"" if first is None else bytes([first])
        high = b"\xff" * 33 if first in (None, 255) else bytes([low[0] + 1])
        rows = self._db.all(
            "SELECT digest, size FROM objects"
            " WHERE shelf = ? AND digest >= ? AND digest < ? AND size > 0",
            (shelf, low, high),
        )
        return {object_name(Shelf(shelf), bytes(digest)): int(size) for digest, size in rows}

    def note_changeset(self, changeset_id: bytes, digests: list[bytes]) -> None:
        """Remember to which changeset a head and its lists of entries belong, after a rebuild."""
        with self._db.transaction():
            self._db.execute_many(
                "UPDATE objects SET changeset_no = (SELECT changeset_no FROM changesets"
                " WHERE changeset_id = ?) WHERE digest = ?",
                [(changeset_id, digest) for digest in digests],
            )

    def objects_without_bytes(self) -> list[ObjectRow]:
        """Objects that versions refer to and that a rebuild found missing or empty."""
        rows = self._db.all(
            "SELECT object_no, shelf, digest, size FROM objects WHERE size = 0 ORDER BY object_no"
        )
        return [ObjectRow(row[0], row[1], bytes(row[2]), row[3]) for row in rows]

    def totals(self) -> Totals:
        """Confirmed objects and their bytes."""
        row = self._db.one("SELECT count(*), coalesce(sum(size), 0) FROM objects")
        assert row is not None
        return Totals(*row)

    def stored_by_shelf(self) -> dict[str, int]:
        """Bytes of the confirmed objects on each shelf."""
        rows = self._db.all("SELECT shelf, sum(size) FROM objects GROUP BY shelf")
        return {str(shelf): int(size) for shelf, size in rows}

    def segments(self, blob_id: bytes) -> list[SegmentRow]:
        """The segments of a large file in order."""
        rows = self._db.all(
            "SELECT blob_id, file_offset, length, segment_hash, object_no, record_offset,"
            " record_length FROM segments WHERE blob_id = ? ORDER BY file_offset",
            (blob_id,),
        )
        return [SegmentRow(*row) for row in rows]

    def failures(self, dataset_no: int) -> list[tuple[bytes, str, int, int]]:
        """Path, error, first and last time (ns) of what could not be stored."""
        rows = self._db.all(
            "SELECT path, error, first_ns, last_ns FROM failures WHERE dataset_no = ?"
            " ORDER BY path",
            (dataset_no,),
        )
        return [(bytes(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in rows]

    def count_pending(self, dataset_no: int) -> int:
        """Rows that a push which died has confirmed already."""
        row = self._db.one(
            "SELECT coalesce(sum(written + touched + removed), 0) FROM changesets"
            " WHERE dataset_no = ? AND status <> 'stored'",
            (dataset_no,),
        )
        return 0 if row is None else int(row[0])
