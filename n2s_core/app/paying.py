"""What remotes owe is written to them from the others."""

from collections.abc import Callable
from dataclasses import dataclass, field

from n2s_core.catalogue.debts import Debts
from n2s_core.errors import DamageError, StoreError
from n2s_core.model import Progress, Report
from n2s_core.stores.fleet import SetStore

MOST_OBJECTS_AFTER_A_PUSH = 1000
MOST_BYTES_AFTER_A_PUSH = 1 << 30


@dataclass(slots=True)
class Paid:
    """What was written; `away` are remotes that took nothing, `problems` objects, both with why."""

    objects: int = 0
    bytes: int = 0
    left: int = 0
    away: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Paying:
    """Pays debts until `enough` says so. Errors of the remotes are in the answer.

    A remote that takes nothing is not asked again for an object that only it can take; one that may
    lie elsewhere is tried as long as other remotes take such objects in its place.
    """

    several: SetStore
    debts: Debts
    report: Report
    enough: Callable[[Paid], bool] = lambda _: False
    _paid: Paid = field(default_factory=Paid)
    _not_replaced: set[str] = field(default_factory=set)

    def run(self, remote: str | None = None) -> Paid:
        """Those of all remotes, or of one."""
        known = {one.name for one in self.several.fleet.remotes}
        for name, remotes in self.debts.owed(remote):
            is_movable = self.several.is_movable(name)
            useless = self._not_replaced if is_movable else self._paid.away.keys()
            wanted = (remotes & known) - useless
            if remote is not None:
                wanted &= {remote}
            if wanted:
                self._mend(name, wanted)
            if self.enough(self._paid) or known <= self._not_replaced:
                break
        self._paid.left = self.debts.count()
        return self._paid

    def _mend(self, name: str, wanted: frozenset[str]) -> None:
        try:
            done = self.several.mend(name, wanted)
        except (StoreError, DamageError) as error:
            self._paid.problems[name] = str(error)
            return
        self.debts.settle(name, done.settled, done.debts)
        self._paid.away.update((one.remote, one.error) for one in done.debts)
        if self.several.is_movable(name):
            self._not_replaced.update(one.remote for one in done.debts)
        self._paid.objects += bool(done.size)
        self._paid.bytes += done.size
        self.report(Progress("copying", self._paid.objects, self._paid.bytes))


def is_enough_after_a_push(paid: Paid) -> bool:
    """A push is not to last much longer because of debts."""
    return paid.objects >= MOST_OBJECTS_AFTER_A_PUSH or paid.bytes >= MOST_BYTES_AFTER_A_PUSH
