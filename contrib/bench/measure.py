"""Running one command and measuring it: wall time, processor time and memory of its processes."""

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE_S = 0.1
ERROR_TAIL = 2000
PR_SET_CHILD_SUBREAPER = 36
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


class Cost(NamedTuple):
    """`peak` is the resident memory of the largest process, `total` of all at one moment."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    total_mib: float


class CommandFailed(Exception):
    """A measured command ended with another status than 0."""


def adopt_orphans() -> None:
    """Let processes whose parent ends become ours, so that their time can be counted too."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def settle(seconds: float) -> None:
    """Let the disk finish what earlier commands left to it."""
    os.sync()
    time.sleep(seconds)


def measured(
    command: Sequence[str], *, cwd: str, environment: Mapping[str, str], log: Path
) -> Cost:
    """Run it to its end; its output goes to `log`. Raises CommandFailed.

    The kernel adds the times of waited-for children to those of their parent; processes that
    nobody waited for are reaped and added here. Call `adopt_orphans` once before.
    """
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        sampler = _Sampler(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    total = sampler.stop()
    cpu_s, peak_kib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
    with contextlib.suppress(ChildProcessError):
        while True:
            _, _, usage = os.wait4(-1, 0)
            cpu_s += usage.ru_utime + usage.ru_stime
            peak_kib = max(peak_kib, usage.ru_maxrss)
    if process.returncode:
        tail = log.read_bytes()[-ERROR_TAIL:].decode(errors="replace")
        message = f"{' '.join(command)} ended with {process.returncode}:\n{tail}"
        raise CommandFailed(message)
    return Cost(wall_s, cpu_s, peak_kib / 1024, total / MIB)


class _Sampler:
    """Looks at the memory of a process and all below it, ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._most = max(self._most, sum(_resident(pid) for pid in _family(self._pid)))

    def stop(self) -> int:
        """The largest sum that was seen, in bytes."""
        self._over.set()
        self._thread.join()
        return self._most


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def _family(pid: int) -> Iterator[int]:
    yield pid
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = tasks.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))
