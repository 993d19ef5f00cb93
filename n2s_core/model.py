"""The nouns of n2s: frozen facts with one constructor each."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from n2s_core.relpath import RelPath

Mark = bytes


class FileType(IntEnum):
    """Types of paths; the numbers are those of the store format."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    CHARACTER_DEVICE = 5
    BLOCK_DEVICE = 6
    SOCKET = 7


class Op(IntEnum):
    """What a changeset did to a path; the numbers are those of the store format."""

    WRITE = 1
    TOUCH = 2
    REMOVE = 3


class ChangeKind(StrEnum):
    """What a discoverer says about a path; always a hint that the core looks into."""

    WRITTEN = "written"
    REMOVED = "removed"
    SUBTREE_WRITTEN = "subtree-written"
    SUBTREE_REMOVED = "subtree-removed"
    MOVED = "moved"
    ENTRIES = "entries"


class Change(NamedTuple):
    """One path that may have changed.

    `path` is relative to the root of the discovery. `stat`, when the discoverer has it, is the
    lstat result that it saw, so that the core need not ask again.
    """

    path: RelPath
    kind: ChangeKind = ChangeKind.WRITTEN
    stat: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """One answer of a discoverer.

    `root` is the directory to read from (a snapshot rather than the live tree), `until` the mark
    where the next discovery starts, fixed before looking. `complete` promises that `changes`
    names every path of the tree, in ascending byte order of paths, each with kind WRITTEN.
    `fallback` is the sentence that says why it is complete although changes were asked for.

    Changes that are not complete are a feed. Iterating it raises DiscoveryError when it turns out
    to be wrong or cut off; the tree is walked then. With `doubts_links` the feed may miss names of
    files that have several: all of those are looked at, and the entries of named directories.
    `named_later(path)` says whether the discoverer saw a change of the path, or below it, after
    `until`: of a tree that is read while it changes, that is no change that the feed missed.
    """

    root: bytes
    until: Mark | None
    complete: bool
    changes: Iterator[Change]
    fallback: str | None = None
    doubts_links: bool = False
    named_later: Callable[[RelPath], bool] = lambda _path: False


@dataclass(frozen=True, slots=True)
class Source:
    """What a discoverer may know about the dataset that it looks at.

    `root` is the absolute path of the live tree; `options` are the user's `-o KEY=VALUE`;
    `walk(directory)` yields every path of the tree that has `directory` as its root, in
    ascending byte order, with stat, honouring the excludes of the dataset; `report(path, error)`
    records a path that could not be looked at; `leaves_out(path)` says whether a directory is
    excluded. After a `dry_run` the mark is not moved.

    What is stored can be asked by inode number: `names_of` gives the paths of a file with several
    links, to which directories count on most filesystems, from an index; `search` those of any
    numbers, by reading the whole catalogue.
    """

    root: bytes
    dataset: str
    walk: Callable[[bytes], Iterator[Change]]
    report: Callable[[RelPath, str], None]
    options: Mapping[str, str] = field(default_factory=dict)
    leaves_out: Callable[[RelPath], bool] = lambda _path: False
    dry_run: bool = False
    names_of: Callable[[int], list[RelPath]] = lambda _inode: []
    search: Callable[[Collection[int]], Iterator[tuple[int, RelPath]]] = lambda _inodes: iter(())


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store says about an object: its size in bytes."""

    name: str
    size: int


class RecordRef(NamedTuple):
    """Where one record lies: number of the object in the catalogue, offset and length in bytes."""

    object_no: int
    offset: int
    length: int


class FileRow(NamedTuple):
    """One version of one path, as the catalogue's table `files` holds it.

    The order of the fields is the order of the columns. Times are ns, sizes bytes. `content` is
    a packed list of `[object_no, offset, length]` where the content lies when it is not in the
    row's own record; `extra` is a packed map of the rarer metadata (keys x, l, d of the format).
    `segments` counts the segments of a file in pieces; -1 for everything that is not in pieces.
    """

    path: RelPath
    valid_from: int
    valid_to: int
    type: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    uid: int
    gid: int
    user_name: str | None
    group_name: str | None
    inode: int
    nlink: int
    mount: bytes
    file_hash: bytes | None
    blob_id: bytes | None
    object_no: int
    record_offset: int
    record_length: int
    content: bytes | None
    segments: int
    extra: bytes | None


LIVE = (1 << 63) - 1
UNSURE = -1
"""As ctime_ns of a row: the file may have changed while it was read; look again."""
LOST = -2
"""As ctime_ns of a row: the store lost this version; store it again, whatever it looks like."""


class SegmentRow(NamedTuple):
    """One segment of a file in pieces: where in the file, and which record holds it."""

    blob_id: bytes
    file_offset: int
    length: int
    segment_hash: bytes
    object_no: int
    record_offset: int
    record_length: int


class ObjectRow(NamedTuple):
    """One object that the store confirmed; `packed_ns` is the time that its PACK record says."""

    object_no: int
    shelf: str
    digest: bytes
    size: int
    packed_ns: int | None = None


class Remembered(NamedTuple):
    """An object, and when its bytes were last read and found whole (ns), or None."""

    row: ObjectRow
    verified_ns: int | None


class Damage(NamedTuple):
    """An object that a verify found to be `kind`: missing or damaged; `why` is half a sentence."""

    row: ObjectRow
    kind: str
    why: str
    found_ns: int


class Affected(NamedTuple):
    """One version of a path, and which damaged objects it needs.

    It is part of the changesets from `valid_from` up to before `valid_to`, by changeset_no.
    """

    path: bytes
    object_nos: frozenset[int]
    valid_from: int
    valid_to: int


class Debt(NamedTuple):
    """An object that the store took although the remote `remote` did not, and why not."""

    remote: str
    name: str
    error: str


class Part(StrEnum):
    """Which paths of a tree, in which order."""

    ALL = "all, in byte order"
    DIRECTORIES = "directories, in byte order"
    DEEPEST_FIRST = "directories, backwards"
    SINGLE = "other paths with one link, in the order of their records in the store"
    LINKED = "other paths with several links, those of one inode and state together"


@dataclass(frozen=True, slots=True)
class Failure:
    """One path that could not be stored or restored, and why."""

    path: RelPath
    error: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a flow is; `total` is None as long as it is not known."""

    what: str
    files: int
    bytes: int
    total_files: int | None = None
    total_bytes: int | None = None


Report = Callable[[Progress], None]
JsonMap = dict[str, Any]
