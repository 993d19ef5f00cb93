"""Each remote of a store compared with the catalogue."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.layout import FANNED_OUT, FOLDERS, Shelf, object_name
from n2s_core.model import Debt, Progress, Report
from n2s_core.stores.fleet import SetStore


@dataclass(slots=True)
class RemotesComparison:
    """Lists every remote folder by folder and looks for each object that the catalogue knows."""

    catalogue: Catalogue
    several: SetStore
    remotes: set[str]
    percent: float
    report: Report
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
        for folder, expected in self._expected():
            if expected:
                wrong = self._folder(folder, expected)
                debts.note(wrong)
                self._settle(folder, expected)
            self.report(Progress("comparing", self.objects, 0))

    def _expected(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Folders, and the objects that should be in them, by size."""
        catalogue = self.catalogue
        keys = {object_name(Shelf.KEYS, one): len(data) for one, data in catalogue.key_objects()}
        yield Shelf.KEYS.value, keys
        for shelf in (Shelf.CHANGESETS, Shelf.META, Shelf.DATA):
            if shelf not in FANNED_OUT:
                yield shelf.value, catalogue.queries.sizes(shelf.value)
                continue
            for number, folder in enumerate(FOLDERS):
                sizes = catalogue.queries.sizes(shelf.value, first=number)
                yield f"{shelf.value}/{folder}", sizes

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
                if remote in self.remotes and remote not in self.away:
                    found = Debt(remote, name, why)
                    (self.damaged if remote in holders else self.missing).append(found)
                    wrong.append(found)
            wrong += self._read(name, holders.keys() - lacking.keys())
        return wrong

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
