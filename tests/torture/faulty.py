"""Faults in the calls of a store, during a push, a pull and a verify."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from blake3 import blake3

from n2s_core.app import opening, sealing_call
from n2s_core.errors import N2sError
from n2s_core.layout import parse_name
from n2s_core.model import ObjectStat
from n2s_core.ports import Store
from n2s_core.stores import open_store
from tests.conftest import Dataset
from tests.fakes import Fault, FaultyStore, Planned
from tests.torture.trying import Ground, lost_of, pulled, wrong_of
from tests.trees import describe

SILENT = {Fault.TRUNCATE, Fault.WRONG_BYTES, Fault.SAY_OK_BUT_DROP}
WORDS = {
    Fault.UNAVAILABLE: "unavailable",
    Fault.REFUSED: "refused",
    Fault.TRUNCATE: "truncated",
    Fault.WRONG_BYTES: "wrong bytes",
    Fault.SAY_OK_BUT_DROP: "says ok, but dropped",
    Fault.SAY_ERROR_BUT_STORE: "says error, but stored",
    Fault.HANG: "hangs, then fails",
}
OF_READING = [Fault.UNAVAILABLE, Fault.REFUSED, Fault.TRUNCATE, Fault.WRONG_BYTES, Fault.HANG]
OF_LISTING = [Fault.UNAVAILABLE, Fault.REFUSED, Fault.HANG]
TRIALS = 40
HANG_S = 0.02


class Recorded(FaultyStore):
    """Remembers which objects met a fault."""

    def __init__(self, inner: Store, schedule: Sequence[Planned]) -> None:
        super().__init__(inner, schedule)
        self.hit: list[tuple[str, str, Fault]] = []

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        self._note("put", name)
        super().put(name, data, size)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._note("get", name)
        return super().get(name, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        self._note("list", prefix)
        yield from super().list(prefix)

    def _note(self, method: str, name: str) -> None:
        fault = self._faults.get((method, self.calls[method] + 1))
        if fault is not None:
            self.hit.append((method, name, fault))
        if fault is Fault.HANG:
            threading.Timer(HANG_S, self.released.set).start()


@contextmanager
def faults(schedule: Sequence[Planned]) -> Iterator[list[Recorded]]:
    """Every store that is opened meets the schedule."""
    opened: list[Recorded] = []

    def open_faulty(*words: Any) -> Store:
        opened.append(Recorded(open_store(*words), schedule))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_store", open_faulty)
        patch.setattr(opening, "BASE_S", 0.0001)
        patch.setattr(sealing_call, "_stores", {})
        yield opened


class Faults:
    """One or several faults in a row; several get through to the command."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._dataset: Dataset | None = None
        self._trials = 0

    def step(self) -> None:
        ground = self._ground
        if self._dataset is None or self._trials % TRIALS == 0:
            self._dataset = ground.dataset()
            ground.edit(self._dataset, 60)
            self._dataset.push()
        self._trials += 1
        way: Callable[[Dataset], None] = ground.dice.choice([self._push, self._pull, self._verify])
        way(self._dataset)

    def _plan(self, methods: list[str], faults: list[Fault], last: int) -> list[Planned]:
        dice = self._ground.dice
        method, fault, first = dice.choice(methods), dice.choice(faults), dice.randint(1, last)
        return [Planned(method, first + more, fault) for more in range(dice.choice([1, 1, 2, 4]))]

    def _push(self, dataset: Dataset) -> None:
        ground = self._ground
        schedule = (
            self._plan(["put"], list(Fault), 8)
            if ground.chance(0.85)
            else self._plan(["get"], OF_READING, 1)
        )
        name = f"push, {schedule[0].method}: {WORDS[schedule[0].fault]}"
        ground.edit(dataset, 30)
        said = ""
        with faults(schedule) as opened:
            try:
                dataset.push()
            except N2sError as error:
                said = str(error)
        hit = [one for store in opened for one in store.hit]
        if not hit:
            return
        ground.tally.row(name).tried += 1
        case = f"{schedule} {said}"
        silent = {object_name for _, object_name, fault in hit if fault in SILENT}
        if schedule[0].method == "put" and silent:
            ground.tally.miss(name, unnamed(dataset, silent), case)
        self._heal(dataset, name, case)

    def _pull(self, dataset: Dataset) -> None:
        ground = self._ground
        schedule = self._plan(["get"], OF_READING, 6)
        name = f"pull, get: {WORDS[schedule[0].fault]}"
        ground.edit(dataset)
        dataset.push()
        wanted = describe(dataset.root)
        wrong: list[str] = []
        with faults(schedule) as opened:
            try:
                with pulled(dataset) as (target, result):
                    wrong = wrong_of(wanted, target, result)
            except N2sError:
                wrong = []
        if not any(store.hit for store in opened):
            return
        ground.tally.row(name).tried += 1
        ground.tally.miss(name, wrong, str(schedule))
        ground.tally.lose(name, lost_of(dataset), str(schedule))

    def _verify(self, dataset: Dataset) -> None:
        ground = self._ground
        schedule = (
            self._plan(["get"], OF_READING, 6)
            if ground.chance(0.7)
            else self._plan(["list"], OF_LISTING, 6)
        )
        name = f"verify, {schedule[0].method}: {WORDS[schedule[0].fault]}"
        said = ""
        with faults(schedule) as opened:
            try:
                dataset.verify()
            except N2sError as error:
                said = str(error)
        if not any(store.hit for store in opened):
            return
        ground.tally.row(name).tried += 1
        self._heal(dataset, name, f"{schedule} {said}")

    def _heal(self, dataset: Dataset, name: str, case: str) -> None:
        """The next push makes everything whole again."""
        dataset.push()
        lost = lost_of(dataset)
        if self._ground.chance(0.2):
            dataset.forget_catalogue()
            dataset.rebuild()
            lost += lost_of(dataset)
        self._ground.tally.lose(name, lost, case)


def unnamed(dataset: Dataset, names: set[str]) -> list[str]:
    """Which of these are not as they should be, although a verify does not say so."""
    with dataset.space() as space:
        rows = space.catalogue.db.all("SELECT digest FROM objects")
        keys = {digest for digest, _ in space.catalogue.key_objects()}
    known = {bytes(row[0]) for row in rows} | keys
    found = dataset.verify()
    bad = []
    for name in names:
        parsed, path = parse_name(name), dataset.store / name
        assert parsed is not None
        if parsed[1] in known and not (
            path.exists() and blake3(path.read_bytes()).digest() == parsed[1]
        ):
            bad.append(name)
    return [name for name in bad if name not in found.missing and name not in found.damaged]
