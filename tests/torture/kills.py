"""Kills: at every step of a push, and at any moment of one with worker processes."""

import os
import signal
import time

from tests.conftest import Dataset
from tests.crashing import POINTS
from tests.stored import confirmed, records, start
from tests.torture.trying import BROKEN, Ground, in_child, lost_of

AT_A_STEP = "a push killed at a step, then pushed again"
ANY_MOMENT = "a push and its workers killed at any moment"
TRIALS = 40


class Kills:
    """At the crash points of docs/design.md, sometimes again and again before one goes through."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._dataset: Dataset | None = None
        self._trials = 0

    def step(self) -> None:
        """One dataset is used for several trials, so that there is a history."""
        ground, dice = self._ground, self._ground.dice
        if self._dataset is None or self._trials % TRIALS == 0:
            self._dataset = ground.dataset()
            ground.edit(self._dataset, 60)
        self._trials += 1
        dataset, count = self._dataset, ground.tally.row(AT_A_STEP)
        count.twice = count.twice or 0
        case = ""
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            ground.edit(dataset)
            point = f"{dice.choice(POINTS)}:{dice.choice([1, 1, 1, 2, 3])}"
            code = in_child(dataset.push, point)
            if code == BROKEN:
                ground.tally.lose(AT_A_STEP, [f"the push broke after {point}"], case)
            if code == -signal.SIGKILL:
                case += f" {point}"
                count.tried += 1
        kept, before = confirmed(dataset), records(dataset)
        failures = [f"{one.path!r}: {one.error}" for one in dataset.push().failures]
        after = records(dataset)
        ground.tally.repeat(
            AT_A_STEP, [repr(one) for one in kept if after[one] > before[one]], case
        )
        if ground.chance(0.1):
            dataset.rebuild_from_store()
            case += " rebuilt"
        ground.tally.lose(AT_A_STEP, failures + lost_of(dataset), case)


class AnyMoment:
    """Kills of a push with worker processes after a random time."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._dataset = ground.dataset()
        ground.edit(self._dataset, 60)
        for number in range(1500):
            folder = self._dataset.root / f"many-{number % 30}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}").write_bytes(b"%d" % number * 40)

    def step(self) -> None:
        ground, dataset = self._ground, self._dataset
        count = ground.tally.row(ANY_MOMENT)
        count.twice = count.twice or 0
        ground.edit(dataset)
        for number in range(300):
            path = dataset.root / f"some-{ground.dice.randrange(3000)}"
            if not path.is_dir():  # an edit may have made one of that name
                path.write_bytes(b"%d %d" % (number, ground.dice.randrange(10**9)))
        process = start(dataset, "pool")
        time.sleep(ground.dice.uniform(0.1, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        count.tried += process.returncode == -signal.SIGKILL
        kept, before = confirmed(dataset), records(dataset)
        dataset.push()
        after = records(dataset)
        ground.tally.repeat(ANY_MOMENT, [repr(one) for one in kept if after[one] > before[one]], "")
        ground.tally.lose(ANY_MOMENT, lost_of(dataset), "")
