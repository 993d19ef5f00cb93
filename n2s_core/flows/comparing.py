"""The comparison of a push: from an answer of a discoverer to the differences."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from n2s_core.catalogue_port import PushCatalogue
from n2s_core.errors import DiscoveryError
from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow
from n2s_core.flows.audit import Audit, audited_span
from n2s_core.flows.compare import Difference, Seen, is_same, judged, merge
from n2s_core.flows.lookup import Lookup
from n2s_core.flows.spread import SPANS_PER_PROCESS, SPREAD_FROM, Spread
from n2s_core.model import (
    LOST,
    UNSURE,
    Change,
    ChangeKind,
    Discovery,
    Failure,
    Progress,
    Report,
)
from n2s_core.reading import Directories
from n2s_core.relpath import EVERYTHING, ROOT, RelPath, Span, below, show
from n2s_core.walking import Walk, children, walk

MOST_FAILURES = 10_000


@dataclass(slots=True)
class Comparison:
    """Finds differences, and keeps count of what it saw.

    `fallback` is why the whole tree was walked although something less was asked for. What could
    not be looked at is in `failures`, the first of them; `failed` counts all.
    """

    catalogue: PushCatalogue
    excludes: Excludes
    report: Report
    spread: Callable[[bytes], Spread] | None
    full: bool
    dry_run: bool
    shares: bool
    seen: Seen = field(default_factory=Seen)
    fallback: str | None = None
    audit: Audit = field(default_factory=Audit)
    failures: list[Failure] = field(default_factory=list)
    failed: int = 0
    _noted: set[RelPath] = field(default_factory=set)
    _compared: int = 0

    def of_paths(
        self, paths: Iterable[RelPath], root: bytes, source: Directories
    ) -> Iterator[Difference]:
        """What changed at the paths and below them."""
        hints = (Change(path, ChangeKind.SUBTREE_WRITTEN) for path in paths)
        return self._lookup(root, source).differences(hints)

    def of(self, discovery: Discovery, source: Directories) -> Iterator[Difference]:
        """What changed according to a discoverer."""
        if discovery.complete:
            self.fallback = discovery.fallback
            return self._all(discovery.changes)
        return self._fed(discovery, source)

    def _all(self, changes: Iterator[Change]) -> Iterator[Difference]:
        """The whole tree against the whole catalogue."""
        if (
            isinstance(changes, Walk)
            and self.spread is not None
            and not self.full
            and self.catalogue.dataset.live_files >= SPREAD_FROM
        ):
            return self._side_by_side(changes, self.spread(changes.root))
        trusted = changes if isinstance(changes, Walk) else judged(changes)
        return merge(trusted, self._live(EVERYTHING), self.seen)

    def _fed(self, discovery: Discovery, source: Directories) -> Iterator[Difference]:
        """What a feed names, and a share of what it does not; all of the tree if it is wrong."""
        lookup = self._lookup(discovery.root, source)
        lookup.lists = discovery.doubts_links
        try:
            yield from self._hinted(discovery, lookup)
            if discovery.until is not None and not self.dry_run:
                self.fallback = self._look_for_misses(discovery, lookup)
        except DiscoveryError as error:
            self.fallback = str(error)
        if self.fallback is None:
            return
        self.seen.unchanged = 0
        whole = Walk(discovery.root, self.excludes, self.note_failure)
        for found in self._all(whole):
            if not lookup.covers(found.path):
                yield found

    def _hinted(self, discovery: Discovery, lookup: Lookup) -> Iterator[Difference]:
        """What the feed names, and what no feed is believed about."""
        yield from lookup.differences(discovery.changes)
        if discovery.doubts_links:
            for page in self.catalogue.with_several_names():
                yield from lookup.unnamed(page)
            if not self.dry_run:
                self.catalogue.doubt(lookup.surprises)
        for page in self.catalogue.doubted():
            yield from lookup.differences(Change(path) for path in page)

    def _look_for_misses(self, discovery: Discovery, lookup: Lookup) -> str | None:
        """Compare a share of the tree that is another one in each push; why to walk, or None."""
        start = self.catalogue.audit_position()
        high = self.catalogue.cut(start, audited_span(self.catalogue.dataset.live_files))
        span = Span(start, high)
        changes = walk(discovery.root, self.excludes, self.note_failure, span=span)
        seen = Seen(protected=self.seen.protected)
        missed = [
            found.path
            for found in merge(changes, self._live(span), seen)
            if not (found.live and found.live.ctime_ns in (UNSURE, LOST))
            and not lookup.covers(found.path)
            and not discovery.named_later(found.path)
        ]
        looked = seen.unchanged + len(missed)
        for directory in lookup.unlisted:
            if looked >= 2 * audited_span(self.catalogue.dataset.live_files):
                break
            found, unnamed = self._look_into(directory, discovery.root, lookup)
            looked += found
            missed += (
                one for one in unnamed if one not in missed and not discovery.named_later(one)
            )
        self.audit = Audit(looked, len(missed))
        self.catalogue.note_audit(high or ROOT, looked=looked, missed=missed)
        if not missed:
            return None
        return (
            f"The feed did not name {show(missed[0])}"
            + (f" and {len(missed) - 1} other paths" if len(missed) > 1 else "")
            + " that had changed."
        )

    def _look_into(
        self, directory: RelPath, root: bytes, lookup: Lookup
    ) -> tuple[int, list[RelPath]]:
        """Compare the entries of a directory; how many there are, and those nobody named."""
        stored = {row[0]: row for row in self.catalogue.live_children(directory)}
        there = dict(children(root, directory, self.excludes, self.note_failure))
        paths = [one for one in sorted({*stored, *there}) if not lookup.covers(one)]
        if directory in self.seen.protected:
            return 0, []
        return len(paths), [
            path
            for path in paths
            if path not in self.seen.protected
            and (path not in stored or stored[path][5] not in {UNSURE, LOST})
            and not (path in stored and path in there and is_same(there[path], stored[path]))
        ]

    def _side_by_side(self, whole: Walk, spread: Spread) -> Iterator[Difference]:
        """The same differences in the same order, found by several processes."""
        rows = self.catalogue.dataset.live_files // (spread.width * SPANS_PER_PROCESS) + 1
        results = spread.results(
            ROOT, lambda path: self.catalogue.cut(path, rows), self.catalogue.renew_lease
        )
        for span, result in results:
            for failure in result.failures:
                self.note_failure(failure.path, failure.error)
            self.seen.unchanged += result.unchanged
            self._count(result.unchanged + len(result.differences))
            yield from result.differences
            if result.rest is not None:
                rest = Span(result.rest, span.high)
                changes = walk(whole.root, whole.excludes, whole.report, span=rest)
                yield from merge(changes, self._live(rest), self.seen)

    def _lookup(self, root: bytes, source: Directories) -> Lookup:
        return Lookup(
            root=root,
            source=source,
            catalogue=self.catalogue,
            live_below=lambda path: self._live(below(path)),
            excludes=self.excludes,
            report=self.note_failure,
            seen=self.seen,
            shares=self.shares,
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
        self.seen.protected.add(path)
        if path in self._noted:
            return
        self._noted.add(path)
        self.failed += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(Failure(path, error))
