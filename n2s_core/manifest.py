"""Node maps, entries and heads: what records say (docs/format.md, section 5)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import msgpack
from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.judging import (
    BAD_MESSAGEPACK,
    LARGEST_ITEM,
    LARGEST_RECORD,
    MOST,
    array,
    digest,
    number,
    raw,
    text,
)
from n2s_core.model import FileType, Op
from n2s_core.relpath import LONGEST_PATH, RelPath, excerpt, is_safe

NODES_PER_RECORD = 256
SEGMENTS_PER_RECORD = 8192
ENTRIES_PER_RECORD = 4096
BYTES_PER_RECORD = 16 << 20
"""Bytes of a list of nodes or entries after which it goes on in another record."""
THIS_OBJECT = -1
_ANY_TIME = 1 << 64
T = TypeVar("T")
Places = list[tuple[int, int, int]]
"""Records as the format names them: position of the object in a table, offset, length."""
_CHANGESET_CONTEXT = "n2s format 1 changeset id"

packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class Ref(NamedTuple):
    """Where a record lies: BLAKE3 of the object (None: the same object), offset and length."""

    digest: bytes | None
    offset: int
    length: int


class Entry(NamedTuple):
    """One entry of a changeset; `own` and `content` as in section 5.7."""

    op: Op
    node: dict[str, Any]
    ctime_ns: int
    inode: int
    own: list[Ref]
    content: list[Ref] | None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a changeset; fields as in section 5.8."""

    dataset_id: bytes
    dataset: str
    number: int
    parent: bytes | None
    created_ns: int
    name: str
    using: str
    mark: bytes | None
    complete: bool
    host: str
    root: bytes
    entries: list[tuple[bytes, int]]
    inline: tuple[int, bytes] | None = None
    checkpoint: list[tuple[bytes, int]] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """The metadata of the HEAD record."""
        body: dict[str, Any] = {
            "d": self.dataset_id,
            "N": self.dataset,
            "k": self.number,
            "P": self.parent,
            "t": self.created_ns,
            "n": self.name,
            "u": self.using,
            "M": self.mark,
            "C": self.complete,
            "H": self.host,
            "R": self.root,
            "e": self.entries,
            "i": self.inline,
            "S": self.counts,
        }
        if self.checkpoint is not None:
            body["x"] = self.checkpoint
        if self.tags:
            body["g"] = self.tags
        packed: bytes = msgpack.packb(body)
        return packed

    def with_inline(self, entries: int, digest: bytes) -> "Head":
        """The same head, carrying entries itself: their number, BLAKE3 of the records."""
        return replace(self, inline=(entries, digest))

    @staticmethod
    def parse(body: dict[str, Any]) -> "Head":
        """The head in the metadata of a record. Raises DamageError."""
        try:
            inline, parent, mark = body["i"], body["P"], body["M"]
            checkpoint = body.get("x")
            return Head(
                dataset_id=raw(body["d"]),
                dataset=text(body["N"]),
                number=number(body["k"]),
                parent=None if parent is None else digest(parent),
                created_ns=number(body["t"], least=-MOST),
                name=text(body["n"]),
                using=text(body["u"]),
                mark=None if mark is None else raw(mark),
                complete=bool(body["C"]),
                host=text(body["H"]),
                root=raw(body["R"]),
                entries=_lists(body["e"]),
                inline=None if inline is None else _list(array(inline, 2)[1::-1]),
                checkpoint=None if checkpoint is None else _lists(checkpoint),
                counts=_counts(body["S"]),
                tags=tuple(text(tag) for tag in array(body.get("g", []))),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            message = f"The head of a changeset opens but lacks what it must say: {error!r}."
            raise DamageError(message) from error


def _list(value: Any) -> tuple[int, bytes]:
    """How many entries an object holds, and its BLAKE3: the other way round than in a head."""
    name, count, *_ = array(value, 2)
    return number(count), digest(name)


def _lists(value: Any) -> list[tuple[bytes, int]]:
    """Entries objects; one that is named twice would be read again and again."""
    found = [(name, count) for count, name in map(_list, array(value))]
    if len({name for name, _ in found}) < len(found):
        message = "a list of entries is named twice"
        raise ValueError(message)
    return found


def _counts(value: Any) -> dict[str, int]:
    """For people; what is no count is left out."""
    found = value.items() if isinstance(value, dict) else ()
    return {
        name: count
        for name, count in found
        if type(name) is str and type(count) is int and 0 <= count <= MOST
    }


def changeset_id(packed_head: bytes) -> bytes:
    """32 bytes that name the changeset with these HEAD metadata."""
    return blake3(packed_head, derive_key_context=_CHANGESET_CONTEXT).digest()


class ObjectTable:
    """The list `O` of a record: every object once, in the order of first use."""

    def __init__(self) -> None:
        """Empty."""
        self.digests: list[bytes] = []
        self._index: dict[bytes, int] = {}

    def index(self, digest: bytes | None) -> int:
        """Position of an object in the list; -1 for the object of the referring record."""
        if digest is None:
            return THIS_OBJECT
        found = self._index.get(digest)
        if found is None:
            found = self._index[digest] = len(self.digests)
            self.digests.append(digest)
        return found

    def refs(self, refs: list[Ref]) -> Places:
        """Refs as the format writes them."""
        return [(self.index(digest), offset, length) for digest, offset, length in refs]


_BEGINNINGS = {op: b"\x96" + op.to_bytes(1, "big") for op in Op}
"""An array of six, and the first of them."""


def pack_entry(
    table: ObjectTable,
    op: Op,
    node: bytes,
    *,
    ctime_ns: int,
    inode: int,
    own: list[Ref],
    content: list[Ref] | None,
) -> bytes:
    """One WRITE or TOUCH entry around the packed map `node`."""
    return pack_placed_entry(
        op,
        node,
        (ctime_ns, inode, table.refs(own), None if content is None else table.refs(content)),
    )


def pack_placed_entry(op: Op, node: bytes, rest: tuple[int, int, Places, Places | None]) -> bytes:
    """The same, given ctime, inode and places by their positions in the table."""
    return b"".join((_BEGINNINGS[op], node, packb(rest)[1:]))


def in_records(entries: list[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The entries cut into what one record takes; `size` is about the bytes of one."""
    part, size_bytes = list[T](), 0
    for one in entries:
        if len(part) >= ENTRIES_PER_RECORD or size_bytes >= BYTES_PER_RECORD:
            yield part
            part, size_bytes = [], 0
        part.append(one)
        size_bytes += size(one)
    if part:
        yield part


def pack_removal(path: RelPath) -> bytes:
    """One REMOVE entry."""
    packed: bytes = packb((int(Op.REMOVE), {"p": path}))
    return packed


def values_of(payload: bytes) -> Iterator[Any]:
    """The values of a payload; each is looked through before it is built. Raises DamageError."""
    size = len(payload)
    walker = msgpack.Unpacker(max_buffer_size=size + 1)
    builder = msgpack.Unpacker(strict_map_key=False, max_buffer_size=size + 1)
    walker.feed(payload)
    builder.feed(payload)
    start = 0
    try:
        while start < size:
            walker.skip()
            end = walker.tell()
            if end - start > LARGEST_ITEM:
                message = f"A record opens but holds a map of {end - start} bytes."
                raise DamageError(message)
            yield builder.unpack()
            start = end
    except BAD_MESSAGEPACK as error:
        message = "A record opens but its list is not MessagePack."
        raise DamageError(message) from error


def refs_of(value: Any, digests: list[bytes], this: bytes | None) -> list[Ref]:
    """Refs as the format writes them, of a record in the object `this`. Raises DamageError."""
    refs = []
    for index, offset, length, *_ in array(value):
        if index == THIS_OBJECT:
            refs.append(Ref(this, number(offset), number(length, most=LARGEST_RECORD)))
            continue
        place = number(index)
        if place >= len(digests):
            message = "A record refers to an object that its own list does not name."
            raise DamageError(message)
        refs.append(Ref(digests[place], number(offset), number(length, most=LARGEST_RECORD)))
    return refs


def _names(meta: dict[str, Any]) -> list[bytes]:
    return [digest(name) for name in array(meta.get("O", []))]


def check_node(node: Any) -> dict[str, Any]:
    """A node map whose path may be used below a root. Raises DamageError."""
    if not isinstance(node, dict):
        message = "A list of nodes holds something that is no map."
        raise DamageError(message)
    path = node.get("p")
    if not isinstance(path, bytes) or not is_safe(path):
        message = f"A node has a path that leads out of the tree: {excerpt(path)}."
        raise DamageError(message)
    if len(path) > LONGEST_PATH:
        message = f"A node has a path of {len(path)} bytes: {excerpt(path)}."
        raise DamageError(message)
    return node


def entries(meta: dict[str, Any], payload: bytes) -> Iterator[Entry]:
    """The entries of one ENTRIES record. Raises DamageError."""
    try:
        digests = _names(meta)
        for value in values_of(payload):
            packed = array(value, 2)
            op, node = Op(number(packed[0])), check_node(packed[1])
            if op is Op.REMOVE:
                yield Entry(op, node, 0, 0, [], None)
                continue
            FileType(number(node["t"]))
            content = packed[5]
            yield Entry(
                op,
                node,
                number(packed[2], least=-_ANY_TIME, most=_ANY_TIME),
                number(packed[3], least=-MOST - 1),
                refs_of(packed[4], digests, None),
                None if content is None else refs_of(content, digests, None),
            )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        message = f"An entry of a changeset is not what the format says: {error!r}."
        raise DamageError(message) from error


def nodes(payload: bytes) -> Iterator[dict[str, Any]]:
    """The node maps of one NODES record. Raises DamageError."""
    for node in values_of(payload):
        yield check_node(node)


class SegmentRef(NamedTuple):
    """One line of a FILE record; `digest` None means the same object."""

    file_offset: int
    length: int
    segment_hash: bytes
    ref: Ref


def pack_segments(table: ObjectTable, segments: list[SegmentRef]) -> bytes:
    """The payload of a FILE record."""
    return b"".join(
        packb(
            (
                part.file_offset,
                part.length,
                part.segment_hash,
                table.index(part.ref.digest),
                part.ref.offset,
                part.ref.length,
            )
        )
        for part in segments
    )


def segments(meta: dict[str, Any], payload: bytes, this: bytes | None) -> Iterator[SegmentRef]:
    """The segments of one FILE record of the object `this`. Raises DamageError."""
    try:
        digests = _names(meta)
        for value in values_of(payload):
            offset, length, content_hash, *ref = array(value, 6)
            (found,) = refs_of([ref], digests, this)
            yield SegmentRef(number(offset), number(length, least=1), digest(content_hash), found)
    except (TypeError, ValueError, IndexError) as error:
        message = f"A list of segments is not what the format says: {error!r}."
        raise DamageError(message) from error
