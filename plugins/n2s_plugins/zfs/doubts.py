"""Files that `zfs diff` once called removed although they are there.

It finds the name of a file by the directory of the link that was made last. When that link is gone
it says `-` of a name that stays, and from then on nothing at all about the file. So the mark
remembers such names, and each push looks at them.
"""

from collections.abc import Callable, Iterable, Iterator

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change
from n2s_core.relpath import RelPath
from n2s_plugins.zfs.diff import parse, relative

MOST_DOUBTS = 1000
UNKNOWN = 0
"""The inode number of a path that cannot be looked at; no file has it."""

Inode = Callable[[RelPath], int | None]
"""The inode number of a path in one snapshot; None when it is not there."""


def told_wrongly(lines: Iterable[bytes], mountpoint: bytes, old: Inode, new: Inode) -> set[RelPath]:
    """The paths that are called removed and still are the same file. Raises DiscoveryError.

    One more than can be remembered is enough of them.
    """
    found: set[RelPath] = set()
    for text in lines:
        line = parse(text)
        if line.change != b"-" or line.kind == b"/" or len(found) > MOST_DOUBTS:
            continue
        path = relative(line.path, mountpoint)
        if path is None:
            continue
        there = new(path)
        if there is not None and old(path) in {there, UNKNOWN}:
            found.add(path)
    return found


def refuse_too_many(doubts: Iterable[RelPath]) -> None:
    """Raise DiscoveryError when there are more doubts than a push can look at."""
    if len(set(doubts)) > MOST_DOUBTS:
        message = (
            f"zfs diff has called more than {MOST_DOUBTS} files removed that are there, and tells"
            " nothing of what becomes of them; so the whole snapshot is walked."
        )
        raise DiscoveryError(message)


def looks(doubts: Iterable[RelPath]) -> Iterator[Change]:
    """The hints for them, in byte order."""
    return (Change(path) for path in sorted(doubts))
