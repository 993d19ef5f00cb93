"""What the catalogue answers: frozen facts about datasets, changesets and pushes."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Dataset(NamedTuple):
    """A dataset as the catalogue has it. `head_no` is 0 before the first changeset."""

    dataset_no: int
    dataset_id: bytes
    name: str
    head_no: int
    live_files: int
    live_bytes: int
    mark: bytes | None
    mark_owner: str | None
    entries_since_checkpoint: int
    changesets_since_checkpoint: int
    last_verify_ns: int | None


class Changeset(NamedTuple):
    """One row of the table `changesets`; `status` is pending, sealed or stored."""

    changeset_no: int
    dataset_no: int
    number: int
    changeset_id: bytes | None
    parent_id: bytes | None
    changeset_name: str
    status: str
    created_ns: int
    stored_ns: int | None
    plugin: str
    mark: bytes | None
    complete: int
    fallback: str | None
    written: int
    touched: int
    removed: int
    unchanged: int
    failed: int
    bytes_read: int
    bytes_stored: int
    objects_stored: int
    files_delta: int
    bytes_delta: int
    head_digest: bytes | None
    head_bytes: bytes | None


class Lease(NamedTuple):
    """The right to push one dataset, until it expires or somebody has a greater `fencing`."""

    dataset_no: int
    owner: str
    fencing: int


class RemoteFacts(NamedTuple):
    """How one remote of a store fared: `status` is healthy or degraded, `error` the last one."""

    name: str
    status: str
    checked_ns: int
    error: str
    failures: int


class LiveStat(NamedTuple):
    """What the comparison needs of a live row."""

    path: bytes
    type: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    uid: int
    gid: int


LiveRow = tuple[Any, ...]
"""The fields of a LiveStat as the database gives them; one is made of them when needed."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the confirmed objects of a catalogue."""

    objects: int
    stored_bytes: int
