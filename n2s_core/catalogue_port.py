"""What a push asks of a catalogue."""

from collections.abc import Collection, Iterator
from typing import Protocol

from n2s_core.facts import Changeset, Dataset, LiveRow, LiveStat
from n2s_core.jobs import BatchResult, Known, Located, StoredSegments
from n2s_core.model import Failure, FileRow, ObjectRow
from n2s_core.pending import PendingEntries
from n2s_core.relpath import RelPath, Span


class PushCatalogue(Protocol):
    """The catalogue as one push sees it: one dataset, one pending changeset, one lease.

    Every write is one transaction that raises LeaseHeld when the lease is not ours any more.
    """

    @property
    def dataset(self) -> Dataset:
        """The dataset as it was when last asked."""

    def renew_lease(self) -> None:
        """Prolong the lease when it is time; cheap."""

    def require_lease(self) -> None:
        """Before what no transaction guards: the lease is ours now."""

    def pending(self) -> Changeset | None:
        """The changeset of a push that did not finish."""

    def head(self) -> Changeset | None:
        """The changeset that is the state of the dataset."""

    def begin(self, *, name: str, using: str, tags: frozenset[str]) -> Changeset:
        """Open a changeset, or take up the pending one."""

    def drop(self, changeset: Changeset) -> None:
        """Forget a changeset in which nothing happened."""

    def set_outcome(
        self,
        changeset: Changeset,
        *,
        mark: bytes | None,
        complete: bool,
        fallback: str | None,
        unchanged: int,
        failed: int,
    ) -> Changeset:
        """Note what the discovery came to."""

    def move_mark(self, mark: bytes | None, owner: str) -> None:
        """Move the mark without a changeset."""

    def seal(
        self, changeset: Changeset, *, changeset_id: bytes, digest: bytes, data: bytes
    ) -> Changeset:
        """Fix the head of the changeset, durably."""

    def finish(self, changeset: Changeset, *, checkpoint: bool) -> None:
        """Make the changeset the state of the dataset, durably and at once."""

    def pending_entries(self, changeset_no: int) -> list[PendingEntries]:
        """Lists of entries in the order in which they apply."""

    def record_objects(self, changeset_no: int, objects: list[ObjectRow]) -> None:
        """Confirmed objects that belong to the changeset itself."""

    def take_object_nos(self, count: int) -> int:
        """The first of so many numbers of objects that nobody else gets, above all so far."""

    def record(self, changeset_no: int, result: BatchResult) -> None:
        """The result of a batch, at once. Raises Outdated when it refers to what is gone."""

    def record_segments(self, changeset_no: int, heard: list[StoredSegments]) -> None:
        """Confirmed segments of files that are still being stored."""

    def note_failures(self, failures: list[Failure]) -> None:
        """Paths that could not be looked at."""

    def settle_failures(self, *, before_ns: int | None, paths: list[RelPath]) -> None:
        """Forget failures that are over."""

    def failed_paths(self) -> list[RelPath]:
        """What failed in earlier pushes."""

    def live(self, span: Span) -> Iterator[list[LiveRow]]:
        """Pages of live rows in byte order."""

    def cut(self, first: RelPath, count: int) -> RelPath | None:
        """The live path that has `count` others before it, counted from `first`."""

    def audit_position(self) -> RelPath:
        """Where the next audit of a feed begins."""

    def doubted(self) -> Iterator[list[RelPath]]:
        """Pages of paths that are looked at whatever a feed says."""

    def doubt(self, paths: list[RelPath]) -> None:
        """Look at these paths in every later push, whatever a feed says."""

    def note_audit(self, position: RelPath, *, looked: int, missed: list[RelPath]) -> None:
        """Add the result of an audit; the next one begins at `position`."""

    def live_children(self, directory: RelPath) -> Iterator[LiveRow]:
        """Live rows directly in a directory, in byte order."""

    def names_of(self, inode: int) -> list[RelPath]:
        """Live paths of files with several names that had this inode."""

    def directories_of(self, inode: int) -> list[RelPath]:
        """Paths of directories with this inode, in the state before this push."""

    def stored(self, span: Span) -> Iterator[Known]:
        """The versions before this push, in byte order of paths, with their contents."""

    def search(self, inodes: Collection[int]) -> Iterator[tuple[int, RelPath]]:
        """Live paths of these inodes; reads every row of the dataset."""

    def with_several_names(self) -> Iterator[list[RelPath]]:
        """Pages of all live paths of files with several names."""

    def live_stat(self, path: RelPath) -> LiveStat | None:
        """The live row of one path."""

    def known(self, path: RelPath) -> Known | None:
        """The live version of a path and where its content is."""

    def linked(self, *, inode: int, mount: bytes, ctime_ns: int, size: int) -> Known | None:
        """Another live path of the same inode in the same state."""

    def has_loose_segments(self) -> bool:
        """Whether a push that did not finish left segments that were confirmed."""

    def segments_of(self, path: RelPath, blob: bytes | None) -> dict[bytes, Located]:
        """Confirmed segments that a new version of the path may use."""

    def state(self, changeset_no: int) -> Iterator[FileRow]:
        """The tree as the pending changeset leaves it."""

    def digest_of(self, object_no: int) -> bytes:
        """The BLAKE3 of an object."""
