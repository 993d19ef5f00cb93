"""So many processes read one device at a time, whatever becomes of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from n2s_core.errors import UsageError
from n2s_core.turns import turns
from tests.conftest import Dataset, environment
from tests.workers.cluster import until

DEVICE = os.makedev(8, 1)
HOLD = """
import sys
from n2s_core.turns import turns
with turns([int(sys.argv[1])], int(sys.argv[2])):
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


class Holder:
    """A process that reads until it is told to stop."""

    def __init__(self, device: int, most: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(device), str(most)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def has_it(self) -> bool:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process.stdout.read() is not None

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_the_next_one_waits_until_a_turn_is_free(tmp_path: Path) -> None:
    first, second = Holder(DEVICE, 2), Holder(DEVICE, 2)
    until(first.has_it, "the first turn")
    until(second.has_it, "the second turn")
    third, elsewhere = Holder(DEVICE, 2), Holder(DEVICE + 1, 2)
    until(elsewhere.has_it, "a turn at another device")
    assert not third.has_it()
    first.end()
    until(third.has_it, "the turn of the dead one")
    for one in (second, third, elsewhere):
        one.end()


def test_one_that_stands_still_keeps_nobody_out() -> None:
    first = Holder(DEVICE, 1)
    until(first.has_it, "the first turn")
    second = Holder(DEVICE, 1)
    os.kill(first.process.pid, signal.SIGSTOP)
    until(second.has_it, "the second turn")
    first.end()
    second.end()


def test_without_a_limit_there_are_no_files(tmp_path: Path) -> None:
    with turns([DEVICE], 0):
        assert list(tmp_path.iterdir()) == []
    with turns([DEVICE, DEVICE], 1):  # twice the same is one
        assert len(list((tmp_path / f"n2s-turns-{os.geteuid()}").iterdir())) == 1


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"n2s-turns-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="belongs to somebody else"), turns([DEVICE], 1):
        pytest.fail("It was believed.")


def test_a_push_with_one_reader_stores_everything(dataset: Dataset) -> None:
    for number in range(100):
        (dataset.root / f"{number}").write_bytes(b"%d" % number)
    text = dataset.config.read_text()
    dataset.config.write_text(f"{text}\n[workers]\ncount = 2\nreaders_per_device = 1\n")
    assert dataset.push().failures == []
    dataset.assert_restores()
