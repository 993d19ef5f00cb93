"""Removals wait until all of the comparison is done: an empty mount point is no mass deletion."""

import pickle
import tempfile
from collections.abc import Iterator
from typing import IO

from n2s_core.errors import MassRemoval
from n2s_core.flows.compare import Difference
from n2s_core.model import FileType

FEWEST = 1000
IN_MEMORY = 20_000


class HeldRemovals:
    """Keeps differences that are removals; in a temporary file when there are many.

    A context manager. `added` counts paths that are new, which is what moved ones are as well.
    """

    def __init__(self, live_files: int) -> None:
        """`live_files`: how many the dataset had before."""
        self.added = 0
        self._live_files = live_files
        self._files = 0
        self._held: list[Difference] = []
        self._spilled: IO[bytes] | None = None
        self._pages = 0

    def __enter__(self) -> "HeldRemovals":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget them."""
        if self._spilled is not None:
            self._spilled.close()

    def hold(self, found: Difference) -> None:
        """Keep one."""
        self._files += found.live is not None and found.live.type != FileType.DIRECTORY
        self._held.append(found)
        if len(self._held) >= IN_MEMORY:
            if self._spilled is None:
                self._spilled = tempfile.TemporaryFile(prefix="n2s-")  # noqa: SIM115 - closed by __exit__
            pickle.dump(self._held, self._spilled, pickle.HIGHEST_PROTOCOL)
            self._pages += 1
            self._held = []

    def judge(self) -> None:
        """Raise MassRemoval when more than half of the files, and more than 1000, would go."""
        gone = self._files - self.added
        if gone > FEWEST and gone > self._live_files / 2:
            message = (
                f"{self._files} of {self._live_files} files are gone; is everything mounted?"
                " Nothing was removed. If it is meant, push with --allow-mass-removal."
            )
            raise MassRemoval(message)

    def __iter__(self) -> Iterator[Difference]:
        """In the order in which they came."""
        if self._spilled is not None:
            self._spilled.seek(0)
            for _ in range(self._pages):
                yield from pickle.load(self._spilled)  # noqa: S301 - our own, a moment ago
        yield from self._held
