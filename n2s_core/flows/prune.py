"""A prune: what only forgotten changesets need is marked, and after a time of grace removed.

Mark and sweep, each safe beside pushes. An object goes when it was marked a grace time ago, is
marked still, and a scan that began afterwards found nobody who needs it. A push that refers to an
older object unmarks it in the transaction that records the reference, so either the scan sees the
reference or the mark is gone.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from n2s_core.errors import StoreError
from n2s_core.faults import crash_point
from n2s_core.model import Progress, Report
from n2s_core.ports import Store
from n2s_core.uses import Doomed, Numbered, PruneCatalogue, Repacked, Sums, Use, Version

REMOVALS = 4


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or of a dry run would do.

    `swept` changesets cannot be brought back any more, `versions` of paths are gone from the
    catalogue; `removed` are objects that the store does not have any more, `waiting` those that no
    kept changeset needs and that are removed when their time of grace is over; what was repacked is
    among these. `early` has for each minimum of time (ns) that was asked about what the removed
    objects lacked to it: bytes times ns.
    """

    swept: int
    versions: int
    removed: Sums
    waiting: Sums
    repacked: Repacked
    early: Mapping[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class Sight:
    """Which versions the changesets of one catalogue see; numbers in ascending order.

    `kept` and `held` have the changesets of each dataset that are not forgotten, not swept. What a
    push wrote that is not finished is seen by it.
    """

    kept: dict[int, list[int]] = field(default_factory=dict)
    held: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, numbers: dict[int, list[Numbered]]) -> "Sight":
        """From the changesets of each dataset, oldest first."""
        return cls(
            {
                no: [one.changeset_no for one in some if not one.forgotten]
                for no, some in numbers.items()
            },
            {
                no: [one.changeset_no for one in some if not one.forgotten or not one.swept]
                for no, some in numbers.items()
            },
        )

    def use(self, one: Version) -> Use:
        """Who needs a version."""
        if _sees(self.kept.get(one.dataset_no, []), one):
            return Use.KEPT
        return Use.FORGOTTEN if _sees(self.held.get(one.dataset_no, []), one) else Use.NONE


def _sees(numbers: list[int], one: Version) -> bool:
    """Whether a changeset among the numbers has the version, or one that is not stored yet.

    The last number is that of the state of the dataset.
    """
    at = bisect_left(numbers, one.valid_from)
    return at == len(numbers) or numbers[at] < one.valid_to


class Repacker(Protocol):
    """Copies what is in use of objects that are not in use as a whole, and marks these."""

    def run(self, sight: Sight, now_ns: int) -> Repacked:
        """Do it, and end what an earlier one began."""

    def rehearse(self, sight: Sight) -> Repacked:
        """What a run would do now; nothing is changed."""


