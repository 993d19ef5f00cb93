"""What changed: the only place that decides it.

A walk is merged with the live rows of the catalogue in byte order, in constant memory; a list of
hints is looked up path by path.
"""

import os
import stat as statlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from n2s_core.errors import DiscoveryError
from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow, LiveStat
from n2s_core.model import Change, ChangeKind, FileType
from n2s_core.reading import Directories, describe, file_type, inode_number, is_gone
from n2s_core.relpath import RelPath, ancestors, is_below, show


class Difference(NamedTuple):
    """A path whose state is not that of its live row; `stat` None means that it is gone."""

    path: RelPath
    stat: os.stat_result | None
    live: LiveStat | None


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
    """Whether the path is in the state that the row remembers; atime and devices do not count."""
    return bool(
        live[5] == stat.st_ctime_ns
        and live[4] == stat.st_mtime_ns
        and live[3] == stat.st_size
        and (live[6] == stat.st_ino or live[6] == inode_number(stat))
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


def _not_complete(path: RelPath, stat: os.stat_result | None, last: RelPath | None) -> str:
    if stat is None:
        return f"The discovery calls itself complete but has no stat for {show(path)}."
    return (
        f"The discovery is out of order: {show(path)} came after {show(last or b'')}."
        " This is a fault of its plugin; nothing was concluded from it."
    )


@dataclass(slots=True)
class Lookup:
    """Looks at hinted paths one by one.

    `walk(path)` walks a subtree; `live_below(path)` yields the live rows strictly below;
    `live_at(path)` is one row; `excludes` says what the user leaves out;
    `report` takes paths that cannot be looked at.
    """

    source: Directories
    walk: Callable[[RelPath], Iterator[Change]]
    live_at: Callable[[RelPath], LiveStat | None]
    live_below: Callable[[RelPath], Iterator[LiveRow]]
    excludes: Excludes
    report: Callable[[RelPath, str], None]
    seen: Seen
    _looked_at: set[RelPath] = field(default_factory=set)
    _subtrees: set[RelPath] = field(default_factory=set)
    _cleared: set[RelPath] = field(default_factory=set)

    def differences(self, changes: Iterable[Change]) -> Iterator[Difference]:
        """Differences at the hinted paths and at the directories above them, each path once."""
        for change in changes:
            path = change.path
            above = ancestors(path)
            if any(directory in self._subtrees for directory in above):
                continue
            blocked = False
            for directory in above:
                if self.excludes.enters(directory):
                    continue
                stat = yield from self._one(directory)
                if stat is None or not statlib.S_ISDIR(stat.st_mode):
                    blocked = True
                    break
            if blocked:
                continue
            if change.kind is ChangeKind.WRITTEN:
                yield from self._one(path)
            else:
                yield from self._subtree(path)

    def _stat(self, path: RelPath) -> os.stat_result | OSError | None:
        try:
            return self.source.lstat(path)
        except OSError as error:
            return None if is_gone(error) else error

    def _one(self, path: RelPath) -> Generator[Difference, None, os.stat_result | None]:
        stat = self._stat(path)
        if isinstance(stat, OSError):
            if path not in self._looked_at:
                self._looked_at.add(path)
                self.seen.protected.add(path)
                self.report(path, f"it cannot be looked at: {describe(stat)}")
            return None
        if path in self._looked_at:
            return stat
        self._looked_at.add(path)
        directory = stat is not None and statlib.S_ISDIR(stat.st_mode)
        if stat is not None and self.excludes.leaves_out(path, directory=directory):
            stat = None
        live = self.live_at(path)
        if stat is None:
            if live is not None:
                yield from self._gone(path, live)
            return None
        if live is not None and not self.seen.distrust and is_same(stat, live):
            self.seen.unchanged += 1
            return stat
        if live is not None and live.type == FileType.DIRECTORY and not directory:
            yield from self._clear(path)
        yield Difference(path, stat, live)
        return stat

    def _gone(self, path: RelPath, live: LiveStat) -> Iterator[Difference]:
        if live.type == FileType.DIRECTORY:
            yield from self._clear(path)
        yield Difference(path, None, live)

    def _clear(self, path: RelPath) -> Iterator[Difference]:
        """What was below a directory that is none any more."""
        self._cleared.add(path)
        for row in self.live_below(path):
            yield Difference(row[0], None, LiveStat._make(row))

    def _subtree(self, path: RelPath) -> Iterator[Difference]:
        stat = yield from self._one(path)
        if stat is None or not statlib.S_ISDIR(stat.st_mode) or path in self._subtrees:
            return
        done = [other for other in self._subtrees | self._cleared if is_below(other, path)]
        self._subtrees.add(path)
        below = (change for change in self.walk(path) if change.path != path)
        for found in merge(below, self.live_below(path), self.seen):
            if found.path in self._looked_at or any(is_below(found.path, one) for one in done):
                continue
            yield found
