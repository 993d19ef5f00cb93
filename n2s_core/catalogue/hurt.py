"""What the catalogue knows of the records in missing and damaged objects, and of their contents.

The rows that matter are copied into temporary tables once, so that each object is looked up by an
index, however large the catalogue is.
"""

from collections.abc import Iterator
from itertools import groupby

from n2s_core.catalogue.database import Database
from n2s_core.catalogue.lookups import FILE_COLUMNS
from n2s_core.manifest import packb
from n2s_core.model import LIVE, FileRow, FileType, RecordRef, SegmentRow
from n2s_core.rows import numbered_content, places_in
from n2s_core.wanted import About, SegmentPlace, Twin, WantedRecord

_SEGMENT = ", ".join(f"s.{name}" for name in SegmentRow._fields)
_BAD = "(SELECT object_no FROM damages)"
_OF_VERSIONS = f"SELECT {FILE_COLUMNS} FROM files WHERE object_no IN {_BAD}"  # noqa: S608
_OF_SEGMENTS = f"SELECT {_SEGMENT} FROM segments s WHERE s.object_no IN {_BAD}"  # noqa: S608
_OF_PATHS = (
    "SELECT blob_id, dataset_no, path, valid_from FROM files"
    " WHERE segments >= 0 AND blob_id IN (SELECT blob_id FROM temp.hurt_segments)"
)
_OF_TWINS = (
    "SELECT file_hash, dataset_no, path, valid_to, object_no, record_offset, record_length,"  # noqa: S608
    f" content FROM files WHERE type = {int(FileType.FILE)} AND segments < 0 AND size > 0"
    f" AND file_hash IN (SELECT file_hash FROM files WHERE object_no IN {_BAD})"
)
_OF_SEGMENT_TWINS = (
    "SELECT segment_hash, object_no, record_offset, record_length FROM segments"  # noqa: S608
    " WHERE segment_hash IN (SELECT segment_hash FROM temp.hurt_segments)"
    f" AND object_no NOT IN {_BAD}"
)
_TABLES = {
    "hurt": (_OF_VERSIONS, "object_no, record_offset"),
    "hurt_segments": (_OF_SEGMENTS, "object_no, record_offset"),
    "hurt_paths": (_OF_PATHS, "blob_id, valid_from"),
    "twins": (_OF_TWINS, "file_hash"),
    "segment_twins": (_OF_SEGMENT_TWINS, "segment_hash"),
}


