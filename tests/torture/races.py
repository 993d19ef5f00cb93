"""Races: a tree that is edited, and whose directories are renamed, while it is walked and read."""

import shutil
import threading
import time

from tests.conftest import Dataset
from tests.edits import Editor
from tests.torture.trying import Ground, lost_of, pulled

RACE = "a tree edited while it is walked and read"
TRIALS = 15


class Races:
    """An editor at work beside one or two pushes; the first push after it has the tree exactly."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._dataset: Dataset | None = None
        self._trials = 0

    def step(self) -> None:
        ground = self._ground
        if self._dataset is None or self._trials % TRIALS == 0:
            if self._dataset is not None:
                shutil.rmtree(self._dataset.base)
            self._dataset = ground.dataset()
            ground.edit(self._dataset, 120)
        self._trials += 1
        dataset, over = self._dataset, threading.Event()
        editor = Editor(dataset.root, ground.dice.randrange(10**6))
        broken: list[BaseException] = []

        def edit() -> None:
            try:
                while not over.is_set():
                    editor.edit(1)
                    time.sleep(0.001)
            except BaseException as error:  # noqa: BLE001 - raised below
                broken.append(error)

        thread = threading.Thread(target=edit)
        thread.start()
        try:
            raced = [dataset.push() for _ in range(ground.dice.randint(1, 2))]
        finally:
            over.set()
            thread.join()
        if broken:
            raise broken[0]
        ground.tally.row(RACE).tried += len(raced)
        said = []
        if raced[-1].changeset_id is not None:
            with pulled(dataset) as (_, result):
                said = [f"{one.path!r}: {one.error}" for one in result.failures]
        dataset.push()
        ground.tally.lose(RACE, said + lost_of(dataset), "")
