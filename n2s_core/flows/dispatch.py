"""Batches on their way to workers and their results on the way into the catalogue."""

import contextlib
import os
import queue
import stat as statlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from n2s_core import segments as cutting
from n2s_core.catalogue_port import PushCatalogue
from n2s_core.errors import N2sError, Outdated, Unsealed
from n2s_core.facts import LiveStat
from n2s_core.faults import crash_point
from n2s_core.flows.compare import Difference
from n2s_core.jobs import Batch, BatchResult, Item, Known, Located, StoredSegments
from n2s_core.model import LOST, Failure, FileType, Progress, Report
from n2s_core.ports import Executor
from n2s_core.reading import Directories, inode_number, is_gone
from n2s_core.relpath import RelPath, split

MOST_ITEMS = 4096
MOST_BYTES = 32 << 20
OBJECT_NUMBERS = 1 << 24
MOST_FAILURES = 10_000
WAIT_S = 2.0
SEAL_AGAIN = 5
MOST_TURNS = 5
Inode = tuple[bytes, int]
_COMES_AND_GOES = "it is there when it is looked at, and not when it is read"


@dataclass(frozen=True, slots=True)
class Workers:
    """Who seals batches.

    `seal(batch)` works in this process, for pushes of one batch. `executor()` starts the pool
    when there is more; `width()` is how many batches it works on at once, now. `told` is where
    segments of large files are reported while a batch is still under way.
    """

    seal: Callable[[Batch], BatchResult]
    executor: Callable[[], Executor]
    remote_seal: Callable[[Batch], BatchResult]
    width: Callable[[], int]
    told: "queue.SimpleQueue[StoredSegments]"