class Hurt:
    """Answers about the objects that are known to be missing or damaged when it is made."""

    def __init__(self, db: Database, dataset_no: int) -> None:
        """`dataset_no`: of the dataset whose tree is at hand."""
        self._db = db
        self._dataset_no = dataset_no
        for name, (query, key) in _TABLES.items():
            db.execute(f"DROP TABLE IF EXISTS temp.{name}")
            db.execute(f"CREATE TEMP TABLE {name} AS {query}")
            db.execute(f"CREATE INDEX temp.{name}_key ON {name} ({key})")

    def about(self, object_no: int) -> About | None:
        """What its PACK record says; None when its changeset is not known."""
        row = self._db.one(
            "SELECT d.dataset_id, d.name, c.number, o.packed_ns"
            " FROM objects o JOIN changesets c ON c.changeset_no = o.changeset_no"
            " JOIN datasets d ON d.dataset_no = c.dataset_no WHERE o.object_no = ?",
            (object_no,),
        )
        return None if row is None else About(bytes(row[0]), *row[1:])

    def records(self, object_no: int) -> list[WantedRecord]:
        """The records of an object that versions refer to, in order."""
        found = [*self._of_rows(object_no), *self._of_segments(object_no)]
        return sorted(found, key=lambda one: one.offset)

    def _of_rows(self, object_no: int) -> Iterator[WantedRecord]:
        rows = self._db.all(
            f"SELECT {FILE_COLUMNS} FROM temp.hurt WHERE object_no = ?"  # noqa: S608
            " ORDER BY record_offset, record_length, path",
            (object_no,),
        )
        own = map(FileRow._make, rows)
        for (offset, length), group in groupby(
            own, key=lambda row: (row.record_offset, row.record_length)
        ):
            members = tuple(group)
            segments: tuple[SegmentRow, ...] = ()
            if members[0].segments >= 0 and members[0].content is None:
                segments = tuple(self._segments(members[0].blob_id))
            yield WantedRecord(offset, length, members, segments)

    def _of_segments(self, object_no: int) -> Iterator[WantedRecord]:
        rows = self._db.all(
            f"SELECT {_SEGMENT} FROM temp.hurt_segments s WHERE s.object_no = ?"  # noqa: S608
            " ORDER BY s.record_offset, s.record_length",
            (object_no,),
        )
        for (offset, length), group in groupby(
            map(SegmentRow._make, rows), key=lambda one: (one.record_offset, one.record_length)
        ):
            members = tuple(group)
            places = [place for one in members for place in self._paths_of(one)]
            yield WantedRecord(offset, length, (), members, tuple(places))

    def _segments(self, blob_id: bytes | None) -> Iterator[SegmentRow]:
        rows = self._db.all(
            f"SELECT {_SEGMENT} FROM segments s WHERE s.blob_id = ? ORDER BY s.file_offset",  # noqa: S608
            (blob_id,),
        )
        return map(SegmentRow._make, rows)

    def _paths_of(self, segment: SegmentRow) -> Iterator[SegmentPlace]:
        """Paths whose content has the segment, those first that were stored first."""
        rows = self._db.all(
            "SELECT path, dataset_no FROM temp.hurt_paths WHERE blob_id = ?"
            " ORDER BY valid_from, path",
            (segment.blob_id,),
        )
        for path, dataset_no in rows:
            here = dataset_no == self._dataset_no
            yield SegmentPlace(bytes(path), segment.file_offset, here)

    def twins(self, file_hash: bytes) -> Iterator[Twin]:
        """Where else the content of a file is: at live paths of the tree, in other records."""
        bad = "EXISTS (SELECT 1 FROM damages d WHERE d.object_no = ?)"
        for path, dataset_no, valid_to, content, *own in self._db.all(
            "SELECT path, dataset_no, valid_to, content, object_no, record_offset, record_length"
            " FROM temp.twins WHERE file_hash = ?",
            (file_hash,),
        ):
            places = [tuple(own)] if content is None else places_in(content)
            whole = None
            if len(places) == 1 and not self._db.one(f"SELECT 1 WHERE {bad}", places[0][:1]):
                whole = RecordRef(*places[0])
            live = dataset_no == self._dataset_no and valid_to == LIVE
            yield Twin(bytes(path), live, whole)

    def segment_twins(self, segment_hash: bytes) -> list[RecordRef]:
        """Records in other objects with the same piece of a file."""
        rows = self._db.all(
            "SELECT object_no, record_offset, record_length FROM temp.segment_twins"
            " WHERE segment_hash = ?",
            (segment_hash,),
        )
        return [RecordRef(*row) for row in rows]

    def digest_of(self, object_no: int) -> bytes:
        """The name of an object."""
        row = self._db.one("SELECT digest FROM objects WHERE object_no = ?", (object_no,))
        assert row is not None
        return bytes(row[0])

    # -- where else a content is ---------------------------------------------------------------

    def lost_contents(self, bad: set[int]) -> list[tuple[bytes, int, bytes, int]]:
        """Files in one piece whose content is in one of these objects, by the hash of it.

        Hash, dataset, path and beginning of each version.
        """
        found = []
        for dataset_no, *values in self._db.stream(
            f"SELECT dataset_no, {FILE_COLUMNS} FROM files"  # noqa: S608
            f" WHERE type = {int(FileType.FILE)} AND segments < 0 AND size > 0"
        ):
            row = FileRow(*values)
            if row.file_hash and any(place[0] in bad for place in numbered_content(row)):
                found.append((row.file_hash, dataset_no, row.path, row.valid_from))
        return sorted(found)

    def lost_segments(self, bad: set[int]) -> Iterator[SegmentRow]:
        """Pieces of files that are in one of these objects."""
        rows = self._db.all(f"SELECT {_SEGMENT} FROM temp.hurt_segments s")  # noqa: S608
        return (one for one in map(SegmentRow._make, rows) if one.object_no in bad)

    def relink(self, versions: list[tuple[int, bytes, int]], place: RecordRef) -> None:
        """The content of these versions is read at `place` from now on; their record stays."""
        with self._db.transaction():
            self._db.execute_many(
                "UPDATE files SET content = ? WHERE dataset_no = ? AND path = ? AND valid_from = ?",
                [(packb([tuple(place)]), *one) for one in versions],
            )

    def relink_segment(self, segment: SegmentRow, place: RecordRef) -> None:
        """A piece of a file is read at `place` from now on."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE segments SET object_no = ?, record_offset = ?, record_length = ?"
                " WHERE blob_id = ? AND file_offset = ?",
                (*place, segment.blob_id, segment.file_offset),
            )
