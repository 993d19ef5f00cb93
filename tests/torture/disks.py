"""Disks that fill up, under the store, the catalogue and what is restored; then there is room."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import Dataset
from tests.torture.trying import BROKEN, SAID, Ground, in_child, lost_of
from tests.trees import describe, differences

SIZE = 48 << 20
TRIALS = 15


class Disks:
    """A tmpfs with little room left. A context manager; needs to be root."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._disk = ground.base / "disk"
        self._disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "n2s-torture", str(self._disk)]
        subprocess.run(command, check=True, capture_output=True)
        self._datasets: dict[str, Dataset] = {}
        self._trials = 0

    def close(self) -> None:
        subprocess.run(["umount", str(self._disk)], check=True)

    def step(self) -> None:
        ground = self._ground
        if self._trials % TRIALS == 0:
            self._begin()
        self._trials += 1
        what = ground.dice.choice(["store", "catalogue", "target"])
        dataset, name = self._datasets[what], f"a full disk: {what}"
        ground.edit(dataset, 20)
        room = ground.dice.choice([0, 0, ground.dice.randrange(4096, 400_000)])
        if what == "target":
            self._pull(dataset, name, room)
        else:
            self._push(dataset, name, room)

    def _begin(self) -> None:
        for old in self._datasets.values():
            shutil.rmtree(old.base)
        for path in self._disk.iterdir():
            shutil.rmtree(path)
        self._datasets = {
            "store": self._ground.dataset(store=self._disk / "store"),
            "catalogue": self._ground.dataset(config=self._disk / f"catalogue-{self._trials}"),
            "target": self._ground.dataset(),
        }
        for dataset in self._datasets.values():
            self._ground.edit(dataset, 40)
            dataset.push()

    def _push(self, dataset: Dataset, name: str, room: int) -> None:
        filler = self._fill(room)
        code = in_child(dataset.push)
        filler.unlink()
        self._judge(name, code, room)
        dataset.push()
        self._ground.tally.lose(name, lost_of(dataset), f"{room} bytes left")

    def _pull(self, dataset: Dataset, name: str, room: int) -> None:
        dataset.push()
        target = self._disk / "target"
        target.mkdir()
        filler = self._fill(room)
        code = in_child(lambda: dataset.try_pull(target=target))
        filler.unlink()
        self._judge(name, code, room)
        dataset.try_pull(target=target, force=True)
        wrong = differences(describe(dataset.root), describe(target))
        shutil.rmtree(target)
        self._ground.tally.lose(name, wrong, f"{room} bytes left")

    def _judge(self, name: str, code: int, room: int) -> None:
        """Whatever happens, it ends with a sentence."""
        count = self._ground.tally.row(name)
        count.tried += 1
        if code not in (0, SAID):
            assert code == BROKEN or code < 0
            self._ground.tally.lose(name, [f"ended with {code}"], f"{room} bytes left")

    def _fill(self, room: int) -> Path:
        path = self._disk / "filler"
        status = os.statvfs(self._disk)
        size = status.f_bavail * status.f_frsize - room
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        return path
