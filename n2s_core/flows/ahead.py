"""Opening of files before it is their turn, so that the disk reads while the processor works."""

import os
from collections import deque
from collections.abc import Generator, Iterable

from n2s_core.jobs import Item
from n2s_core.reading import Directories

FILES = 8
"""So many are open and on their way into memory."""
BEGINNING = 256 << 10
"""Bytes of each that are asked for; the kernel reads on in a longer one when it is read."""
Opened = tuple[Item, int | OSError | None]


def opened_ahead(items: Iterable[Item], source: Directories) -> Generator[Opened, None, None]:
    """Each item; of a regular file with a descriptor, which is the caller's, or why there is none.

    Close the generator: it closes what was not taken.
    """
    waiting: deque[Opened] = deque()
    advise, will_need = os.posix_fadvise, os.POSIX_FADV_WILLNEED
    opened: int | OSError | None
    try:
        for item in items:
            opened = None
            if item.regular and item.link is None:
                try:
                    opened = source.open_file(item.path)
                    advise(opened, 0, BEGINNING, will_need)
                except OSError as error:
                    opened = error if opened is None else opened  # the advice is only a wish
            waiting.append((item, opened))
            if len(waiting) > FILES:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, fd in waiting:
            if isinstance(fd, int):
                os.close(fd)
