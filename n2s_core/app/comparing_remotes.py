"""Each remote of a store compared with the catalogue."""

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.layout import FANNED_OUT, FOLDERS, Shelf, object_name
from n2s_core.model import Debt, Progress, Report
from n2s_core.stores.fleet import SetStore


@dataclass(slots=True)
class RemotesComparison:
    """Lists every remote folder by folder and looks for each object that the catalogue knows.

    What a remote that is `lost` should have is missing, where another may get it; of others that do
    not answer nobody knows.
    """

    catalogue: Catalogue
    several: SetStore
    remotes: set[str]
    percent: float
    report: Report
    lost: Collection[str] = ()
    chance: Callable[[], float] = random.random
    objects: int = 0
    checked: int = 0
    missing: list[Debt] = field(default_factory=list)
    damaged: list[Debt] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)
    _whole: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> None:
        """Do it."""
        debts = self.catalogue.debts
        for folder, expected in objects_of(self.catalogue):
            if expected:
                wrong = self._folder(folder, expected)
                debts.note(wrong)
                self._settle(folder, expected)
            self.report(Progress("comparing", self.objects, 0))

    def _folder(self, folder: str, expected: dict[str, int]) -> list[Debt]:
        fleet = self.several.fleet
        asked = [one for one in fleet.remotes if one.name not in self.away]
        answers = fleet.get(
            asked, lambda remote: {one.name: one.size for one in remote.store.list(folder)}
        )
        self.away |= {name: str(error) for name, error in answers.errors.items()}
        wrong: list[Debt] = []
        for name, size in expected.items():
            self.objects += 1
            holders = {
                remote: sizes[name] for remote, sizes in answers.values.items() if name in sizes
            }
            lacking = self.several.lacking(name, size, holders)
            for remote, why in lacking.items():
                if remote in self.remotes and self._counts(remote, name):
                    found = Debt(remote, name, why)
                    (self.damaged if remote in holders else self.missing).append(found)
                    wrong.append(found)
            wrong += self._read(name, holders.keys() - lacking.keys())
        return wrong

    def _counts(self, remote: str, name: str) -> bool:
        """Whether what the remote lacks of an object is known, and can be put right."""
        if remote not in self.away:
            return True
        return remote in self.lost and self.several.is_movable(name)

    def _read(self, name: str, holders: set[str]) -> list[Debt]:
        wrong = []
        for remote in sorted(holders & self.remotes):
            if self.percent <= 0 or self.chance() * 100 >= self.percent:
                continue
            self.checked += 1
            problem = self.several.examine(remote, name)
            if problem:
                wrong.append(Debt(remote, name, problem))
            else:
                self._whole.add((remote, name))
        self.damaged += wrong
        return wrong

    def _settle(self, folder: str, expected: dict[str, int]) -> None:
        """What was read and is whole is owed no longer, nor what the catalogue does not know.

        A listing is not enough: what is owed may be there, and damaged.
        """
        debts = self.catalogue.debts
        for name, remotes in debts.owed(folder=folder):
            read = {one for one in remotes if (one, name) in self._whole}
            debts.settle(name, read if name in expected else remotes)
        self._whole.clear()


def objects_of(catalogue: Catalogue) -> Iterator[tuple[str, dict[str, int]]]:
    """Folders, and the objects that should be in them, by size."""
    keys = {object_name(Shelf.KEYS, one): len(data) for one, data in catalogue.key_objects()}
    yield Shelf.KEYS.value, keys
    for shelf in (Shelf.CHANGESETS, Shelf.META, Shelf.DATA):
        if shelf not in FANNED_OUT:
            yield shelf.value, catalogue.queries.sizes(shelf.value)
            continue
        for number, folder in enumerate(FOLDERS):
            sizes = catalogue.queries.sizes(shelf.value, first=number)
            yield f"{shelf.value}/{folder}", sizes
