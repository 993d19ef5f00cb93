"""What a worker works with: a way to the store, and processes that seal."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from n2s_core.app.opening import opened, spec_of
from n2s_core.app.pool import WorkerPool
from n2s_core.app.remote_terms import Work, pack_told
from n2s_core.app.sealing_call import SealingCall
from n2s_core.config import Config
from n2s_core.errors import Missing
from n2s_core.jobs import BatchResult
from n2s_core.layout import Shelf
from n2s_core.stores import start

TELL_S = 0.2


class Process:
    """One process that seals, and what it tells while it does."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pool = WorkerPool(1, self._told)

    def seal(self, call: SealingCall, work: Work, tell: Callable[[bytes], None]) -> BatchResult:
        """Raises N2sError; WorkerDied when the process is of no use any more."""
        future = self._pool.submit(call, work.batch)
        over = False
        while not over:
            over = bool(wait([future], TELL_S).done)
            while not self._told.empty():
                tell(pack_told(work.key, self._told.get()))
        result: BatchResult = future.result()
        return result

    def is_dead(self) -> bool:
        """Whether it has ended."""
        return not self._pool.pids()

    def stands(self) -> bool:
        """Whether somebody stopped it, with SIGSTOP or a debugger."""
        return any(_state(pid) in "tT" for pid in self._pool.pids())

    def close(self) -> None:
        """End it, also in the middle of a batch."""
        self._pool.kill()


class Gear:
    """The store and the processes; what they learn of the store lasts as long as they do.

    Safe for use from several threads. Whoever made it closes it.
    """

    def __init__(self, config: Config, processes: int) -> None:
        """Starts everything. Raises StoreError, UsageError."""
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.spec = stack.enter_context(start(spec_of(config)))
            self.store = opened(self.spec)
            stack.callback(self.store.close)
            self._stack = stack.pop_all()
        self._lock = threading.Lock()
        self._known: set[tuple[str, ...]] = set()
        self._free: queue.SimpleQueue[Process] = queue.SimpleQueue()
        self._all = [Process() for _ in range(processes)]
        for one in self._all:
            self._free.put(one)
        self.is_used = False

    def close(self) -> None:
        """End the processes, also those that seal, and let go of the store."""
        with self._lock:
            every, self._all = self._all, []
        for one in every:
            one.close()
        self._stack.close()

    def stands(self) -> bool:
        """Whether one of the processes was stopped, so that its batch would never end."""
        return any(one.stands() for one in self._all)

    def has_a_key(self, names: tuple[str, ...]) -> bool:
        """Whether the store has one of these key objects, or any when none are named; asked once.

        Raises StoreError.
        """
        if names not in self._known and (
            any(map(self._has, names))
            if names
            else any(True for _ in self.store.list(Shelf.KEYS.value))
        ):
            self._known.add(names)
        return names in self._known

    def _has(self, name: str) -> bool:
        try:
            self.store.stat(name)
        except Missing:
            return False
        return True

    @contextlib.contextmanager
    def process(self) -> Iterator[Process]:
        """One that is free; afterwards a new one takes its place if it is dead."""
        self.is_used = True
        found = self._free.get()
        try:
            yield found
        finally:
            self._free.put(self._replaced(found) if found.is_dead() else found)

    def _replaced(self, dead: Process) -> Process:
        with self._lock:
            if dead not in self._all:  # everything ends
                return dead
            fresh = self._all[self._all.index(dead)] = Process()
        dead.close()
        return fresh


def _state(pid: int) -> str:
    try:
        said = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "gone"
    return said.rpartition(b") ")[2][:1].decode("ascii")
