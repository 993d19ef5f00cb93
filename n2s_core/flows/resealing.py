"""An object made again, byte for byte, from what is left of it and from contents found elsewhere.

Sealing is deterministic: the same plaintext gives the same bytes. The BLAKE3 that the object is
named by says whether all was put together right, so every step here may be a mere attempt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.flows.contents import Contents
from n2s_core.hashing import blob_id
from n2s_core.manifest import ObjectTable, Ref, SegmentRef, pack_segments, packb
from n2s_core.model import FileRow, FileType, ObjectRow
from n2s_core.packs import Gap, ObjectReader, scan
from n2s_core.rows import node_of, numbered_content
from n2s_core.sealing import HEADER_SIZE, PLAIN_PRELUDE, Kind, Opened, Sealer, master_prelude
from n2s_core.wanted import About, WantedRecord

DigestOf = Callable[[int], bytes]


class Remains:
    """The records of a damaged object that still open, where they should be or elsewhere."""

    def __init__(self, data: bytes, master_key: bytes) -> None:
        """`data`: what the store gives for it; nothing when it is missing."""
        self._data = data
        self.size_at: dict[int, int] = {}
        self._content_at: dict[bytes, tuple[int, int]] = {}
        self.prelude = master_prelude()
        try:
            self._reader = ObjectReader(data, master_key)
            self.prelude = data[: self._reader.start]
        except DamageError:
            self._reader = ObjectReader(self.prelude, master_key)
        for found in scan(data, self._reader.start):
            if not isinstance(found, Gap):
                self._take(found[0], found[1].size)

    def _take(self, offset: int, size: int) -> None:
        """Note a record, if it opens."""
        try:
            opened = self._reader.open_bytes(self.raw(offset, size))
            digest = opened.meta.get("h")
        except DamageError:
            return  # it is made again, like one that is not there
        self.size_at[offset] = size
        if opened.kind in (Kind.BLOB, Kind.SEGMENT) and isinstance(digest, bytes):
            self._content_at[digest] = offset, size

    def raw(self, offset: int, size: int) -> memoryview:
        """The bytes of a record."""
        return memoryview(self._data)[offset : offset + size]

    def content(self, digest: bytes) -> bytes | None:
        """The content with this hash, if a record that is left holds it."""
        place = self._content_at.get(digest)
        if place is None:
            return None
        opened: Opened = self._reader.open_bytes(self.raw(*place))
        return opened.payload if blake3(opened.payload).digest() == digest else None


@dataclass(slots=True)
class Resealing:
    """Makes one object again. `reason` says what it lacks when it cannot be made."""

    row: ObjectRow
    about: About | None
    records: list[WantedRecord]
    remains: Remains
    contents: Contents
    digest_of: DigestOf
    sealer: Sealer
    reason: str = ""
    _chunks: list[bytes | memoryview] = field(default_factory=list)

    def run(self) -> bytes | None:
        """The whole object, or None."""
        wanted = {one.offset: one for one in self.records}
        self._chunks.append(self.remains.prelude)
        at = len(self.remains.prelude)
        end = max([self.row.size, *(one.offset + one.length for one in self.records)])
        while at < end:
            size = self.remains.size_at.get(at)
            if size is not None:
                self._chunks.append(self.remains.raw(at, size))
                at += size
                continue
            if len(self.remains.prelude) != PLAIN_PRELUDE:
                self.reason = "it was sealed by a client that may only add, with a key of its own"
                return None
            made = self._made(at, wanted.get(at))
            if made is None:
                return None
            self._chunks.extend(made)
            at += sum(map(len, made))
        data = b"".join(self._chunks)
        if blake3(data).digest() != self.row.digest:
            self.reason = "what it held is known, but not each byte of it"
            return None
        return data

    def _made(self, at: int, wanted: WantedRecord | None) -> tuple[bytes, bytes] | None:
        if wanted is None:
            return self._pack_record(at)
        for kind, meta, payload in self._candidates(wanted):
            header, sealed = self.sealer.seal(kind, meta, payload)
            if HEADER_SIZE + len(sealed) == wanted.length:
                return header, sealed
        self.reason = self.reason or f"the record at offset {at} cannot be sealed as it was"
        return None

    def _pack_record(self, at: int) -> tuple[bytes, bytes] | None:
        if at != PLAIN_PRELUDE or self.about is None or self.about.packed_ns is None:
            self.reason = f"nothing is known of what was at offset {at}"
            return None
        about = self.about
        meta = {"d": about.dataset_id, "N": about.dataset, "k": about.number, "t": about.packed_ns}
        return self.sealer.seal(Kind.PACK, packb(meta))

    def _candidates(self, wanted: WantedRecord) -> Iterator[tuple[Kind, bytes, bytes]]:
        """What the record may have been, likely things first."""
        members = wanted.members
        if not members:
            yield from self._segment(wanted)
            return
        row = members[0]
        if row.segments >= 0 and row.content is None:
            yield self._file(row, wanted)
            return
        if len(members) == 1 and row.type == FileType.FILE and row.size and row.segments < 0:
            content = self.contents.of_file(row, self.remains)
            if content is not None:
                yield Kind.BLOB, packb(node_of(row)), content
            elif row.content is None:
                self.reason = "the content of a file that it held is nowhere else"
        if row.content is not None or not numbered_content(row):
            yield self._nodes(members)

    def _segment(self, wanted: WantedRecord) -> Iterator[tuple[Kind, bytes, bytes]]:
        segment = wanted.segments[0]
        content = self.contents.of_segment(segment, wanted.places, self.remains)
        if content is None:
            self.reason = "a piece of a file that it held is nowhere else"
            return
        digest = segment.segment_hash
        for path in dict.fromkeys(place.path for place in wanted.places):
            meta = {"p": path, "b": blob_id(path, digest), "h": digest}
            yield Kind.SEGMENT, packb(meta), content

    def _file(self, row: FileRow, wanted: WantedRecord) -> tuple[Kind, bytes, bytes]:
        table = ObjectTable()
        payload = pack_segments(
            table,
            [
                SegmentRef(
                    one.file_offset,
                    one.length,
                    one.segment_hash,
                    Ref(self._named(one.object_no), one.record_offset, one.record_length),
                )
                for one in wanted.segments
            ],
        )
        return Kind.FILE, packb({**node_of(row), "O": table.digests}), payload

    def _named(self, object_no: int) -> bytes | None:
        """None: the object itself."""
        return None if object_no == self.row.object_no else self.digest_of(object_no)

    def _nodes(self, members: tuple[FileRow, ...]) -> tuple[Kind, bytes, bytes]:
        table = ObjectTable()
        nodes: list[bytes] = []
        for row in members:
            node: dict[str, Any] = node_of(row)
            content = numbered_content(row)
            if content:
                refs = [Ref(self.digest_of(number), at, size) for number, at, size in content]
                node["a"] = table.refs(refs)
            nodes.append(packb(node))
        return Kind.NODES, packb({"n": len(nodes), "O": table.digests}), b"".join(nodes)
