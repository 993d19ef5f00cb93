"""Programs that run beside the tests: started on free ports, killed, started again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PATIENCE_S = 30.0
GRPC_OFFSET = 10_000
_HIGHEST = 55_000


def await_that(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is so; a failure of the test when it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"This did not happen: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def free_pairs(count: int) -> list[int]:
    """Ports where nobody listens, nor GRPC_OFFSET above them; all of these are different ones."""
    found: list[int] = []
    taken: set[int] = set()
    while len(found) < count:
        port = free_port()
        if port > _HIGHEST:
            port -= 2 * GRPC_OFFSET
        pair = {port, port + GRPC_OFFSET}
        if not taken & pair and not any(map(listens, pair)):
            found.append(port)
            taken |= pair
    return found


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One program, which the kernel ends together with the tests. A context manager."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        self._folder = folder
        self._is_ready = is_ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

        def is_up() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.fail(f"{self._command[4]} ended: {log.read_text(errors='replace')[-2000:]}")
            return self._is_ready()

        await_that(is_up, f"{self._command[4]} answers")

    def kill(self) -> None:
        """End it as a power failure would, with everything that it started."""
        if self._process is not None:
            for pid in (self._process.pid, *_below(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Killed, and started again at the end."""
        self.kill()
        try:
            yield
        finally:
            self.start()


def _below(pid: int) -> list[int]:
    """All processes that it started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            parents.setdefault(int(parent), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]
