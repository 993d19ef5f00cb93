"""A push: from what changed to a stored changeset.

Discover, compare, seal, record, commit. Whatever happens on the way, the next push takes up what
this one had confirmed.
"""

import os
import stat as statlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from n2s_core.catalogue_port import PushCatalogue
from n2s_core.clock import now_ns
from n2s_core.errors import UsageError
from n2s_core.excludes import Excludes
from n2s_core.facts import Changeset
from n2s_core.faults import crash_point
from n2s_core.flows.audit import Audit
from n2s_core.flows.commit import Commit, complete_sealed
from n2s_core.flows.compare import Difference
from n2s_core.flows.comparing import Comparison
from n2s_core.flows.dispatch import Dispatcher, Mounts, Workers
from n2s_core.flows.held import HeldRemovals
from n2s_core.flows.spread import Spread
from n2s_core.jobs import SealSetting
from n2s_core.model import (
    Discovery,
    Failure,
    FileType,
    Mark,
    Report,
)
from n2s_core.ports import Store
from n2s_core.reading import Directories, describe
from n2s_core.relpath import RelPath, show


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for.

    `paths` None: ask the discoverer. `full`: believe neither it nor stat, read every file.
    `allow_mass_removal`: go on when most of the dataset is gone. `shares`: the store may keep one
    content for several paths.
    """

    changeset_name: str = ""
    using: str = "find"
    paths: Iterable[RelPath] | None = None
    full: bool = False
    dry_run: bool = False
    allow_mass_removal: bool = False
    shares: bool = False
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a push did; `changeset_id` is None when nothing had changed (or of a dry run).

    `requests` is what the store was asked; `debts` counts the objects that remotes owe now.
    `setback` says that the store was older than what the catalogue remembers, "" if it was not.
    `notes` are sentences about the workers.
    """

    changeset_id: bytes | None
    complete: bool
    fallback: str | None
    written: int
    touched: int
    removed: int
    unchanged: int
    failed: int
    failures: list[Failure]
    bytes_read: int
    bytes_stored: int
    objects_stored: int
    audit: Audit = field(default_factory=Audit)
    requests: Counter[str] = field(default_factory=Counter)
    debts: int = 0
    setback: str = ""
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Push:
    """One push of one dataset; the lease is held by whoever made the `catalogue`."""

    catalogue: PushCatalogue
    store: Callable[[], Store]
    setting: Callable[[int, bytes], SealSetting]
    workers: Callable[[SealSetting], Workers]
    discover: Callable[[Mark | None], AbstractContextManager[Discovery]]
    excludes: Excludes
    report: Report
    wish: Wish
    spread: Callable[[bytes], Spread] | None = None
    was_set_back: Callable[[], bool] = lambda: False
    _comparison: Comparison = field(init=False)

    def __post_init__(self) -> None:
        """The comparison of this push."""
        self._comparison = Comparison(
            self.catalogue,
            self.excludes,
            self.report,
            self.spread,
            full=self.wish.full,
            dry_run=self.wish.dry_run,
            shares=self.wish.shares,
        )
        self._comparison.seen.distrust = self.wish.full

    def run(self) -> Outcome:
        """Do it. Raises N2sError; nothing that was confirmed before is lost by that."""
        if not self.wish.dry_run:
            self._finish_sealed()
        started_ns = now_ns()
        with self._discovery() as discovery:
            if self.wish.dry_run:
                return self._rehearse(discovery)
            return self._store(discovery, started_ns)

    def _finish_sealed(self) -> None:
        """A push died between sealing its head and committing it: do the rest of it."""
        pending = self.catalogue.pending()
        if pending is not None and pending.status == "sealed":
            complete_sealed(self.catalogue, self.store(), pending)

    def _discovery(self) -> AbstractContextManager[Discovery]:
        dataset = self.catalogue.dataset
        trusted = dataset.mark_owner == self.wish.using and not self.wish.full
        return self.discover(dataset.mark if trusted else None)

    # -- the usual way ------------------------------------------------------------------------

    def _store(self, discovery: Discovery, started_ns: int) -> Outcome:
        retry = self.catalogue.failed_paths()
        changeset = self.catalogue.begin(
            name=self.wish.changeset_name, using=self.wish.using, tags=self.wish.tags
        )
        crash_point("changeset-begun")
        number, root = changeset.number, discovery.root
        with _opened(root) as source:
            dispatcher = Dispatcher(
                self.catalogue,
                lambda: self.workers(self.setting(number, root)),
                Mounts(source),
                changeset.changeset_no,
                self.report,
            )
            retried = self._retry_first(retry, dispatcher, discovery, source)
            with HeldRemovals(self.catalogue.dataset.live_files) as held:
                for found in self._differences(discovery, source):
                    if found.path in retried:
                        continue
                    if found.stat is None:
                        held.hold(found)
                    else:
                        held.added += found.live is None and not statlib.S_ISDIR(found.stat.st_mode)
                        dispatcher.take(found)
                if not self.wish.allow_mass_removal:
                    held.judge()
                for found in held:
                    dispatcher.take(found)
            dispatcher.finish()
        crash_point("batches-done")
        setting = self.setting(number, root)
        return self._conclude(
            discovery, changeset, setting, dispatcher, started_ns=started_ns, retried=retried
        )

    def _retry_first(
        self,
        retry: list[RelPath],
        dispatcher: Dispatcher,
        discovery: Discovery,
        source: Directories,
    ) -> set[RelPath]:
        """Paths that failed earlier come before everything else; which ones were taken.

        Of a directory that failed nothing is known, and no discoverer names it again: all of it.
        """
        taken: set[RelPath] = set()
        if not retry:
            return taken
        for found in self._comparison.of_paths(retry, discovery.root, source):
            taken.add(found.path)
            dispatcher.take(found)
        self._comparison.seen.unchanged = 0
        return taken

    def _differences(self, discovery: Discovery, source: Directories) -> Iterator[Difference]:
        if self.wish.paths is not None:
            return self._comparison.of_paths(self.wish.paths, discovery.root, source)
        return self._comparison.of(discovery, source)

    def note_failure(self, path: RelPath, error: str) -> None:
        """A path that could not be looked at: what is stored of it stays as it is."""
        self._comparison.note_failure(path, error)

    def _conclude(
        self,
        discovery: Discovery,
        changeset: Changeset,
        setting: SealSetting,
        dispatcher: Dispatcher,
        *,
        started_ns: int,
        retried: set[RelPath],
    ) -> Outcome:
        failures = self._comparison.failures + dispatcher.failures
        failed = self._comparison.failed + dispatcher.failed
        if self._comparison.failures:
            self.catalogue.note_failures(self._comparison.failures)
        everything = self.wish.paths is None and (
            discovery.complete or self._comparison.fallback is not None
        )
        bad = {one.path for one in failures}
        over = [path for path in self.catalogue.failed_paths() if path not in bad]
        well = [path for path in over if path in retried or everything]
        if failed > len(failures):  # too many to list, so which of them are over is not known
            well = []
        self.catalogue.settle_failures(before_ns=started_ns if everything else None, paths=well)
        complete = everything and not self._comparison.failed
        unchanged = self._comparison.seen.unchanged + dispatcher.refreshed
        mark = self.catalogue.dataset.mark if self.wish.paths is not None else discovery.until
        changeset = self.catalogue.set_outcome(
            changeset,
            mark=mark,
            complete=complete,
            fallback=self._comparison.fallback,
            unchanged=unchanged,
            failed=failed,
        )
        identity = None
        if self.catalogue.pending_entries(changeset.changeset_no):
            identity = Commit(self.catalogue, self.store(), setting, self.was_set_back()).write(
                changeset, mark=mark, complete=complete, tags=self.wish.tags
            )
            changeset = self.catalogue.head() or changeset
        else:
            self.catalogue.drop(changeset)
            if self.wish.paths is None:
                self.catalogue.move_mark(mark, self.wish.using)
        return Outcome(
            changeset_id=identity,
            complete=complete,
            fallback=self._comparison.fallback,
            written=changeset.written,
            touched=changeset.touched,
            removed=changeset.removed,
            unchanged=unchanged,
            failed=failed,
            failures=failures,
            bytes_read=changeset.bytes_read,
            bytes_stored=changeset.bytes_stored,
            objects_stored=changeset.objects_stored,
            audit=self._comparison.audit,
            requests=dispatcher.requests,
        )

    # -- a rehearsal ----------------------------------------------------------------------------

    def _rehearse(self, discovery: Discovery) -> Outcome:
        """What a push would look at; nothing is read or stored."""
        written = removed = size = 0
        with _opened(discovery.root) as source:
            for found in self._differences(discovery, source):
                if found.stat is None:
                    removed += 1
                else:
                    written += 1
                    if found.live is None or found.live.type == FileType.FILE:
                        size += _size(found.stat)
        return Outcome(
            changeset_id=None,
            complete=discovery.complete and not self._comparison.failed,
            fallback=self._comparison.fallback,
            written=written,
            touched=0,
            removed=removed,
            unchanged=self._comparison.seen.unchanged,
            failed=self._comparison.failed,
            failures=self._comparison.failures,
            bytes_read=size,
            bytes_stored=0,
            objects_stored=0,
        )


def _opened(root: bytes) -> Directories:
    """Raises UsageError when the root cannot be read at all."""
    try:
        return Directories(root)
    except OSError as error:
        message = f"The root {show(root)} cannot be read: {describe(error)}."
        raise UsageError(message) from error


def _size(stat: os.stat_result) -> int:
    return stat.st_size if statlib.S_ISREG(stat.st_mode) else 0
