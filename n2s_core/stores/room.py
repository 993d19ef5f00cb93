"""How much a remote can still take, as far as it was asked."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

KEPT_S = 300.0
KEPT_WHEN_FULL_S = 30.0


@dataclass(slots=True)
class Room:
    """The answer of a few minutes ago, less what was stored since. Safe for threads.

    A remote that cannot tell counts as one with room: it refuses by itself when it has none.
    """

    clock: Callable[[], float] = time.monotonic
    _free_bytes: int | None = None
    _asked_s: float | None = None
    _lock: "Lock | None" = None

    def __post_init__(self) -> None:
        """The lock."""
        self._lock = Lock()

    def is_old(self, size: int) -> bool:
        """Whether it is to be asked now; somebody may make room for so many bytes sooner."""
        asked_s = self._asked_s
        kept_s = KEPT_S if self.is_enough(size) else KEPT_WHEN_FULL_S
        return asked_s is None or self.clock() - asked_s >= kept_s

    def is_enough(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        free_bytes = self._free_bytes
        return free_bytes is None or free_bytes > size

    def note(self, free_bytes: int | None) -> None:
        """What the remote answered; None when it cannot tell."""
        assert self._lock is not None
        with self._lock:
            self._free_bytes, self._asked_s = free_bytes, self.clock()

    def take(self, size: int) -> None:
        """So much was stored."""
        assert self._lock is not None
        with self._lock:
            if self._free_bytes is not None:
                self._free_bytes -= size

    def forget(self) -> None:
        """A put failed: it is asked again."""
        assert self._lock is not None
        with self._lock:
            self._free_bytes = self._asked_s = None
