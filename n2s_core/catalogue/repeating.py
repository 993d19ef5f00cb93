"""Doing something now and then in a thread of its own, while the work goes on or waits."""

import threading
from collections.abc import Callable


class Repeating:
    """Does `act` every `every_s` seconds, until it says that it is over, or the work is.

    A context manager around the work; leaving it waits until the thread has ended.
    """

    def __init__(self, name: str, every_s: float, act: Callable[[], bool]) -> None:
        """`act` answers whether to go on, and raises nothing."""
        self._every_s = every_s
        self._act = act
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> None:
        """Begin; the first time is after `every_s`."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End it, and wait until it has ended."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            if not self._act():
                return
