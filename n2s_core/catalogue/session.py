"""The catalogue as one push sees it: one dataset, one pending changeset, one lease.

Every write is one transaction that first makes sure that the lease is still ours.
"""

from collections.abc import Collection, Iterator
from typing import Any

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.claims import claim
from n2s_core.errors import LeaseHeld
from n2s_core.facts import Changeset, Dataset, Lease, LiveRow, LiveStat
from n2s_core.faults import crash_point
from n2s_core.jobs import BatchResult, Known, Located, StoredSegments
from n2s_core.model import UNSURE, Failure, FileRow, ObjectRow
from n2s_core.pending import PendingEntries
from n2s_core.relpath import RelPath, Span

_PATH = FileRow._fields.index("path")
_CTIME = FileRow._fields.index("ctime_ns")


class PushSession:
    """Implements ports.PushCatalogue."""

    def __init__(self, catalogue: Catalogue, dataset: Dataset, lease: Lease | None) -> None:
        self._catalogue = catalogue
        self._db = catalogue.db
        self._pushes = catalogue.pushes
        self._lease = lease
        self.dataset = dataset
        self._digests: dict[int, bytes] = {}

    def _guard(self) -> None:
        if self._lease is None:
            message = "This session may only look."
            raise LeaseHeld(message)
        self._catalogue.leases.guard(self._lease)

    def renew_lease(self) -> None:
        """Prolong the lease when it is time."""
        if self._lease is not None:
            self._catalogue.leases.renew(self._lease)

    def require_lease(self) -> None:
        """Before what no transaction guards: the lease is ours now."""
        with self._db.transaction():
            self._guard()

    # -- the changeset -----------------------------------------------------------------------

    def pending(self) -> Changeset | None:
        """The changeset of a push that did not finish."""
        return self._pushes.pending(self.dataset.dataset_no)

    def head(self) -> Changeset | None:
        """The changeset that is the state of the dataset now."""
        return self._pushes.head(self.dataset)

    def begin(self, *, name: str, using: str, tags: frozenset[str]) -> Changeset:
        """Open a changeset, or take up the pending one under this name and these tags."""
        with self._db.transaction():
            self._guard()
            pending = self.pending()
            if pending is None:
                pending = self._pushes.begin(self.dataset, name=name, using=using)
            self._pushes.rename(pending.changeset_no, name=name, using=using)
            self._catalogue.verdicts.begin(pending.changeset_no, tags)
        found = self.pending()
        assert found is not None
        return found

    def drop(self, changeset: Changeset) -> None:
        """Forget a changeset in which nothing happened."""
        with self._db.transaction():
            self._guard()
            self._pushes.drop(changeset.changeset_no)
            self._catalogue.verdicts.begin(changeset.changeset_no, frozenset())

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
        """Note what the discovery came to; the changeset as it is now."""
        with self._db.transaction():
            self._guard()
            self._pushes.set_outcome(
                changeset.changeset_no,
                mark=mark,
                complete=complete,
                fallback=fallback,
                unchanged=unchanged,
                failed=failed,
            )
        found = self.pending()
        assert found is not None
        return found

    def move_mark(self, mark: bytes | None, owner: str) -> None:
        """Nothing changed: the next discovery starts here all the same."""
        with self._db.transaction():
            self._guard()
            self._db.execute(
                "UPDATE datasets SET mark = ?, mark_owner = ? WHERE dataset_no = ?",
                (mark, owner, self.dataset.dataset_no),
            )
            self._catalogue.audits.settle(self.dataset.dataset_no)

    def seal(
        self, changeset: Changeset, *, changeset_id: bytes, digest: bytes, data: bytes
    ) -> Changeset:
        """Fix the head; durable, because the store gets it next."""
        with self._db.transaction(durable=True):
            self._guard()
            self._pushes.seal(
                changeset.changeset_no, changeset_id=changeset_id, digest=digest, data=data
            )
        found = self.pending()
        assert found is not None
        return found

    def finish(self, changeset: Changeset, *, checkpoint: bool) -> None:
        """One durable transaction that makes the changeset the state of the dataset."""
        with self._db.transaction(durable=True):
            self._guard()
            self._pushes.finish(self.dataset, changeset, checkpoint=checkpoint)
            self._catalogue.audits.settle(self.dataset.dataset_no)
            crash_point("finish-uncommitted")
        self.dataset = self._catalogue.dataset(self.dataset.dataset_id)

    def pending_entries(self, changeset_no: int) -> list[PendingEntries]:
        """Lists of entries in order."""
        return self._pushes.pending_entries(changeset_no)

    def record_objects(self, changeset_no: int, objects: list[ObjectRow]) -> None:
        """Objects that belong to the changeset itself, confirmed by the store."""
        with self._db.transaction():
            self._guard()
            self._pushes.add_objects(changeset_no, objects)

    # -- batches -----------------------------------------------------------------------------

    def take_object_nos(self, count: int) -> int:
        """See PushCatalogue."""
        with self._db.transaction():
            self._guard()
            return self._pushes.take_object_nos(count)

    def record(self, changeset_no: int, result: BatchResult) -> None:
        """Everything in the result of a batch, at once.

        Raises Outdated when a prune removed meanwhile what it refers to.
        """
        with self._db.transaction():
            self._guard()
            claim(self._db, result)
            self._pushes.record(self.dataset.dataset_no, changeset_no, result)
            if result.debts:
                self._catalogue.debts.add(result.debts)
            unsure: list[Any] = [row[_PATH] for row in result.rows if row[_CTIME] == UNSURE]
            unsure.extend(path for ctime_ns, *_, path in result.refreshed if ctime_ns == UNSURE)
            if unsure:
                self._catalogue.audits.doubt(self.dataset.dataset_no, unsure, lasting=False)
            if result.failures:
                self._pushes.note_failures(self.dataset.dataset_no, result.failures)
            crash_point("record-uncommitted")

    def record_segments(self, changeset_no: int, heard: list[StoredSegments]) -> None:
        """Segments of files that are still being stored."""
        with self._db.transaction():
            self._guard()
            for told in heard:
                self._pushes.record_segments(self.dataset.dataset_no, changeset_no, told)
                self._catalogue.debts.add(told.debts)

    def note_failures(self, failures: list[Failure]) -> None:
        """Paths that could not be looked at."""
        with self._db.transaction():
            self._guard()
            self._pushes.note_failures(self.dataset.dataset_no, failures)

    def settle_failures(self, *, before_ns: int | None, paths: list[RelPath]) -> None:
        """Forget failures of `paths`, and with `before_ns` all that did not happen since."""
        with self._db.transaction():
            self._guard()
            self._pushes.forget_failures_of(self.dataset.dataset_no, paths)
            if before_ns is not None:
                self._pushes.forget_failures(self.dataset.dataset_no, before_ns)

    def failed_paths(self) -> list[RelPath]:
        """What failed earlier and is tried first."""
        return self._pushes.failed_paths(self.dataset.dataset_no)

    # -- the comparison ------------------------------------------------------------------------

    def live(self, span: Span) -> Iterator[list[LiveRow]]:
        """Pages of live rows in byte order."""
        return self._pushes.live(self.dataset.dataset_no, span)

    def cut(self, first: RelPath, count: int) -> RelPath | None:
        """The live path that has `count` others before it, counted from `first`."""
        return self._pushes.cut(self.dataset.dataset_no, first, count)

    def audit_position(self) -> RelPath:
        """Where the next audit of a feed begins."""
        return self._catalogue.audits.position(self.dataset.dataset_no)

    def doubted(self) -> Iterator[list[RelPath]]:
        """Pages of paths that are looked at whatever a feed says."""
        return self._catalogue.audits.doubted(self.dataset.dataset_no)

    def doubt(self, paths: list[RelPath]) -> None:
        """Look at these paths in every later push."""
        with self._db.transaction():
            self._guard()
            self._catalogue.audits.doubt(self.dataset.dataset_no, paths, lasting=True)

    def note_audit(self, position: RelPath, *, looked: int, missed: list[RelPath]) -> None:
        """Add the result of an audit."""
        with self._db.transaction():
            self._guard()
            self._catalogue.audits.note(
                self.dataset.dataset_no, position, looked=looked, missed=missed
            )

    def live_children(self, directory: RelPath) -> Iterator[LiveRow]:
        """Live rows directly in a directory."""
        return self._pushes.live_children(self.dataset.dataset_no, directory)

    def names_of(self, inode: int) -> list[RelPath]:
        """Live paths of files with several names that had this inode."""
        return self._pushes.names_of(self.dataset.dataset_no, inode)

    def directories_of(self, inode: int) -> list[RelPath]:
        """See PushCatalogue."""
        return self._pushes.directories_of(self.dataset.dataset_no, inode, self.dataset.head_no)

    def stored(self, span: Span) -> Iterator[Known]:
        """See PushCatalogue."""
        return self._pushes.stored(self.dataset.dataset_no, span, self.dataset.head_no)

    def search(self, inodes: Collection[int]) -> Iterator[tuple[int, RelPath]]:
        """See PushCatalogue."""
        return self._pushes.search(self.dataset.dataset_no, inodes)

    def with_several_names(self) -> Iterator[list[RelPath]]:
        """Pages of all live paths of files with several names."""
        return self._pushes.with_several_names(self.dataset.dataset_no)

    def live_stat(self, path: RelPath) -> LiveStat | None:
        """The live row of one path."""
        return self._pushes.live_stat(self.dataset.dataset_no, path)

    def known(self, path: RelPath) -> Known | None:
        """The live version of a path."""
        return self._pushes.known(self.dataset.dataset_no, path)

    def linked(self, *, inode: int, mount: bytes, ctime_ns: int, size: int) -> Known | None:
        """Another path of the same inode in the same state."""
        return self._pushes.linked(
            self.dataset.dataset_no, inode=inode, mount=mount, ctime_ns=ctime_ns, size=size
        )

    def has_loose_segments(self) -> bool:
        """Whether a push that did not finish left segments that were confirmed."""
        return self._pushes.has_loose_segments(self.dataset.dataset_no)

    def segments_of(self, path: RelPath, blob: bytes | None) -> dict[bytes, Located]:
        """Confirmed segments that a new version may use."""
        return self._pushes.segments_of(self.dataset.dataset_no, path, blob)

    def state(self, changeset_no: int) -> Iterator[FileRow]:
        """The whole tree as the pending changeset leaves it, for a checkpoint."""
        return self._catalogue.queries.tree(self.dataset.dataset_no, changeset_no)

    def digest_of(self, object_no: int) -> bytes:
        """The name of an object."""
        found = self._digests.get(object_no)
        if found is None:
            found = self._digests[object_no] = self._pushes.digest_of(object_no)
        return found
