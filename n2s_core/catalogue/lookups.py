"""What the comparison of a push asks: live rows, and where their contents lie."""

import json
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache

import msgpack

from n2s_core.catalogue.database import Database
from n2s_core.errors import CatalogueError
from n2s_core.facts import LiveRow, LiveStat
from n2s_core.jobs import Known, Located
from n2s_core.model import LIVE, FileRow, FileType
from n2s_core.relpath import RelPath, Span, below

PAGE = 5000
DIGESTS = 4096
"""So many names of objects are remembered: many files lie in one, and a number is never reused."""
FILE_COLUMNS = ", ".join(FileRow._fields)
ENDED = f"valid_to < {LIVE}"
"""Of versions that were replaced or removed: the condition of the index `files_ended`."""
BEGUN_LATER = "valid_from > 1"
"""Of versions of all changesets but the first of a catalogue: that of `files_begun`."""
_DIRECTORY = int(FileType.DIRECTORY)
_STATS = ", ".join(LiveStat._fields)
_WHOLE = " AND NOT EXISTS (SELECT 1 FROM damages d WHERE d.object_no = s.object_no)"


class Lookups:
    """Questions about live rows, each answered by an index."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._digest_of = lru_cache(DIGESTS)(self.digest_of)

    def live(self, dataset_no: int, span: Span) -> Iterator[list[LiveRow]]:
        """Live rows in byte order.

        Read in pages, so that no snapshot of the database is held while a push writes.
        """
        first, last = span
        statement = (
            f"SELECT {_STATS} FROM files WHERE dataset_no = ? AND path >= ?"  # noqa: S608
            f" AND valid_to = {LIVE}"
            + (" AND path < ?" if last is not None else "")
            + " ORDER BY path LIMIT ?"
        )
        while True:
            ends = (last,) if last is not None else ()
            page = self._db.all(statement, (dataset_no, first, *ends, PAGE))
            yield page
            if len(page) < PAGE:
                return
            first = page[-1][0] + b"\0"

    def cut(self, dataset_no: int, first: RelPath, count: int) -> RelPath | None:
        """The live path that has `count` others before it, counted from `first`."""
        row = self._db.one(
            "SELECT path FROM files WHERE dataset_no = ? AND path >= ? AND valid_to = ?"
            " ORDER BY path LIMIT 1 OFFSET ?",
            (dataset_no, first, LIVE, count),
        )
        return None if row is None else bytes(row[0])

    def live_children(self, dataset_no: int, directory: RelPath) -> Iterator[LiveRow]:
        """Live rows directly in a directory, in byte order; subtrees are jumped over."""
        first, last = below(directory)
        start = len(directory) + 1 if directory else 0
        statement = (
            f"SELECT {_STATS} FROM files WHERE dataset_no = ? AND path >= ?"  # noqa: S608
            f" AND valid_to = {LIVE}"
            + (" AND path < ?" if last is not None else "")
            + " ORDER BY path LIMIT 1"
        )
        ends = (last,) if last is not None else ()
        while True:
            row = self._db.one(statement, (dataset_no, first, *ends))
            if row is None:
                return
            inside = row[0].find(b"/", start)
            if inside < 0:
                yield row
                first = row[0] + b"\0"
            else:
                first = row[0][:inside] + b"0"

    def names_of(self, dataset_no: int, inode: int) -> list[RelPath]:
        """Live paths of files with several names that had this inode."""
        rows = self._db.all(
            "SELECT path FROM files WHERE dataset_no = ? AND inode = ? AND nlink > 1"
            " AND valid_to = ?",
            (dataset_no, inode, LIVE),
        )
        return [bytes(row[0]) for row in rows]

    def directories_of(self, dataset_no: int, inode: int, at: int) -> list[RelPath]:
        """Paths of directories that had this inode in the state `at`, a changeset_no."""
        rows = self._db.all(
            f"SELECT path FROM files WHERE dataset_no = ? AND inode = ? AND type = {_DIRECTORY}"  # noqa: S608
            " AND valid_from <= ? AND valid_to > ?",
            (dataset_no, inode, at, at),
        )
        return [bytes(row[0]) for row in rows]

    def stored(self, dataset_no: int, span: Span, at: int) -> Iterator[Known]:
        """Versions in the state `at`, a changeset_no, in byte order, read in pages."""
        first, last = span
        statement = (
            f"SELECT {FILE_COLUMNS} FROM files WHERE dataset_no = ? AND path >= ?"  # noqa: S608
            " AND valid_from <= ? AND valid_to > ?"
            + (" AND path < ?" if last is not None else "")
            + " ORDER BY path LIMIT ?"
        )
        ends = (last,) if last is not None else ()
        digest_of = cache(self.digest_of)
        while True:
            page = self._db.all(statement, (dataset_no, first, at, at, *ends, PAGE))
            for found in map(FileRow._make, page):
                yield Known(found, self.places(found, digest_of))
            if len(page) < PAGE:
                return
            first = page[-1][0] + b"\0"

    def search(self, dataset_no: int, inodes: Collection[int]) -> Iterator[tuple[int, RelPath]]:
        """Live paths of these inodes; reads every row of the dataset."""
        rows = self._db.all(
            "SELECT inode, path FROM files WHERE dataset_no = ? AND valid_to = ?"
            " AND inode IN (SELECT value FROM json_each(?))",
            (dataset_no, LIVE, json.dumps(sorted(inodes))),
        )
        return ((row[0], bytes(row[1])) for row in rows)

    def with_several_names(self, dataset_no: int) -> Iterator[list[RelPath]]:
        """Pages of all live paths of files with several names, by inode."""
        inode, path = -(1 << 63), b""
        while True:
            # The sign keeps the planner from the primary key, which would read every row.
            rows = self._db.all(
                "SELECT inode, path FROM files WHERE nlink > 1 AND (inode, path) > (?, ?)"
                " AND +dataset_no = ? AND valid_to = ? ORDER BY inode, path LIMIT ?",
                (inode, path, dataset_no, LIVE, PAGE),
            )
            if rows:
                inode, path = rows[-1][0], bytes(rows[-1][1])
            yield [bytes(row[1]) for row in rows]
            if len(rows) < PAGE:
                return

    def live_stat(self, dataset_no: int, path: RelPath) -> LiveStat | None:
        """The live row of one path."""
        row = self._db.one(
            f"SELECT {_STATS} FROM files WHERE dataset_no = ? AND path = ? AND valid_to = ?",  # noqa: S608
            (dataset_no, path, LIVE),
        )
        return None if row is None else LiveStat(*row)

    def known(self, dataset_no: int, path: RelPath) -> Known | None:
        """The live version of a path with the places of its content."""
        row = self._db.one(
            f"SELECT {FILE_COLUMNS} FROM files WHERE dataset_no = ? AND path = ? AND valid_to = ?",  # noqa: S608
            (dataset_no, path, LIVE),
        )
        if row is None:
            return None
        found = FileRow(*row)
        return Known(found, self.places(found))

    def linked(
        self, dataset_no: int, *, inode: int, mount: bytes, ctime_ns: int, size: int
    ) -> Known | None:
        """A live path that is the same inode in the same state."""
        row = self._db.one(
            f"SELECT {FILE_COLUMNS} FROM files WHERE dataset_no = ? AND inode = ? AND nlink > 1"  # noqa: S608
            " AND valid_to = ? AND ctime_ns = ? AND size = ? AND mount = ? LIMIT 1",
            (dataset_no, inode, LIVE, ctime_ns, size, mount),
        )
        if row is None:
            return None
        found = FileRow(*row)
        return Known(found, self.places(found))

    def places(
        self, row: FileRow, digest_of: Callable[[int], bytes] | None = None
    ) -> list[Located]:
        """Where the content of a version lies; nothing for what has no content."""
        digest_of = digest_of or self._digest_of
        if row.file_hash is None or not row.size:
            return []
        if row.content is None:
            refs = [(row.object_no, row.record_offset, row.record_length)]
        else:
            refs = msgpack.unpackb(row.content)
        return [Located(ref[0], digest_of(ref[0]), ref[1], ref[2]) for ref in refs]

    def digest_of(self, object_no: int) -> bytes:
        """The BLAKE3 of an object. Raises CatalogueError when there is no such object."""
        row = self._db.one("SELECT digest FROM objects WHERE object_no = ?", (object_no,))
        if row is None:
            message = f"The catalogue refers to object {object_no}, which it does not have."
            raise CatalogueError(message)
        return bytes(row[0])

    def has_loose_segments(self, dataset_no: int) -> bool:
        """Whether a push that did not finish left segments that were confirmed."""
        row = self._db.one(
            "SELECT 1 FROM loose_segments WHERE dataset_no = ? LIMIT 1", (dataset_no,)
        )
        return row is not None

    def segments_of(
        self, dataset_no: int, path: RelPath, blob: bytes | None
    ) -> dict[bytes, Located]:
        """Confirmed segments that a new version of the path may use, by their hash."""
        found: dict[bytes, Located] = {}
        if blob is not None:
            rows = self._db.all(
                "SELECT segment_hash, o.object_no, o.digest, record_offset, record_length"  # noqa: S608
                " FROM segments s JOIN objects o ON o.object_no = s.object_no WHERE blob_id = ?"
                f"{_WHOLE}",
                (blob,),
            )
            found.update((bytes(row[0]), Located(*row[1:])) for row in rows)
        rows = self._db.all(
            "SELECT segment_hash, o.object_no, o.digest, record_offset, record_length"  # noqa: S608
            " FROM loose_segments s JOIN objects o ON o.object_no = s.object_no"
            f" WHERE dataset_no = ? AND path = ?{_WHOLE}",
            (dataset_no, path),
        )
        found.update((bytes(row[0]), Located(*row[1:])) for row in rows)
        return found

    def find_content(self, kind: int, digest: bytes) -> Located | None:
        """A confirmed record with this payload, for stores that share contents."""
        row = self._db.one(
            "SELECT o.object_no, o.digest, record_offset, record_length FROM contents c"
            " JOIN objects o ON o.object_no = c.object_no WHERE content_hash = ? AND kind = ?"
            " AND NOT EXISTS (SELECT 1 FROM damages d WHERE d.object_no = c.object_no)",
            (digest, kind),
        )
        return None if row is None else Located(*row)
