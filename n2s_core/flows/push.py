"""A push: from what changed to a stored changeset.

Discover, compare, seal, record, commit. Whatever happens on the way, the next push takes up what
this one had confirmed.
"""

import os
import stat as statlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from n2s_core.catalogue_port import PushCatalogue
from n2s_core.clock import now_ns
from n2s_core.errors import DiscoveryError, UsageError
from n2s_core.excludes import Excludes
from n2s_core.facts import Changeset, LiveRow
from n2s_core.faults import crash_point
from n2s_core.flows.audit import Audit, audited_span
from n2s_core.flows.commit import Commit, complete_sealed
from n2s_core.flows.compare import Difference, Seen, merge
from n2s_core.flows.dispatch import Dispatcher, Mounts, Workers
from n2s_core.flows.held import HeldRemovals
from n2s_core.flows.lookup import Lookup
from n2s_core.flows.spread import SPANS_PER_PROCESS, SPREAD_FROM, Spread
from n2s_core.jobs import SealSetting
from n2s_core.model import Change, ChangeKind, Discovery, Failure, FileType, Mark, Progress, Report
from n2s_core.ports import Store
from n2s_core.reading import Directories, describe
from n2s_core.relpath import EVERYTHING, ROOT, RelPath, Span, below, show
from n2s_core.walking import Walk, walk