@dataclass(slots=True)
class Prune:
    """One prune of one catalogue. `sweep(before_ns)` declares swept what was marked until then.

    `minimums_ns`: what remotes charge for at least, in any case.
    """

    catalogue: PruneCatalogue
    store: Store
    sweep: Callable[[int], int]
    repack: Repacker
    report: Report
    grace_ns: int
    minimums_ns: frozenset[int] = frozenset()
    _early: dict[int, float] = field(default_factory=dict)
    _versions: int = 0
    _examined: int = 0
    _removed: int = 0
    _bytes: int = 0

    def run(self, now_ns: int) -> Pruned:
        """Do it. Raises StoreError; the next prune goes on where this one stopped."""
        while earlier := self.catalogue.doomed():
            self._remove(earlier)
        before_ns = now_ns - self.grace_ns
        self.catalogue.mark_changesets(now_ns)
        swept = self.sweep(before_ns)
        crash_point("prune-swept")
        waiting = self._pass(before_ns, now_ns)
        self.catalogue.mark(now_ns)
        crash_point("prune-marked")
        repacked = self.repack.run(Sight.of(self.catalogue.numbers()), now_ns)
        waiting = waiting.plus(repacked.old)
        if now_ns <= before_ns:  # what was marked a moment ago needs a scan that begins after it
            waiting = self._pass(before_ns, now_ns)
        if self._removed:
            self.catalogue.tidy()
        removed = Sums(self._removed, self._bytes)
        return Pruned(swept, self._versions, removed, waiting, repacked, self._early)

    def rehearse(self, now_ns: int) -> Pruned:
        """What a run would do now; nothing is changed."""
        before_ns = now_ns - self.grace_ns
        now = self.catalogue.numbers()
        then = self.catalogue.numbers(before_ns=before_ns, now_ns=now_ns)
        self._scan(Sight.of(then), remove=False)
        unused, due = self.catalogue.unused(), self.catalogue.due_objects(before_ns, now_ns)
        self._note_early(before_ns, now_ns, now_ns)
        waiting = Sums(unused.objects - due.objects, unused.bytes - due.bytes)
        swept = sum(one.swept for some in then.values() for one in some)
        swept -= sum(one.swept for some in now.values() for one in some)
        repacked = self.repack.rehearse(Sight.of(then))
        if now_ns <= before_ns:
            due = due.plus(repacked.old)
        else:
            waiting = waiting.plus(repacked.old)
        return Pruned(swept, self._versions, due, waiting, repacked, self._early)

    def _note_early(self, before_ns: int, marked_ns: int, now_ns: int) -> None:
        """Of what is about to be removed; what is not marked counts as marked at a time."""
        for minimum_ns in self.minimums_ns:
            lacking = self.catalogue.early(
                before_ns, marked_ns, now_ns=now_ns, minimum_ns=minimum_ns
            )
            self._early[minimum_ns] = self._early.get(minimum_ns, 0.0) + lacking

    def _pass(self, before_ns: int, now_ns: int) -> Sums:
        """Scan, and remove what may go; what no kept changeset needs and stays for now."""
        self._scan(Sight.of(self.catalogue.numbers()), remove=True)
        unused = self.catalogue.unused()
        self._note_early(before_ns, before_ns + 1, now_ns)
        objects, size = self._removed, self._bytes
        while doomed := self.catalogue.doom(before_ns):
            crash_point("prune-doomed")
            self._remove(doomed)
        removed = Sums(self._removed - objects, self._bytes - size)
        return Sums(unused.objects - removed.objects, unused.bytes - removed.bytes)

    def _scan(self, sight: Sight, *, remove: bool) -> None:
        self.catalogue.begin_scan(Use.KEPT)
        self.catalogue.use_of_pending()
        for page in self.catalogue.versions():
            by_use: dict[Use, list[Version]] = {use: [] for use in Use}
            for one in page:
                by_use[sight.use(one)].append(one)
            for use in (Use.KEPT, Use.FORGOTTEN):
                self.catalogue.use(by_use[use], use)
            self._versions += len(by_use[Use.NONE])
            if remove and by_use[Use.NONE]:
                self.catalogue.remove_versions(by_use[Use.NONE])
                crash_point("prune-forgot")
            self.catalogue.renew()
            self._examined += len(page)
            self.report(Progress("looking at versions", self._examined, 0))

    def _remove(self, doomed: list[Doomed]) -> None:
        """From the store; what could be removed is noted, whatever happens to the others."""
        gone: list[Doomed] = []
        errors: list[StoreError] = []

        def remove(one: Doomed) -> None:
            try:
                self.store.delete(one.name)
            except StoreError as error:
                errors.append(error)
            else:
                gone.append(one)
                crash_point("prune-removed")

        with ThreadPoolExecutor(REMOVALS) as threads:
            for _ in threads.map(remove, doomed):
                self.catalogue.renew()
                self.report(Progress("removing objects", self._removed + len(gone), self._bytes))
        self.catalogue.removed(gone)
        self._removed += len(gone)
        self._bytes += sum(one.size for one in gone)
        if errors:
            raise errors[0]
