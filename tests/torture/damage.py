"""Objects that are damaged: each is named, and what is not affected comes back exactly."""

import shutil
from pathlib import Path

from tests.conftest import SHELVES, Dataset
from tests.torture.trying import Ground, lost_of, pulled, wrong_of
from tests.trees import describe

WAYS = ("flip", "truncate", "extend", "delete", "swap")
HEALED = "damaged, then verified and pushed"
TRIALS = 60


class Damage:
    """One object at a time, at its edges and anywhere in it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._dataset: Dataset | None = None
        self._trials = 0

    def step(self) -> None:
        ground, dice = self._ground, self._ground.dice
        if self._dataset is None or self._trials % TRIALS == 0:
            self._dataset = self._begin()
        self._trials += 1
        dataset = self._dataset
        shelf = dice.choice(SHELVES)
        objects = sorted(dataset.objects(shelf).items())
        if not objects:
            return
        way = dice.choice(WAYS)
        (name, path), (other_name, other) = dice.choice(objects), dice.choice(objects)
        data, others = path.read_bytes(), other.read_bytes()
        if way == "swap" and data == others:
            return
        catalogue = dataset.catalogue.read_bytes()
        self._harm(path, data, way)
        harmed = {name}
        if way == "swap":
            path.write_bytes(others)
            other.write_bytes(data)
            harmed.add(other_name)
        self._judge(dataset, f"an object damaged: {way} in {shelf}", harmed)
        if ground.chance(0.2):
            self._heal(dataset, f"{way} in {name}")
            self._trials = 0  # what is damaged stays so for older changesets
            return
        path.write_bytes(data)
        other.write_bytes(others)
        dataset.forget_catalogue()
        dataset.catalogue.write_bytes(catalogue)

    def _begin(self) -> Dataset:
        if self._dataset is not None:
            shutil.rmtree(self._dataset.base)
        dataset = self._ground.dataset()
        for most in (60, 20, 10):
            self._ground.edit(dataset, most)
            dataset.push()
        dataset.push()  # so that nothing is in doubt any more
        return dataset

    def _harm(self, path: Path, data: bytes, way: str) -> None:
        dice = self._ground.dice
        last = len(data) - 1
        places = (0, 6, 12, 40, 60, last // 2, last - 16, last, dice.randrange(len(data)))
        at = min(max(dice.choice(places), 0), last)
        if way == "flip":
            path.write_bytes(
                data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
            )
        elif way == "truncate":
            path.write_bytes(data[:at])
        elif way == "extend":
            path.write_bytes(data + dice.randbytes(dice.choice([1, 48, 5000])))
        elif way == "delete":
            path.unlink()

    def _judge(self, dataset: Dataset, name: str, harmed: set[str]) -> None:
        tally = self._ground.tally
        tally.row(name).tried += 1
        found = dataset.verify()
        named = found.missing.keys() | found.damaged.keys()
        case = ", ".join(sorted(harmed))
        tally.miss(name, (f"{one} is not named" for one in harmed - named), case)
        affected = set(found.affected_paths)
        with pulled(dataset) as (target, result):
            tally.miss(name, wrong_of(describe(dataset.root), target, result), case)
            failed = (one for one in result.failures if one.path not in affected)
            tally.lose(name, (f"{one.path!r}: {one.error}" for one in failed), case)

    def _heal(self, dataset: Dataset, case: str) -> None:
        tally = self._ground.tally
        tally.row(HEALED).tried += 1
        dataset.push()
        tally.lose(HEALED, lost_of(dataset), case)
        dataset.forget_catalogue()
        dataset.rebuild()
        tally.lose(HEALED, lost_of(dataset), f"{case}, rebuilt")