MOST_FAILURES = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for.

    `paths` None: ask the discoverer. `full`: believe neither it nor stat, read every file.
    `allow_mass_removal`: go on when most of the dataset is gone.
    """

    changeset_name: str = ""
    using: str = "find"
    paths: Iterable[RelPath] | None = None
    full: bool = False
    dry_run: bool = False
    allow_mass_removal: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a push did; `changeset_id` is None when nothing had changed (or of a dry run)."""

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
    _failures: list[Failure] = field(default_factory=list)
    _failed: int = 0
    _noted: set[RelPath] = field(default_factory=set)
    _seen: Seen = field(default_factory=Seen)
    _compared: int = 0
    _fallback: str | None = None
    _audit: Audit = field(default_factory=Audit)

    def run(self) -> Outcome:
        """Do it. Raises N2sError; nothing that was confirmed before is lost by that."""
        if not self.wish.dry_run:
            self._finish_sealed()
        started_ns = now_ns()
        self._seen.distrust = self.wish.full
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
        changeset = self.catalogue.begin(name=self.wish.changeset_name, using=self.wish.using)
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
                        held.added += found.live is None
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
        hints = (Change(path, ChangeKind.SUBTREE_WRITTEN) for path in retry)
        for found in self._lookup(discovery.root, source, self._seen).differences(hints):
            taken.add(found.path)
            dispatcher.take(found)
        self._seen.unchanged = 0
        return taken

    def _differences(self, discovery: Discovery, source: Directories) -> Iterator[Difference]:
        if self.wish.paths is not None:
            lookup = self._lookup(discovery.root, source, self._seen)
            hints = (Change(path, ChangeKind.SUBTREE_WRITTEN) for path in self.wish.paths)
            return lookup.differences(hints)
        if discovery.complete:
            self._fallback = discovery.fallback
            return self._all(discovery.changes)
        return self._fed(discovery, source)

    def _all(self, changes: Iterator[Change]) -> Iterator[Difference]:
        """The whole tree against the whole catalogue."""
        if (
            isinstance(changes, Walk)
            and self.spread is not None
            and not self.wish.full
            and self.catalogue.dataset.live_files >= SPREAD_FROM
        ):
            return self._side_by_side(changes, self.spread(changes.root))
        return merge(changes, self._live(EVERYTHING), self._seen)

    def _fed(self, discovery: Discovery, source: Directories) -> Iterator[Difference]:
        """What a feed names, and a share of what it does not; all of the tree if it is wrong."""
        lookup = self._lookup(discovery.root, source, self._seen)
        lookup.lists = discovery.doubts_links
        try:
            yield from lookup.differences(discovery.changes)
            if discovery.doubts_links:
                for page in self.catalogue.with_several_names():
                    yield from lookup.differences(Change(path) for path in page)
            yield from lookup.differences(Change(path) for path in self.catalogue.doubted())
            if not self.wish.dry_run:
                missed = self._look_for_misses(discovery, lookup)
                if missed:
                    self._fallback = missed
        except DiscoveryError as error:
            self._fallback = str(error)
        if self._fallback is None:
            return
        self._seen.unchanged = 0
        whole = Walk(discovery.root, self.excludes, self.note_failure)
        for found in self._all(whole):
            if not lookup.covers(found.path):
                yield found

    def _look_for_misses(self, discovery: Discovery, lookup: Lookup) -> str | None:
        """Compare a share of the tree that is another one in each push; why to walk, or None."""
        start = self.catalogue.audit_position()
        high = self.catalogue.cut(start, audited_span(self.catalogue.dataset.live_files))
        span = Span(start, high)
        changes = walk(discovery.root, self.excludes, self.note_failure, span=span)
        seen = Seen(protected=self._seen.protected)
        missed = [
            found.path
            for found in merge(changes, self._live(span), seen)
            if not lookup.covers(found.path)
        ]
        looked = seen.unchanged + len(missed)
        self._audit = Audit(looked, len(missed))
        self.catalogue.note_audit(high or ROOT, looked=looked, missed=missed)
        if not missed:
            return None
        return (
            f"The feed did not name {show(missed[0])}"
            + (f" and {len(missed) - 1} other paths" if len(missed) > 1 else "")
            + " that had changed."
        )

    def _side_by_side(self, whole: Walk, spread: Spread) -> Iterator[Difference]:
        """The same differences in the same order, found by several processes."""
        rows = self.catalogue.dataset.live_files // (spread.width * SPANS_PER_PROCESS) + 1
        results = spread.results(
            ROOT, lambda path: self.catalogue.cut(path, rows), self.catalogue.renew_lease
        )
        for span, result in results:
            for failure in result.failures:
                self.note_failure(failure.path, failure.error)
            self._seen.unchanged += result.unchanged
            self._count(result.unchanged + len(result.differences))
            yield from result.differences
            if result.rest is not None:
                rest = Span(result.rest, span.high)
                changes = walk(whole.root, whole.excludes, whole.report, span=rest)
                yield from merge(changes, self._live(rest), self._seen)

    def _lookup(self, root: bytes, source: Directories, seen: Seen) -> Lookup:
        return Lookup(
            root=root,
            source=source,
            catalogue=self.catalogue,
            live_below=lambda path: self._live(below(path)),
            excludes=self.excludes,
            report=self.note_failure,
            seen=seen,
        )

    def _live(self, span: Span) -> Iterator[LiveRow]:
        """Live rows; every page of them is a moment to report and to prolong the lease."""
        for page in self.catalogue.live(span):
            self._count(len(page))
            yield from page

    def _count(self, compared: int) -> None:
        self._compared += compared
        self.report(Progress("comparing", self._compared, 0))
        self.catalogue.renew_lease()

    def note_failure(self, path: RelPath, error: str) -> None:
        """A path that could not be looked at: what is stored of it stays as it is."""
        self._seen.protected.add(path)
        if path in self._noted:
            return
        self._noted.add(path)
        self._failed += 1
        if len(self._failures) < MOST_FAILURES:
            self._failures.append(Failure(path, error))

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
        failures = self._failures + dispatcher.failures
        failed = self._failed + dispatcher.failed
        if self._failures:
            self.catalogue.note_failures(self._failures)
        everything = self.wish.paths is None and (discovery.complete or self._fallback is not None)
        bad = {one.path for one in failures}
        over = [path for path in self.catalogue.failed_paths() if path not in bad]
        well = [path for path in over if path in retried or everything]
        if failed > len(failures):  # too many to list, so which of them are over is not known
            well = []
        self.catalogue.settle_failures(before_ns=started_ns if everything else None, paths=well)
        complete = everything and not self._failed
        unchanged = self._seen.unchanged + dispatcher.refreshed
        mark = self.catalogue.dataset.mark if self.wish.paths is not None else discovery.until
        changeset = self.catalogue.set_outcome(
            changeset,
            mark=mark,
            complete=complete,
            fallback=self._fallback,
            unchanged=unchanged,
            failed=failed,
        )
        identity = None
        if self.catalogue.pending_entries(changeset.changeset_no):
            identity = Commit(self.catalogue, self.store(), setting).write(
                changeset, mark=mark, complete=complete
            )
            changeset = self.catalogue.head() or changeset
        else:
            self.catalogue.drop(changeset)
            if self.wish.paths is None:
                self.catalogue.move_mark(mark, self.wish.using)
        return Outcome(
            changeset_id=identity,
            complete=complete,
            fallback=self._fallback,
            written=changeset.written,
            touched=changeset.touched,
            removed=changeset.removed,
            unchanged=unchanged,
            failed=failed,
            failures=failures,
            bytes_read=changeset.bytes_read,
            bytes_stored=changeset.bytes_stored,
            objects_stored=changeset.objects_stored,
            audit=self._audit,
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
            complete=discovery.complete and not self._failed,
            fallback=self._fallback,
            written=written,
            touched=0,
            removed=removed,
            unchanged=self._seen.unchanged,
            failed=self._failed,
            failures=self._failures,
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
