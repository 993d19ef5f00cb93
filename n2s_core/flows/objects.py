"""The objects and entries that one batch becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from n2s_core.clock import now_ns
from n2s_core.flows.uploads import Uploads
from n2s_core.hashing import blob_id
from n2s_core.jobs import Batch, BatchResult, Emit, Located, SealSetting, StoredSegments
from n2s_core.layout import Shelf
from n2s_core.manifest import (
    BYTES_PER_RECORD,
    NODES_PER_RECORD,
    SEGMENTS_PER_RECORD,
    ObjectTable,
    Ref,
    SegmentRef,
    in_records,
    pack_placed_entry,
    pack_removal,
    pack_segments,
    packb,
)
from n2s_core.model import FileRow, FileType, ObjectRow, Op, SegmentRow
from n2s_core.packs import Pack, SealedObject
from n2s_core.ports import Store
from n2s_core.relpath import RelPath
from n2s_core.sealing import Kind

_CTIME, _INODE = FileRow._fields.index("ctime_ns"), FileRow._fields.index("inode")


@dataclass(slots=True)
class Pending:
    """An entry whose objects are not named yet; places are (pack, offset, length).

    `row` is empty until `own` is known.
    """

    op: Op
    node: bytes
    content: list[Ref] | None
    own: Sequence[tuple[int, int, int]] = ()
    row: tuple[Any, ...] = ()


class FileParts:
    """The segments of one large file while they are being stored."""

    def __init__(self, writer: "ObjectsWriter", path: RelPath, known: dict[bytes, Located]) -> None:
        self._writer = writer
        self._path = path
        self._known = known
        self._new: dict[bytes, tuple[int, int, int]] = {}
        self.found: list[tuple[int, int, bytes, Located | tuple[int, int, int]]] = []

    def add(
        self, file_offset: int, data: memoryview, digest: bytes, shared: Located | None
    ) -> None:
        """Store one segment unless a confirmed record has it, or this file had it before."""
        place: Located | tuple[int, int, int] | None
        place = self._known.get(digest) or self._new.get(digest) or shared
        if place is None:
            meta = packb({"p": self._path, "b": blob_id(self._path, digest), "h": digest})
            place = self._new[digest] = self._writer.add_segment(self._path, meta, data, digest)
        self.found.append((file_offset, len(data), digest, place))


class ObjectsWriter:
    """Fills packs, sends them off, and writes the entries when all packs have names.

    A context manager. `result` is complete when `finish` has returned.
    """

    def __init__(
        self, batch: Batch, setting: SealSetting, store: Store, *, emit: Emit | None
    ) -> None:
        self.result = BatchResult()
        self.changeset_no = batch.changeset_no
        self.replacing: FileRow | None = None
        self._base = batch.object_base
        self._setting = setting
        self._emit = emit
        self._uploads = Uploads(store, setting.transfers)
        self._pack: Pack | None = None
        self._packed_ns: int | None = None
        self._digests: list[bytes] = []
        self._pending: list[Pending] = []
        self._nodes: list[tuple[bytes, Pending, dict[str, Any]]] = []
        self._nodes_bytes = 0
        self._node_table = ObjectTable()
        self._segments_in_pack: list[tuple[RelPath, bytes, int, int]] = []

    def __enter__(self) -> "ObjectsWriter":
        self._uploads.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._uploads.__exit__(*details)

    # -- records ---------------------------------------------------------------------------

    def _room(self) -> Pack:
        if self._pack is None:
            self._pack = self._setting.keyring.begin()
            self._packed_ns = now_ns()
            about = {
                "d": self._setting.dataset_id,
                "N": self._setting.dataset,
                "k": self._setting.number,
                "t": self._packed_ns,
            }
            self._pack.add(Kind.PACK, packb(about))
        return self._pack

    def _add(self, kind: Kind, meta: bytes, payload: Any) -> tuple[int, int, int]:
        offset, length = self._room().add(kind, meta, payload)
        return len(self._digests), offset, length

    def _close_when_full(self) -> None:
        if self._pack is not None and self._pack.size >= self._setting.pack_size:
            self._close()

    def _close(self) -> None:
        if self._pack is None:
            return
        sealed, self._pack = self._pack.finish(), None
        stored = self._register(Shelf.DATA, sealed)
        segments, self._segments_in_pack = self._segments_in_pack, []
        self._uploads.put(Shelf.DATA, sealed, lambda: self._tell(stored, segments))

    def _register(self, shelf: Shelf, sealed: SealedObject) -> ObjectRow:
        number = self._base + len(self._digests)
        packed_ns = self._packed_ns if shelf is Shelf.DATA else None
        stored = ObjectRow(number, shelf.value, sealed.digest, sealed.size, packed_ns)
        self._digests.append(sealed.digest)
        self.result.objects.append(stored)
        return stored

    def _tell(self, stored: ObjectRow, segments: list[tuple[RelPath, bytes, int, int]]) -> None:
        if self._emit is None or not segments:
            return
        by_path: dict[RelPath, list[tuple[bytes, int, int]]] = {}
        for path, digest, offset, length in segments:
            by_path.setdefault(path, []).append((digest, offset, length))
        for path, found in by_path.items():
            self._emit(StoredSegments(path, stored, found))

    def add_blob(
        self, node: dict[str, Any], row: dict[str, Any], data: bytes, share_as: bytes | None
    ) -> None:
        """A file in one piece."""
        packed = packb(node)
        place = self._add(Kind.BLOB, packed, data)
        if share_as is not None:
            self._offer(Kind.BLOB, share_as, place)
        pending = Pending(Op.WRITE, packed, None)
        self._entry(pending, row)
        self._place(pending, row, (place,))
        self._close_when_full()

    def add_segment(
        self, path: RelPath, meta: bytes, data: memoryview, digest: bytes
    ) -> tuple[int, int, int]:
        """A piece of a file; returns its place."""
        place = self._add(Kind.SEGMENT, meta, data)
        self._segments_in_pack.append((path, digest, place[1], place[2]))
        if self._setting.share:
            self._offer(Kind.SEGMENT, digest, place)
        self._close_when_full()
        return place

    def _offer(self, kind: Kind, digest: bytes, place: tuple[int, int, int]) -> None:
        pack, offset, length = place
        self.result.contents.append((digest, int(kind), self._base + pack, offset, length))

    def begin_file(self, path: RelPath, known: dict[bytes, Located]) -> FileParts:
        """Start a file in pieces."""
        return FileParts(self, path, known)

    def finish_file(self, parts: FileParts, node: dict[str, Any], row: dict[str, Any]) -> None:
        """Write the FILE records of a file whose segments are all stored."""
        found = parts.found
        groups = [
            found[at : at + SEGMENTS_PER_RECORD] for at in range(0, len(found), SEGMENTS_PER_RECORD)
        ] or [[]]
        places = []
        node["q"] = row["segments"] = len(found)
        plain = packb(node)
        for number, group in enumerate(groups):
            table = ObjectTable()
            self._room()
            refs = [
                SegmentRef(offset, length, digest, self._ref(place))
                for offset, length, digest, place in group
            ]
            payload = pack_segments(table, refs)
            meta = {**node, "O": table.digests}
            if len(groups) > 1:
                meta["k"] = (number, len(groups))
            places.append(self._add(Kind.FILE, packb(meta), payload))
            self._close_when_full()
        for offset, length, digest, place in found:
            number, at, size = self._absolute(place)
            self.result.segments.append(
                SegmentRow(node["b"], offset, length, digest, number, at, size)
            )
        pending = Pending(Op.WRITE, plain, None)
        self._entry(pending, row)
        self._place(pending, row, places)

    def _ref(self, place: Located | tuple[int, int, int]) -> Ref:
        if isinstance(place, Located):
            return Ref(place.digest, place.offset, place.length)
        pack, offset, length = place
        digest = self._digests[pack] if pack < len(self._digests) else None
        return Ref(digest, offset, length)

    def _absolute(self, place: Located | tuple[int, int, int]) -> tuple[int, int, int]:
        if isinstance(place, Located):
            return place.object_no, place.offset, place.length
        pack, offset, length = place
        return self._base + pack, offset, length

    def add_node(
        self,
        op: Op,
        node: dict[str, Any],
        row: dict[str, Any],
        *,
        content: list[Ref] | None = None,
    ) -> None:
        """A path without content of its own; `content` when it lies in other records."""
        plain = {key: value for key, value in node.items() if key != "a"} if content else node
        pending = Pending(op, packb(plain), content)
        stored = {**node, "a": self._node_table.refs(content)} if content else node
        self._nodes.append((packb(stored), pending, row))
        self._nodes_bytes += len(self._nodes[-1][0])
        self._entry(pending, row)
        if len(self._nodes) >= NODES_PER_RECORD or self._nodes_bytes >= BYTES_PER_RECORD:
            self._flush_nodes()

    def _flush_nodes(self) -> None:
        if not self._nodes:
            return
        meta = packb({"n": len(self._nodes), "O": self._node_table.digests})
        place = self._add(Kind.NODES, meta, b"".join(node for node, _, _ in self._nodes))
        for _, pending, row in self._nodes:
            self._place(pending, row, (place,))
        self._nodes.clear()
        self._nodes_bytes = 0
        self._node_table = ObjectTable()
        self._close_when_full()

    # -- entries ---------------------------------------------------------------------------

    def _entry(self, pending: Pending, row: dict[str, Any]) -> None:
        self._pending.append(pending)
        if pending.op is Op.TOUCH:
            self.result.touched += 1
        else:
            self.result.written += 1
        result, old = self.result, self.replacing
        if old is not None:
            result.replaced.append(row["path"])
            result.files_delta -= old.type != FileType.DIRECTORY
            result.bytes_delta -= old.size if old.type == FileType.FILE else 0
        result.files_delta += row["type"] != FileType.DIRECTORY
        result.bytes_delta += row["size"] if row["type"] == FileType.FILE else 0

    def _place(
        self, pending: Pending, row: dict[str, Any], own: Sequence[tuple[int, int, int]]
    ) -> None:
        """Finish a row: the records that make the path are known."""
        base = self._base
        pack, row["record_offset"], row["record_length"] = own[0]
        row["object_no"] = base + pack
        if len(own) > 1:
            row["content"] = packb([(base + at, *rest) for at, *rest in own])
        pending.own = own
        pending.row = tuple(row.values())

    def finish(self, batch: Batch) -> BatchResult:
        """Send the last pack, write the entries, wait until the store has confirmed everything."""
        removed = batch.removed
        self._flush_nodes()
        self._close()
        self.result.removed = removed
        self.result.files_delta -= batch.removed_files
        self.result.bytes_delta -= batch.removed_bytes
        self.result.rows = [one.row for one in self._pending]
        total = len(self._pending) + len(removed)
        size = sum(len(one.node) for one in self._pending) + sum(map(len, removed))
        if total and batch.inline and size < BYTES_PER_RECORD:
            meta, payload = self._entries(self._pending, removed)
            self.result.inline = (self._base + len(self._digests), meta, payload, total)
        elif total:
            self._write_entries(removed, total)
        self._uploads.finish()
        return self.result

    def _entries(self, pending: list[Pending], removed: list[RelPath]) -> tuple[bytes, bytes]:
        table, digests = ObjectTable(), self._digests
        lines = [
            pack_placed_entry(
                one.op,
                one.node,
                (
                    one.row[_CTIME],
                    one.row[_INODE],
                    [(table.index(digests[pack]), at, size) for pack, at, size in one.own],
                    None if one.content is None else table.refs(one.content),
                ),
            )
            for one in pending
        ]
        lines.extend(pack_removal(path) for path in removed)
        return packb({"n": len(lines), "O": table.digests}), b"".join(lines)

    def _write_entries(self, removed: list[RelPath], total: int) -> None:
        pack = self._setting.keyring.begin()
        for part in in_records(self._pending, lambda one: len(one.node)):
            pack.add(Kind.ENTRIES, *self._entries(part, []))
        for gone in in_records(removed, len):
            pack.add(Kind.ENTRIES, *self._entries([], gone))
        sealed = pack.finish()
        stored = self._register(Shelf.META, sealed)
        self._uploads.put(Shelf.META, sealed)
        self.result.entries = (stored.object_no, sealed.digest, total)
