"""What changed: the only place that decides it.

A walk is merged with the live rows of the catalogue in byte order, in constant memory. Hints are
looked up path by path in flows/lookup.py.
"""

import os
import stat as statlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from n2s_core.errors import DiscoveryError
from n2s_core.facts import LiveRow, LiveStat
from n2s_core.jobs import Known
from n2s_core.model import Change
from n2s_core.reading import file_type, inode_number
from n2s_core.relpath import RelPath, is_below, is_safe, show


class Difference(NamedTuple):
    """A path whose state is not that of its live row; `stat` None means that it is gone.

    `origin` is the same file in the same state at another path, where it was stored.
    """

    path: RelPath
    stat: os.stat_result | None
    live: LiveStat | None
    origin: Known | None = None


@dataclass(slots=True)
class Seen:
    """What a comparison keeps count of. Paths in `protected` could not be looked at.

    What the catalogue says of a protected path, and of everything below it, stays as it is.
    """

    unchanged: int = 0
    protected: set[RelPath] = field(default_factory=set)
    distrust: bool = False

    def is_protected(self, path: RelPath) -> bool:
        """Whether nothing is known about what became of the path."""
        if not self.protected:
            return False
        return path in self.protected or any(
            is_below(path, directory) for directory in self.protected
        )


_TYPE = {kind >> 12: int(file_type(kind)) for kind in (
    statlib.S_IFREG, statlib.S_IFDIR, statlib.S_IFLNK, statlib.S_IFIFO,
    statlib.S_IFCHR, statlib.S_IFBLK, statlib.S_IFSOCK,
)}  # fmt: skip


def is_same(stat: os.stat_result, live: LiveRow) -> bool:
    """Whether the path is in the state that the row remembers; atime and devices do not count.

    Nor does the inode number of the root, which some filesystems make up for each snapshot.
    """
    return bool(
        live[5] == stat.st_ctime_ns
        and live[4] == stat.st_mtime_ns
        and live[3] == stat.st_size
        and (live[6] == stat.st_ino or live[6] == inode_number(stat) or not live[0])
        and live[2] == stat.st_mode & 0o7777
        and live[7] == stat.st_uid
        and live[8] == stat.st_gid
        and live[1] == _TYPE[stat.st_mode >> 12]
    )


def merge(  # noqa: C901 - the one loop over every path: a call would cost more than a branch
    changes: Iterable[Change], rows: Iterable[LiveRow], seen: Seen
) -> Iterator[Difference]:
    """Differences between all paths of a tree (or subtree) and all its live rows.

    Both must be in ascending byte order; raises DiscoveryError when `changes` are not.
    """
    live = iter(rows)
    row = next(live, _END)
    at = row[0]
    last = None
    trust = not seen.distrust
    same = is_same
    for path, _, stat in changes:
        if stat is None or (last is not None and path <= last):
            raise DiscoveryError(_not_complete(path, stat, last))
        last = path
        if at == path:
            if trust and same(stat, row):
                seen.unchanged += 1
            else:
                yield Difference(path, stat, LiveStat._make(row))
            row = next(live, _END)
            at = row[0]
            continue
        while at is not None and at < path:
            if not seen.is_protected(at):
                yield Difference(at, None, LiveStat._make(row))
            row = next(live, _END)
            at = row[0]
        if at != path:
            yield Difference(path, stat, None)
            continue
        if trust and same(stat, row):
            seen.unchanged += 1
        else:
            yield Difference(path, stat, LiveStat._make(row))
        row = next(live, _END)
        at = row[0]
    while at is not None:
        if not seen.is_protected(at):
            yield Difference(at, None, LiveStat._make(row))
        row = next(live, _END)
        at = row[0]


_END: LiveRow = (None,)


def judge(path: RelPath) -> None:
    """Raise DiscoveryError for what is no path in the tree: nothing outside is ever stored."""
    if not is_safe(path):
        message = f"The discovery named {show(path)}, which is no path in the tree."
        raise DiscoveryError(message)


def judged(changes: Iterable[Change]) -> Iterator[Change]:
    """The changes, each of them judged."""
    for change in changes:
        judge(change.path)
        yield change


def _not_complete(path: RelPath, stat: os.stat_result | None, last: RelPath | None) -> str:
    if stat is None:
        return f"The discovery calls itself complete but has no stat for {show(path)}."
    return (
        f"The discovery is out of order: {show(path)} came after {show(last or b'')}."
        " This is a fault of its plugin; nothing was concluded from it."
    )
