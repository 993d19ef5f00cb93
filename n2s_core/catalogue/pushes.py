"""What a push reads and writes: pending changesets, rows, objects."""

from collections.abc import Iterator

from n2s_core.catalogue.lookups import FILE_COLUMNS, Lookups
from n2s_core.clock import now_ns
from n2s_core.facts import Changeset, Dataset
from n2s_core.jobs import BatchResult, StoredSegments
from n2s_core.model import LIVE, Failure, FileRow, ObjectRow, SegmentRow
from n2s_core.pending import PendingEntries
from n2s_core.relpath import RelPath

_TAKEN = "object_numbers"
CHANGESET_COLUMNS = ", ".join(Changeset._fields)
INSERT_FILE = (
    f"INSERT INTO files (dataset_no, {FILE_COLUMNS}) VALUES (?{', ?' * len(FileRow._fields)})"  # noqa: S608 - only constants
    " ON CONFLICT (dataset_no, path, valid_from) DO UPDATE SET "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in FileRow._fields
        if name not in ("path", "valid_from")
    )
)


def bind_rows(dataset_no: int, rows: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Rows of FileRow with the dataset in front."""
    head = (dataset_no,)
    for row in rows:
        yield head + row


class Pushes(Lookups):
    """The tables that a push changes."""

    # -- changesets ------------------------------------------------------------------------

    def pending(self, dataset_no: int) -> Changeset | None:
        """The changeset of a push that is not finished."""
        row = self._db.one(
            f"SELECT {CHANGESET_COLUMNS} FROM changesets"  # noqa: S608
            " WHERE dataset_no = ? AND status <> 'stored'",
            (dataset_no,),
        )
        return None if row is None else Changeset(*row)

    def head(self, dataset: Dataset) -> Changeset | None:
        """The changeset that is the state of the dataset."""
        row = self._db.one(
            f"SELECT {CHANGESET_COLUMNS} FROM changesets WHERE changeset_no = ?",  # noqa: S608
            (dataset.head_no,),
        )
        return None if row is None else Changeset(*row)

    def begin(self, dataset: Dataset, *, name: str, using: str) -> Changeset:
        """Open a changeset."""
        parent = self.head(dataset)
        self._db.execute(
            "INSERT INTO changesets (changeset_no, dataset_no, number, parent_id, changeset_name,"
            " status, created_ns, plugin, complete, written, touched, removed, unchanged, failed,"
            " bytes_read, bytes_stored, objects_stored, files_delta, bytes_delta)"
            " SELECT coalesce(max(changeset_no), 0) + 1, ?, ?, ?, ?, 'pending', ?, ?, 0,"
            " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM changesets",
            (
                dataset.dataset_no,
                1 if parent is None else parent.number + 1,
                None if parent is None else parent.changeset_id,
                name,
                now_ns(),
                using,
            ),
        )
        opened = self.pending(dataset.dataset_no)
        assert opened is not None
        return opened

    def rename(self, changeset_no: int, *, name: str, using: str) -> None:
        """A resumed changeset takes the name and plugin of the push that finishes it."""
        self._db.execute(
            "UPDATE changesets SET changeset_name = ?, plugin = ? WHERE changeset_no = ?",
            (name, using, changeset_no),
        )

    def next_object_no(self) -> int:
        """A number above those of all objects, of entries that wait for theirs, and of those taken.

        For whoever is alone with the catalogue.
        """
        row = self._db.one(
            "SELECT coalesce(max(number), 0) + 1 FROM (SELECT max(object_no) AS number FROM objects"
            " UNION ALL SELECT max(object_no) FROM pending_entries) AS numbers"
        )
        taken = self._db.one("SELECT value FROM properties WHERE name = ?", (_TAKEN,))
        assert row is not None
        return max(int(row[0]), 1 if taken is None else int(bytes(taken[0])) + 1)

    def take_object_nos(self, count: int) -> int:
        """The first of so many numbers that nobody else gets; inside a transaction."""
        first = self.next_object_no()
        self._db.execute(
            "INSERT INTO properties (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_TAKEN, str(first + count - 1).encode()),
        )
        return first

    def drop(self, changeset_no: int) -> None:
        """Forget a pending changeset in which nothing happened."""
        self._db.execute("DELETE FROM changesets WHERE changeset_no = ?", (changeset_no,))

    # -- what a batch brings ---------------------------------------------------------------

    def record(self, dataset_no: int, changeset_no: int, result: BatchResult) -> None:
        """Everything in one result; called inside a transaction."""
        db = self._db
        if result.replaced:
            db.execute_many(
                "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND path = ?"
                " AND valid_to = ? AND valid_from < ?",
                [(changeset_no, dataset_no, path, LIVE, changeset_no) for path in result.replaced],
            )
        db.execute_many(INSERT_FILE, bind_rows(dataset_no, result.rows))
        self.replace_segments(result.segments)
        self.add_objects(changeset_no, result.objects)
        if result.contents:
            db.execute_many(
                "INSERT INTO contents (content_hash, kind, object_no, record_offset,"
                " record_length) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                result.contents,
            )
        if result.refreshed:
            db.execute_many(
                "UPDATE files SET ctime_ns = ?, inode = ?, nlink = ?"
                " WHERE path = ? AND dataset_no = ? AND valid_to = ?",
                [(*row, dataset_no, LIVE) for row in result.refreshed],
            )
        self._remove(dataset_no, changeset_no, result.removed)
        self._entries(changeset_no, result)
        stored = sum(one.size for one in result.objects)
        db.execute(
            "UPDATE changesets SET written = written + ?, touched = touched + ?,"
            " removed = removed + ?, bytes_read = bytes_read + ?, bytes_stored = bytes_stored + ?,"
            " objects_stored = objects_stored + ?, files_delta = files_delta + ?,"
            " bytes_delta = bytes_delta + ? WHERE changeset_no = ?",
            (
                result.written,
                result.touched,
                len(result.removed),
                result.bytes_read,
                stored,
                len(result.objects),
                result.files_delta,
                result.bytes_delta,
                changeset_no,
            ),
        )

    def replace_segments(self, segments: list[SegmentRow]) -> None:
        """Where the pieces of files lie, instead of what was known of them; in a transaction.

        The same content at the same path may have been stored again, after its first copy was
        found to be damaged, and may have been cut elsewhere. Older lists in the store still lead to
        the older pieces, so their objects stay in use.
        """
        if not segments:
            return
        blobs = [(blob_id,) for blob_id in {one.blob_id for one in segments}]
        self._db.execute_many(
            "INSERT INTO older_segments (blob_id, object_no) SELECT DISTINCT blob_id, object_no"
            " FROM segments WHERE blob_id = ? ON CONFLICT DO NOTHING",
            blobs,
        )
        self._db.execute_many("DELETE FROM segments WHERE blob_id = ?", blobs)
        self._db.execute_many(
            "INSERT INTO segments (blob_id, file_offset, length, segment_hash, object_no,"
            " record_offset, record_length) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (blob_id, file_offset) DO UPDATE SET length = excluded.length,"
            " segment_hash = excluded.segment_hash, object_no = excluded.object_no,"
            " record_offset = excluded.record_offset, record_length = excluded.record_length",
            segments,
        )

    def add_objects(self, changeset_no: int, objects: list[ObjectRow]) -> None:
        """Objects that the store has confirmed; called inside a transaction."""
        now = now_ns()
        self._db.execute_many(
            "INSERT INTO objects (object_no, shelf, digest, size, packed_ns, changeset_no,"
            " confirmed_ns) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (object_no) DO NOTHING",
            [(*one, changeset_no, now) for one in objects],
        )

    def _remove(self, dataset_no: int, changeset_no: int, paths: list[RelPath]) -> None:
        if not paths:
            return
        self._db.execute_many(
            "DELETE FROM files WHERE dataset_no = ? AND path = ? AND valid_from = ?",
            [(dataset_no, path, changeset_no) for path in paths],
        )
        self._db.execute_many(
            "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?",
            [(changeset_no, dataset_no, path, LIVE) for path in paths],
        )

    def _entries(self, changeset_no: int, result: BatchResult) -> None:
        if result.entries is not None:
            number, digest, count = result.entries
            row: tuple[object, ...] = (changeset_no, number, digest, count, None, None)
        elif result.inline is not None:
            number, meta, payload, count = result.inline
            row = (changeset_no, number, None, count, meta, payload)
        else:
            return
        self._db.execute(
            "INSERT INTO pending_entries (changeset_no, object_no, digest, entries, meta, payload)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )

    def record_segments(self, dataset_no: int, changeset_no: int, told: StoredSegments) -> None:
        """Progress inside a large file; called inside a transaction."""
        self.add_objects(changeset_no, [told.stored])
        self._db.execute_many(
            "INSERT INTO loose_segments (dataset_no, path, segment_hash, object_no, record_offset,"
            " record_length) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (dataset_no, told.path, digest, told.stored.object_no, offset, length)
                for digest, offset, length in told.segments
            ],
        )

    def note_failures(self, dataset_no: int, failures: list[Failure]) -> None:
        """Remember paths that could not be stored; they are tried first next time."""
        now = now_ns()
        self._db.execute_many(
            "INSERT INTO failures (dataset_no, path, error, first_ns, last_ns)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (dataset_no, path) DO UPDATE SET"
            " error = excluded.error, last_ns = excluded.last_ns",
            [(dataset_no, one.path, one.error, now, now) for one in failures],
        )

    def forget_failures(self, dataset_no: int, before_ns: int) -> None:
        """Drop those that did not fail again since `before_ns`."""
        self._db.execute(
            "DELETE FROM failures WHERE dataset_no = ? AND last_ns < ?", (dataset_no, before_ns)
        )

    def forget_failures_of(self, dataset_no: int, paths: list[RelPath]) -> None:
        """Drop those of paths that were looked at again and were well."""
        self._db.execute_many(
            "DELETE FROM failures WHERE dataset_no = ? AND path = ?",
            [(dataset_no, path) for path in paths],
        )

    def failed_paths(self, dataset_no: int) -> list[RelPath]:
        """Paths that failed and have not been well since."""
        rows = self._db.all(
            "SELECT path FROM failures WHERE dataset_no = ? ORDER BY path", (dataset_no,)
        )
        return [bytes(row[0]) for row in rows]

    # -- the end of a push -----------------------------------------------------------------

    def pending_entries(self, changeset_no: int) -> list[PendingEntries]:
        """In the order in which they are to be applied."""
        rows = self._db.all(
            "SELECT object_no, digest, entries, meta, payload FROM pending_entries"
            " WHERE changeset_no = ? ORDER BY object_no",
            (changeset_no,),
        )
        return [PendingEntries(*row) for row in rows]

    def seal(self, changeset_no: int, *, changeset_id: bytes, digest: bytes, data: bytes) -> None:
        """Fix the head of a changeset before it goes to the store."""
        self._db.execute(
            "UPDATE changesets SET status = 'sealed', changeset_id = ?, head_digest = ?,"
            " head_bytes = ? WHERE changeset_no = ?",
            (changeset_id, digest, data, changeset_no),
        )

    def set_outcome(
        self,
        changeset_no: int,
        *,
        mark: bytes | None,
        complete: bool,
        fallback: str | None,
        unchanged: int,
        failed: int,
    ) -> None:
        """What the discovery came to."""
        self._db.execute(
            "UPDATE changesets SET mark = ?, complete = ?, fallback = ?, unchanged = ?,"
            " failed = ? WHERE changeset_no = ?",
            (mark, int(complete), fallback, unchanged, failed, changeset_no),
        )

    def finish(self, dataset: Dataset, changeset: Changeset, *, checkpoint: bool) -> None:
        """Make a changeset whose head is in the store the state of its dataset."""
        number = changeset.changeset_no
        assert changeset.head_bytes is not None
        assert changeset.head_digest is not None
        head = ObjectRow(
            self.take_object_nos(1), "changesets", changeset.head_digest, len(changeset.head_bytes)
        )
        self.add_objects(number, [head])
        self._db.execute(
            "UPDATE changesets SET status = 'stored', stored_ns = ?, head_bytes = NULL,"
            " bytes_stored = bytes_stored + ?, objects_stored = objects_stored + 1"
            " WHERE changeset_no = ?",
            (now_ns(), head.size, number),
        )
        entries = changeset.written + changeset.touched + changeset.removed
        self._db.execute("DELETE FROM pending_entries WHERE changeset_no = ?", (number,))
        self._db.execute("DELETE FROM loose_segments WHERE dataset_no = ?", (dataset.dataset_no,))
        self._db.execute(
            "UPDATE datasets SET head_no = ?, mark = ?,"
            " mark_owner = CASE WHEN ? = 'paths' THEN mark_owner ELSE ? END,"
            " live_files = live_files + ?, live_bytes = live_bytes + ?,"
            " entries_since_checkpoint = CASE WHEN ? THEN 0 ELSE entries_since_checkpoint + ? END,"
            " changesets_since_checkpoint ="
            " CASE WHEN ? THEN 0 ELSE changesets_since_checkpoint + 1 END"
            " WHERE dataset_no = ?",
            (
                number,
                changeset.mark,
                changeset.plugin,
                changeset.plugin,
                changeset.files_delta,
                changeset.bytes_delta,
                checkpoint,
                entries,
                checkpoint,
                dataset.dataset_no,
            ),
        )
