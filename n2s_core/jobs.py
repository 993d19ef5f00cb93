"""What goes to a worker and what comes back: one batch of paths to seal.

Everything here is pickled, so it is plain, and knows no other room's objects.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from n2s_core.model import Debt, Failure, FileRow, ObjectRow, SegmentRow
from n2s_core.relpath import RelPath

if TYPE_CHECKING:
    from n2s_core.packs import Keyring


class Located(NamedTuple):
    """A record in a confirmed object: its number in the catalogue, its BLAKE3, offset, length."""

    object_no: int
    digest: bytes
    offset: int
    length: int


class Known(NamedTuple):
    """A version of a path that the catalogue has, and where its content is."""

    row: FileRow
    content: list[Located]


class Item(NamedTuple):
    """One path to look at.

    `regular` says that it was a regular file a moment ago. `known` is the live version of the
    path. `link` is another path's version that is the same inode in the same state: its content
    is taken without reading. `segments` are confirmed records by the hash of their payload,
    from earlier versions and from a push that died.
    """

    path: RelPath
    mount: bytes = b""
    regular: bool = False
    known: Known | None = None
    link: Known | None = None
    segments: dict[bytes, Located] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One unit of work. Objects get the numbers from `object_base` on."""

    changeset_no: int
    object_base: int
    items: list[Item]
    removed: list[RelPath] = field(default_factory=list)
    inline: bool = False
    removed_files: int = 0
    removed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SealSetting:
    """What is the same for all batches of a push. `pack_size` in bytes; 0: one blob an object.

    `frozen`: the root is a snapshot, in which nothing changes any more. `transfers` objects may
    be on their way to the store at a time. `readers` processes read one device at a time, 0: any
    number of them.
    """

    root: bytes
    dataset_id: bytes
    dataset: str
    number: int
    keyring: "Keyring"
    pack_size: int
    share: bool = False
    frozen: bool = False
    transfers: int = 2
    readers: int = 0


class StoredSegments(NamedTuple):
    """Progress inside a large file: an object was confirmed that holds these segments.

    `debts` say which remotes of the store do not have it yet.
    """

    path: RelPath
    stored: ObjectRow
    segments: list[tuple[bytes, int, int]]
    debts: tuple[Debt, ...] = ()


@dataclass(slots=True)
class BatchResult:
    """What became of a batch. `entries` is (object_no, digest, count) in `meta/`, or None.

    `rows` are new versions, in the order of FileRow; `replaced` those of them that had a live
    version; `refreshed` are (ctime_ns, inode, nlink, path) of paths whose stored state is still
    right; `inline` is the number, metadata, payload and
    count of an ENTRIES record for the head. `debts` are what remotes of the store owe of the
    objects, `requests` what was asked of the store.
    """

    rows: list[tuple[object, ...]] = field(default_factory=list)
    replaced: list[RelPath] = field(default_factory=list)
    removed: list[RelPath] = field(default_factory=list)
    refreshed: list[tuple[int, int, int, RelPath]] = field(default_factory=list)
    vanished: list[RelPath] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)
    objects: list[ObjectRow] = field(default_factory=list)
    contents: list[tuple[bytes, int, int, int, int]] = field(default_factory=list)
    entries: tuple[int, bytes, int] | None = None
    inline: tuple[int, bytes, bytes, int] | None = None
    written: int = 0
    touched: int = 0
    bytes_read: int = 0
    files_delta: int = 0
    bytes_delta: int = 0
    debts: list[Debt] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)


Emit = Callable[[StoredSegments], None]
FindContent = Callable[[int, bytes], Located | None]