class Mounts:
    """Names filesystems by their mount point below the root, never by a device number."""

    def __init__(self, source: Directories) -> None:
        self._source = source
        self._names = {source.lstat(b"").st_dev: b""}

    def is_there(self, path: RelPath) -> bool:
        """Whether the path exists now, also when it cannot be looked at."""
        self._source.forget()
        try:
            self._source.lstat(path)
        except OSError as error:
            return not is_gone(error)
        return True

    def name(self, path: RelPath, device: int) -> bytes:
        """Path of the mount point on which `path` lies; empty for the filesystem of the root."""
        found = self._names.get(device)
        if found is None:
            found = path
            parent = split(path)[0]
            while parent and self._source.lstat(parent).st_dev == device:
                found, parent = parent, split(parent)[0]
            self._names[device] = found
        return found


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch that somebody seals, for the `turn`-th time, and the inodes that it begins."""

    batch: Batch
    inodes: set[Inode]
    turn: int = 1


@dataclass(slots=True)
class Dispatcher:
    """Takes differences, makes batches of them, records what comes back."""

    catalogue: PushCatalogue
    begin_work: Callable[[], Workers]
    mounts: Mounts
    changeset_no: int
    report: Report
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0
    refreshed: int = 0
    vanished: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    _items: list[Item] = field(default_factory=list)
    _removed: list[RelPath] = field(default_factory=list)
    _removed_files: int = 0
    _removed_bytes: int = 0
    _weight: int = 0
    _running: "dict[Future[BatchResult], _UnderWay]" = field(default_factory=dict)
    _open_inodes: set[Inode] = field(default_factory=set)
    _inodes_under_way: set[Inode] = field(default_factory=set)
    _waiting: list[tuple[Difference, Inode]] = field(default_factory=list)
    _files: int = 0
    _bytes: int = 0
    _workers: Workers | None = None
    _pieces_left: bool | None = None

    @property
    def workers(self) -> Workers:
        """Those who seal, found when there is something to seal."""
        if self._workers is None:
            self._workers = self.begin_work()
        return self._workers

    def take(self, found: Difference) -> None:
        """Work on one difference, now or later."""
        stat = found.stat
        if stat is None:
            self._remove(found)
            return
        if found.origin is not None and statlib.S_ISREG(stat.st_mode):
            mount = self.mounts.name(found.path, stat.st_dev) if stat.st_nlink > 1 else b""
            self._append(Item(found.path, mount, known=self._known(found), link=found.origin))
            return
        if stat.st_nlink > 1 and statlib.S_ISREG(stat.st_mode):
            self._take_link(found, stat)
            return
        linked = stat.st_nlink > 1 and not statlib.S_ISDIR(stat.st_mode)
        self._add(found, stat, self.mounts.name(found.path, stat.st_dev) if linked else b"")

    def _remove(self, found: Difference) -> None:
        live = found.live
        assert live is not None
        self._removed.append(found.path)
        self._removed_files += live.type != FileType.DIRECTORY
        self._removed_bytes += live.size if live.type == FileType.FILE else 0
        if len(self._removed) >= MOST_ITEMS:
            self._submit()

    def _take_link(self, found: Difference, stat: os.stat_result) -> None:
        mount = self.mounts.name(found.path, stat.st_dev)
        inode = (mount, inode_number(stat))
        if inode in self._inodes_under_way:
            self._waiting.append((found, inode))
            if len(self._waiting) >= MOST_ITEMS:
                self._settle_links()
            return
        target = self.catalogue.linked(
            inode=inode[1], mount=mount, ctime_ns=stat.st_ctime_ns, size=stat.st_size
        )
        if target is not None and target.row.path != found.path:
            known = self._known(found)
            self._append(Item(found.path, mount, known=known, link=target))
            return
        self._inodes_under_way.add(inode)
        self._open_inodes.add(inode)
        self._add(found, stat, mount)

    def _settle_links(self) -> None:
        """Finish what is under way, so that the waiting links find the first path stored."""
        waiting, self._waiting = self._waiting, []
        self._submit()
        self._drain()
        for found, inode in waiting:
            stat = found.stat
            assert stat is not None
            target = self.catalogue.linked(
                inode=inode[1], mount=inode[0], ctime_ns=stat.st_ctime_ns, size=stat.st_size
            )
            if target is None:
                self._add(found, stat, inode[0])
            else:
                self._append(Item(found.path, inode[0], known=self._known(found), link=target))

    def _known(self, found: Difference) -> Known | None:
        return None if found.live is None else self.catalogue.known(found.path)

    def _add(self, found: Difference, stat: os.stat_result, mount: bytes) -> None:
        known = self._known(found)
        segments = None
        regular = statlib.S_ISREG(stat.st_mode)
        if regular:
            size = stat.st_size
            in_pieces = size > cutting.LARGE or (known is not None and known.row.segments >= 0)
            if in_pieces or self._takes_up_pieces():
                segments = self._segments(found.path, known)
            self._weight += size
            self._bytes += size
        self._append(Item(found.path, mount, regular, known, segments=segments))

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._files += 1
        if len(self._items) >= MOST_ITEMS or self._weight >= MOST_BYTES:
            self._submit()

    # -- batches -----------------------------------------------------------------------------

    def _batch(self, *, inline: bool) -> Batch | None:
        if not self._items and not self._removed:
            return None
        batch = Batch(
            changeset_no=self.changeset_no,
            object_base=self.catalogue.take_object_nos(OBJECT_NUMBERS),
            items=self._items,
            removed=self._removed,
            inline=inline,
            removed_files=self._removed_files,
            removed_bytes=self._removed_bytes,
        )
        self._items, self._removed, self._weight = [], [], 0
        self._removed_files = self._removed_bytes = 0
        return batch

    def _submit(self) -> None:
        batch = self._batch(inline=False)
        if batch is None:
            return
        while len(self._running) >= self.workers.width() + 1:
            self._collect()
        self._send(_UnderWay(batch, self._open_inodes))
        self._open_inodes = set()
        self.report(Progress("storing", self._files, self._bytes))

    def _send(self, work: _UnderWay) -> None:
        future = self.workers.executor().submit(self.workers.remote_seal, work.batch)
        self._running[future] = work

    def finish(self) -> None:
        """Everything that was taken is stored and recorded when this returns."""
        while self._waiting or self._items or self._removed or self._running:
            if self._waiting:
                self._settle_links()
            batch = self._batch(inline=True)
            if batch is not None and not self._running:
                self._record(batch, self.workers.seal(batch))
            elif batch is not None:
                self._send(_UnderWay(batch, self._open_inodes))
            self._open_inodes = set()
            self._drain()
            self._inodes_under_way.clear()

    def _drain(self) -> None:
        while self._running:
            self._collect()

    def _collect(self) -> None:
        done, _ = wait(self._running, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        self._hear()
        for future in done:
            work = self._running.pop(future, None)
            if work is None:  # what was recorded before it made room for removals
                continue
            try:
                result = future.result()
            except N2sError as error:
                if isinstance(error, Unsealed) and work.turn < MOST_TURNS:
                    self._send(_UnderWay(self._anew(work.batch), work.inodes, work.turn + 1))
                    continue
                self._save_rest()
                raise
            self._record(work.batch, result)
            self._inodes_under_way -= work.inodes
        self.catalogue.renew_lease()

    def _save_rest(self) -> None:
        """A batch failed, which ends the push; what the others had confirmed is recorded first."""
        self._hear()
        while self._running:
            future, work = self._running.popitem()
            with contextlib.suppress(N2sError):  # the first error is the one that is raised
                self._record(work.batch, future.result())

    def _hear(self) -> None:
        """Record segments of large files that were confirmed while their batch goes on."""
        heard: list[StoredSegments] = []
        told = self.workers.told
        while not told.empty():
            heard.append(told.get_nowait())
        if heard:
            self.catalogue.record_segments(self.changeset_no, heard)

    def _record(self, batch: Batch, result: BatchResult, *, sealed_here: bool = False) -> None:
        self._hear()
        crash_point("batch-sealed")
        attempts = iter(range(SEAL_AGAIN))
        while not self._recorded(result, again=next(attempts, None) is not None):
            debts, result = result.debts, self._seal_again(batch)
            result.debts[:0] = debts
            self._hear()
        crash_point("batch-recorded")
        self.failed += len(result.failures)
        self.refreshed += len(result.refreshed)
        self.requests.update(result.requests)
        room = MOST_FAILURES - len(self.failures)
        self.failures.extend(result.failures[:room])
        there = self._still_there(result.vanished)
        if there and sealed_here:
            self._fail([Failure(path, _COMES_AND_GOES) for path in there])
        elif there:
            items = [item for item in batch.items if item.path in there]
            rest = replace(self._numbered(batch, items), removed=[], inline=False)
            rest = replace(rest, removed_files=0, removed_bytes=0)
            self._record(rest, self.workers.seal(rest), sealed_here=True)

    def _still_there(self, vanished: list[RelPath]) -> set[RelPath]:
        """Those that a worker did not find and this process does; the others are removed.

        A worker on another machine may see less of the tree.
        """
        there = set()
        for path in vanished:
            if self.mounts.is_there(path):
                there.add(path)
                continue
            self.vanished += 1
            live: LiveStat | None = self.catalogue.live_stat(path)
            if live is not None and live.type != FileType.DIRECTORY:
                self._remove(Difference(path, None, live))
        return there

    def _fail(self, failures: list[Failure]) -> None:
        self.catalogue.note_failures(failures)
        self.failed += len(failures)
        self.failures.extend(failures[: MOST_FAILURES - len(self.failures)])

    def _recorded(self, result: BatchResult, *, again: bool) -> bool:
        """Whether it could be recorded; what it brought into the store is known in any case.

        Raises Outdated when it is not to be tried `again`.
        """
        try:
            self.catalogue.record(self.changeset_no, result)
        except Outdated:
            self.catalogue.record_objects(self.changeset_no, result.objects)
            if not again:
                raise
            return False
        return True

    def _seal_again(self, batch: Batch) -> BatchResult:
        """Seal a batch anew that referred to what a prune removed meanwhile.

        Links are read like other files, which restores as the same link.
        """
        items = []
        for item in batch.items:
            known = self.catalogue.known(item.path)
            segments = self._segments(item.path, known) if item.segments else None
            items.append(Item(item.path, item.mount, item.regular, known, segments=segments))
        return self.workers.seal(self._numbered(batch, items))

    def _anew(self, batch: Batch) -> Batch:
        """A batch whose worker is gone, for another: with the pieces that were stored already."""
        self._hear()
        items = batch.items
        if self.catalogue.has_loose_segments():
            items = [
                item._replace(segments=self._segments(item.path, item.known))
                if item.link is None and (item.regular or item.segments)
                else item
                for item in items
            ]
        return self._numbered(batch, items)

    def _numbered(self, batch: Batch, items: list[Item]) -> Batch:
        """The batch with these items; numbers of objects are never used for two of them."""
        base = self.catalogue.take_object_nos(OBJECT_NUMBERS)
        return replace(batch, object_base=base, items=items)

    def _takes_up_pieces(self) -> bool:
        """Whether any file may have pieces of a push that died: small ones with holes have some."""
        if self._pieces_left is None:
            self._pieces_left = self.catalogue.has_loose_segments()
        return self._pieces_left

    def _segments(self, path: RelPath, known: Known | None) -> dict[bytes, Located] | None:
        """Confirmed pieces that the path may use; none of a version that the store lost."""
        blob = None if known is None or known.row.ctime_ns == LOST else known.row.blob_id
        return self.catalogue.segments_of(path, blob) or None
