"""Whether a remote is given work: what became of the calls of before decides."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

FAILURES_UNTIL_DEGRADED = 3
SHORTEST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0


@dataclass(slots=True)
class Health:
    """Counts the failures that followed each other.

    After a few of them, or one that hung, the remote is degraded: it gets no work until a pause
    is over, which doubles with every further failure. One success makes it healthy again.
    `is_away`: the last call, if there was one, found nobody; who refuses is there. Safe for
    threads.
    """

    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    error: str = ""
    is_away: bool | None = None
    _pause_s: float = 0.0
    _until_s: float = 0.0
    _lock: "Lock | None" = None

    def __post_init__(self) -> None:
        """The lock."""
        self._lock = Lock()

    @property
    def degraded(self) -> bool:
        """Whether it failed so often that it is spared, be the pause over or not."""
        return self._pause_s > 0

    def may_work(self) -> bool:
        """Whether it is to be asked now."""
        return not self.degraded or self.clock() >= self._until_s

    def succeeded(self) -> None:
        """It answered."""
        assert self._lock is not None
        with self._lock:
            self.failures, self.error, self.is_away = 0, "", False
            self._pause_s = self._until_s = 0.0

    def failed(self, error: str, *, hung: bool = False) -> None:
        """It did not do what was asked; `hung`: nor did it say so in time."""
        assert self._lock is not None
        with self._lock:
            self.failures += 1
            self.error = error
            if hung or self.failures >= FAILURES_UNTIL_DEGRADED:
                self._pause_s = min(max(2 * self._pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                self._until_s = self.clock() + self._pause_s
