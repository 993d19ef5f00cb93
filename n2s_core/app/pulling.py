"""Building and running of a pull."""

import os
import queue
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from n2s_core.app.opening import OpenedStore, opened
from n2s_core.app.pool import WorkerPool
from n2s_core.app.pushing import worker_count
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.clock import now_ns
from n2s_core.errors import UsageError
from n2s_core.facts import Changeset, Dataset
from n2s_core.flows.pull import Pull, PullWish
from n2s_core.flows.restore import RestoreBatch, RestoreResult, restore_batch
from n2s_core.model import FileRow, Part, Report, SegmentRow
from n2s_core.ports import Executor
from n2s_core.relpath import RelPath, show
from n2s_core.stores.spec import StoreSpec

_stores: dict[StoreSpec, OpenedStore] = {}


@dataclass(frozen=True, slots=True)
class RestoringCall:
    """Restores a batch in whichever process it is called."""

    spec: StoreSpec
    master_key: bytes

    def __call__(self, batch: RestoreBatch) -> RestoreResult:
        """Raises StoreError when the store cannot be reached."""
        store = _stores.get(self.spec)
        if store is None:
            store = _stores[self.spec] = opened(self.spec)
        result = restore_batch(batch, store, self.master_key)
        result.requests.update(store.take_requests())
        return result


class TreeView:
    """The tree of one changeset; implements flows.pull.TreeCatalogue."""

    def __init__(self, catalogue: Catalogue, dataset: Dataset, changeset: Changeset) -> None:
        self._catalogue = catalogue
        self._dataset_no = dataset.dataset_no
        self._changeset_no = changeset.changeset_no
        self._digests: dict[int, bytes] = {}

    def tree(self, under: RelPath, part: Part = Part.ALL) -> Iterator[FileRow]:
        """Versions at and below a path."""
        return self._catalogue.queries.tree(
            self._dataset_no, self._changeset_no, under=under, part=part
        )

    def at(self, path: RelPath) -> FileRow | None:
        """The version of one path."""
        return self._catalogue.queries.at(self._dataset_no, self._changeset_no, path)

    def segments(self, blob_id: bytes) -> list[SegmentRow]:
        """The segments of a file in pieces."""
        return self._catalogue.queries.segments(blob_id)

    def digest_of(self, object_no: int) -> bytes:
        """The BLAKE3 of an object."""
        found = self._digests.get(object_no)
        if found is None:
            found = self._digests[object_no] = self._catalogue.pushes.digest_of(object_no)
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """From where a pull takes what it needs: an opened catalogue, a started store, the key."""

    catalogue: Catalogue
    dataset: Dataset
    changeset: Changeset
    spec: StoreSpec
    master_key: bytes
    workers: int


def source_of(space: Workspace, changeset: Changeset) -> Source:
    """Of a configured dataset."""
    return Source(
        space.catalogue,
        space.dataset,
        changeset,
        space.spec,
        space.master_key(),
        worker_count(space.config),
    )


def pull(source: Source, wish: PullWish, report: Report) -> tuple[RestoreResult, float]:
    """Restore; result and seconds. Raises N2sError."""
    started_ns = now_ns()
    view = TreeView(source.catalogue, source.dataset, source.changeset)
    for path in wish.paths:
        if view.at(path) is None:
            identity = (source.changeset.changeset_id or b"").hex()[:16]
            message = f"{show(path)} is not in changeset {identity}."
            raise UsageError(message)
    if not wish.dry_run:
        _make_target(wish.target)
    with ExitStack() as stack:
        told: queue.SimpleQueue[object] = queue.SimpleQueue()
        pool: list[WorkerPool] = []

        def executor() -> Executor:
            if not pool:
                pool.append(WorkerPool(source.workers, told))
                stack.callback(pool[0].shutdown, cancel_futures=True)
            return pool[0]

        call = RestoringCall(source.spec, source.master_key)
        result = Pull(view, wish, call, executor, source.workers, report).run()
    return result, (now_ns() - started_ns) / 1e9


def _make_target(target: bytes) -> None:
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
    except OSError as error:
        message = f"The target {show(target)} cannot be made: {error.strerror}."
        raise UsageError(message) from error
