"""Writing a catalogue from what a store says."""

from collections.abc import Iterable
from itertools import islice

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.losses import CHECKPOINT_IS_DUE
from n2s_core.catalogue.pushes import INSERT_FILE, bind_rows
from n2s_core.clock import now_ns
from n2s_core.facts import Dataset
from n2s_core.manifest import Head
from n2s_core.model import LIVE, LOST, FileRow, FileType, ObjectRow, SegmentRow
from n2s_core.relpath import ROOT, RelPath
from n2s_core.sealing import Kind

PAGE = 1000
_BLOBS = (
    "SELECT file_hash, ?, f.object_no, record_offset, record_length FROM files f"
    " JOIN objects o ON o.object_no = f.object_no WHERE o.size > 0 AND type = 1 AND f.size > 0"
    " AND segments < 0 AND content IS NULL"
)
_SEGMENTS = (
    "SELECT segment_hash, ?, s.object_no, record_offset, record_length FROM segments s"
    " JOIN objects o ON o.object_no = s.object_no WHERE o.size > 0"
)


class Rebuilding:
    """Fills an empty catalogue with the changesets of one dataset, oldest first."""

    def __init__(self, catalogue: Catalogue, dataset: Dataset) -> None:
        self._db = catalogue.db
        self._pushes = catalogue.pushes
        self._verdicts = catalogue.verdicts
        self._dataset = dataset
        self._numbers: dict[bytes, int] = {}
        row = self._db.one("SELECT coalesce(max(changeset_no), 0) FROM changesets")
        assert row is not None
        self._changeset_no = int(row[0])
        self._next_object = self._pushes.next_object_no()

    def number_of(self, digest: bytes) -> int:
        """The number of an object; one that the store does not list gets one all the same."""
        found = self._numbers.get(digest)
        if found is None:
            row = self._db.one("SELECT min(object_no) FROM objects WHERE digest = ?", (digest,))
            if row is not None and row[0] is not None:
                found = int(row[0])
            else:
                found = self._add("data", digest, 0)
            self._numbers[digest] = found
        return found

    def has(self, digest: bytes) -> bool:
        """Whether the store lists an object of this name."""
        found = self._db.one("SELECT 1 FROM objects WHERE digest = ? AND size > 0", (digest,))
        return found is not None

    def _add(self, shelf: str, digest: bytes, size: int) -> int:
        number, self._next_object = self._next_object, self._next_object + 1
        self._pushes.add_objects(self._changeset_no, [ObjectRow(number, shelf, digest, size)])
        self._numbers[digest] = number
        return number

    def add_objects(self, objects: Iterable[tuple[str, bytes, int]]) -> None:
        """Objects (shelf, BLAKE3, size) that the store lists."""
        listed = iter(objects)
        while page := list(islice(listed, PAGE)):  # no transaction waits for the store
            with self._db.transaction():
                for shelf, digest, size in page:
                    if self._db.one("SELECT 1 FROM objects WHERE digest = ?", (digest,)) is None:
                        self._add(shelf, digest, size)

    def begin(self, head: Head, identity: bytes, head_digest: bytes) -> int:
        """Open the next changeset; its number in the catalogue."""
        self._changeset_no += 1
        counts = head.counts
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO changesets (changeset_no, dataset_no, number, changeset_id, parent_id,"
                " changeset_name, status, created_ns, stored_ns, plugin, mark, complete, written,"
                " touched, removed, unchanged, failed, bytes_read, bytes_stored, objects_stored,"
                " files_delta, bytes_delta, head_digest)"
                " VALUES (?, ?, ?, ?, ?, ?, 'stored', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                " 0, 0, ?)",
                (
                    self._changeset_no,
                    self._dataset.dataset_no,
                    head.number,
                    identity,
                    head.parent,
                    head.name,
                    head.created_ns,
                    now_ns(),
                    head.using,
                    head.mark,
                    int(head.complete),
                    *(
                        counts.get(name, 0)
                        for name in ("written", "touched", "removed", "unchanged", "failed",
                                     "bytes_read", "bytes_stored", "objects_stored")
                    ),
                    head_digest,
                ),
            )  # fmt: skip
            self._verdicts.begin(self._changeset_no, frozenset(head.tags))
        return self._changeset_no

    def begin_lost(self, number: int, identity: bytes | None) -> int:
        """Open a changeset of which no head is left; its id is known from its successor, or not."""
        self._changeset_no += 1
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO changesets (changeset_no, dataset_no, number, changeset_id,"
                " changeset_name, status, created_ns, stored_ns, plugin, complete, written,"
                " touched, removed, unchanged, failed, bytes_read, bytes_stored, objects_stored,"
                " files_delta, bytes_delta)"
                " VALUES (?, ?, ?, ?, ?, 'stored', ?, ?, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
                (
                    self._changeset_no,
                    self._dataset.dataset_no,
                    number,
                    identity,
                    "(from records alone)",
                    now_ns(),
                    now_ns(),
                ),
            )
        return self._changeset_no

    def date(self, packed_ns: int) -> None:
        """When the open changeset was made, as its records say."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE changesets SET created_ns = ? WHERE changeset_no = ?",
                (packed_ns, self._changeset_no),
            )

    def drop_impossible(self) -> list[RelPath]:
        """Live paths below something that is no directory, which records alone may leave.

        So is a root that is no directory, of which only a lie can tell; the others stay.
        In byte order what lies below a path comes after it and before all that does not begin with
        it, so `above` has those of them that are no directories; memory does not follow the tree.
        """
        no = self._dataset.dataset_no
        found: list[RelPath] = []
        above: list[RelPath] = []
        for path, kind in self._db.stream(
            "SELECT path, type FROM files WHERE dataset_no = ? AND valid_to = ? ORDER BY path",
            (no, LIVE),
        ):
            while above and not path.startswith(above[-1]):
                above.pop()
            is_root = path == ROOT and kind != FileType.DIRECTORY
            if is_root or any(path[len(one) :].startswith(b"/") for one in above):
                found.append(path)
            elif kind != FileType.DIRECTORY:
                above.append(path)
        self.apply([], found, [])
        return found

    def distrust(self) -> None:
        """The tree may be wrong: the next push makes a changeset with a checkpoint of it."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE datasets SET changesets_since_checkpoint = ? WHERE dataset_no = ?",
                (CHECKPOINT_IS_DUE, self._dataset.dataset_no),
            )
            self._db.execute(
                "UPDATE files SET ctime_ns = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?",
                (LOST, self._dataset.dataset_no, ROOT, LIVE),
            )

    def share_contents(self) -> None:
        """Contents that the store has are known, as they were, so that they can be shared."""
        with self._db.transaction():
            for kind, statement in (
                (Kind.BLOB, _BLOBS),
                (Kind.SEGMENT, _SEGMENTS),
            ):
                self._db.execute(
                    "INSERT INTO contents (content_hash, kind, object_no, record_offset,"
                    f" record_length) {statement} ON CONFLICT DO NOTHING",
                    (int(kind),),
                )

    def start_over(self) -> None:
        """Entries were lost: the tree begins anew with the checkpoint of the open changeset."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND valid_to = ?",
                (self._changeset_no, self._dataset.dataset_no, LIVE),
            )

    def apply(
        self, rows: list[FileRow], removed: list[RelPath], segments: list[SegmentRow]
    ) -> None:
        """Entries of the open changeset, in order."""
        number, dataset_no = self._changeset_no, self._dataset.dataset_no
        with self._db.transaction():
            self._db.execute_many(
                "DELETE FROM files WHERE dataset_no = ? AND path = ? AND valid_from = ?",
                [(dataset_no, path, number) for path in removed],
            )
            self._db.execute_many(
                "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?"
                " AND valid_from < ?",
                [
                    (number, dataset_no, path, LIVE, number)
                    for path in [*removed, *(row.path for row in rows)]
                ],
            )
            self._db.execute_many(INSERT_FILE, bind_rows(dataset_no, list(rows)))
            self._pushes.replace_segments(segments)

    def finish(self, head: Head | None, entries_since_checkpoint: int, changesets: int) -> None:
        """Make the last changeset the state of the dataset; `head` is None when it is lost."""
        no, number = self._dataset.dataset_no, self._changeset_no
        with self._db.transaction(durable=True):
            row = self._db.one(
                "SELECT coalesce(sum(CASE WHEN type <> 2 THEN 1 ELSE 0 END), 0),"
                " coalesce(sum(CASE WHEN type = 1 THEN size ELSE 0 END), 0)"
                " FROM files WHERE dataset_no = ? AND valid_to = ?",
                (no, LIVE),
            )
            assert row is not None
            self._db.execute(
                "UPDATE datasets SET head_no = ?, mark = ?, mark_owner = ?, live_files = ?,"
                " live_bytes = ?, entries_since_checkpoint = ?, changesets_since_checkpoint = ?"
                " WHERE dataset_no = ?",
                (
                    number,
                    None if head is None else head.mark,
                    None if head is None else head.using,
                    int(row[0]),
                    int(row[1]),
                    entries_since_checkpoint,
                    changesets,
                    no,
                ),
            )
