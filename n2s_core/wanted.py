"""What a missing or damaged object should hold, as the catalogue has it."""

from typing import NamedTuple

from n2s_core.model import FileRow, RecordRef, SegmentRow
from n2s_core.relpath import RelPath


class About(NamedTuple):
    """What the PACK record of an object says; `packed_ns` is None when it is not known."""

    dataset_id: bytes
    dataset: str
    number: int
    packed_ns: int | None


class SegmentPlace(NamedTuple):
    """A path with a segment in it; `here`: in the tree that is at hand, at some time."""

    path: RelPath
    file_offset: int
    here: bool


class Twin(NamedTuple):
    """A path with a content; `whole` is a record in another object that should have it."""

    path: RelPath
    live: bool
    whole: RecordRef | None


class WantedRecord(NamedTuple):
    """A record at `offset`, of `length` bytes with its header.

    `members` are the versions that it describes; `segments` are those of a file whose list it is,
    or, without members, the one that it holds (more than once, when several files have it), at
    `places`.
    """

    offset: int
    length: int
    members: tuple[FileRow, ...]
    segments: tuple[SegmentRow, ...] = ()
    places: tuple[SegmentPlace, ...] = ()
