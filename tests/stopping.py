"""Programs of a test that stand still where they are told to, and go on when they are told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import catalogues, crashing
from tests.conftest import Dataset, environment

PROGRAM = Path(crashing.__file__)


class Standing:
    """A push (`here`) or rebuild that is stopped; a context manager that leaves nothing behind."""

    def __init__(
        self, dataset: Dataset, point: str, what: str = "here", *, prefix: tuple[str, ...] = ()
    ) -> None:
        """Returns when it stands still at the point."""
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(PROGRAM), str(dataset.config), what],
            env=environment(N2S_CRASH_AT=point, N2S_CRASH_WITH="SIGSTOP"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        found = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        if found.si_code != os.CLD_STOPPED:
            message = f"{point} was not reached: {self._process.communicate()[1]}"
            raise AssertionError(message)

    def __enter__(self) -> "Standing":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()

    def kill(self) -> None:
        """It ends, and nobody has asked for its exit code yet."""
        self._process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def wake(self) -> tuple[int, str]:
        """It goes on to its end: exit code, and what it said."""
        self._process.send_signal(signal.SIGCONT)
        said = self._process.communicate()[1]
        return self._process.returncode, said


@contextmanager
def database(dataset: Dataset) -> Iterator[catalogues.Raw]:
    with catalogues.opened(dataset.address) as db:
        yield db


def let_the_lease_expire(dataset: Dataset) -> None:
    """As if its owner had stood still for long."""
    with database(dataset) as db:
        db.execute("UPDATE leases SET expires_ns = 1, expires_boot_ns = 1")


def rows(dataset: Dataset) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the catalogue."""
    with database(dataset) as db:
        return {
            name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608
            for name in catalogues.tables(db, dataset.address)
        }
