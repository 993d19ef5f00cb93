"""What is mounted at, above and below the root; inotify does not tell when that changes."""

import re
from collections.abc import Callable

from n2s_core.relpath import RelPath, is_below

_TABLE = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
Mounted = frozenset[tuple[bytes, bytes, bytes]]


class Mounts:
    """The part of the mount table that matters. Whoever opens it closes it.

    Its `fd` becomes readable with priority (POLLPRI) whenever the table changes.
    """

    def __init__(self, root: bytes, leaves_out: Callable[[RelPath], bool]) -> None:
        """Raises OSError."""
        self._root = root
        self._leaves_out = leaves_out
        self._table = open(_TABLE, "rb")  # noqa: SIM115 - closed by close
        self.fd = self._table.fileno()
        self._known = self._read()

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def have_changed(self) -> bool:
        """Whether they are others than when this was asked before."""
        before, self._known = self._known, self._read()
        return before != self._known

    def _read(self) -> Mounted:
        self._table.seek(0)
        found = set()
        for line in self._table.read().splitlines():
            number, _parent, device, _within, where = line.split(b" ", 5)[:5]
            path = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), where)
            if self._matters(path):
                found.add((number, device, path))
        return frozenset(found)

    def _matters(self, path: bytes) -> bool:
        inside = path.strip(b"/")
        root = self._root.strip(b"/")
        if is_below(inside, root):
            return not self._leaves_out(inside.removeprefix(root).lstrip(b"/"))
        return inside == root or is_below(root, inside)
