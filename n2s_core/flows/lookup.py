"""What changed at hinted paths.

A hint is never believed: the path itself says what became of it, and so do the directories above
it and the other names of the same file.
"""

import os
import stat as statlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from n2s_core.catalogue_port import PushCatalogue
from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow, LiveStat
from n2s_core.flows.compare import Difference, Seen, is_same, judge, merge
from n2s_core.model import Change, ChangeKind, FileRow, FileType
from n2s_core.reading import Directories, describe, inode_number, is_gone
from n2s_core.relpath import RelPath, ancestors, below, is_below
from n2s_core.walking import children, walk

_ALONE = frozenset({ChangeKind.WRITTEN, ChangeKind.ENTRIES})


def _live_row(row: FileRow) -> LiveRow:
    return tuple(getattr(row, name) for name in LiveStat._fields)


MOST_UNLISTED = 1000


@dataclass(slots=True)
class Lookup:
    """Looks at hinted paths one by one.

    `live_below(path)` yields the live rows strictly below; `report` takes paths that cannot be
    looked at. With `lists` the entries of each hinted directory are compared as well. With `shares`
    what moved with a directory is found where it was stored. Files that changed and were found
    although nobody named them are in `surprises`; `unlisted` are named directories, the first of
    them, whose entries were not compared.
    """

    root: bytes
    source: Directories
    catalogue: PushCatalogue
    live_below: Callable[[RelPath], Iterator[LiveRow]]
    excludes: Excludes
    report: Callable[[RelPath, str], None]
    seen: Seen
    lists: bool = False
    shares: bool = False
    surprises: list[RelPath] = field(default_factory=list)
    unlisted: list[RelPath] = field(default_factory=list)
    _named: bool = True
    _looked_at: set[RelPath] = field(default_factory=set)
    _subtrees: set[RelPath] = field(default_factory=set)
    _cleared: set[RelPath] = field(default_factory=set)
    _inodes: set[int] = field(default_factory=set)

    def differences(self, changes: Iterable[Change]) -> Iterator[Difference]:
        """Differences at the hinted paths and at the directories above them, each path once."""
        for change in changes:
            judge(change.path)
            if (yield from self._is_reached(change.path)):
                yield from self._hinted(change)

    def _is_reached(self, path: RelPath) -> Generator[Difference, None, bool]:
        """Whether there is a directory above the path in which it has not been looked at yet."""
        above = ancestors(path)
        if any(directory in self._subtrees for directory in above):
            return False
        for directory in above:
            if self.excludes.enters(directory):
                continue
            stat = yield from self._one(directory)
            if stat is None or not statlib.S_ISDIR(stat.st_mode) or directory in self._subtrees:
                return False
        return True

    def _hinted(self, change: Change) -> Iterator[Difference]:
        if change.kind not in _ALONE:
            yield from self._subtree(change.path)
            return
        stat = yield from self._one(change.path)
        if stat is None or not statlib.S_ISDIR(stat.st_mode) or change.path in self._subtrees:
            return
        if self.lists or change.kind is ChangeKind.ENTRIES:
            yield from self._entries(change.path)
        elif len(self.unlisted) < MOST_UNLISTED:
            self.unlisted.append(change.path)

    def unnamed(self, paths: Iterable[RelPath]) -> Iterator[Difference]:
        """Differences at paths that are looked at because nobody might name them."""
        self._named = False
        yield from self.differences(Change(path) for path in paths)
        self._named = True

    def covers(self, path: RelPath) -> bool:
        """Whether the path has been looked at, by itself or with what lies above it."""
        return path in self._looked_at or any(
            directory in self._subtrees or directory in self._cleared
            for directory in (*ancestors(path), path)
        )

    def _entries(self, directory: RelPath) -> Iterator[Difference]:
        """What lies directly in a directory."""
        stored = {row[0]: row for row in self.catalogue.live_children(directory)}
        there = dict(children(self.root, directory, self.excludes, self.report))
        if directory in self.seen.protected:
            return
        named, self._named = self._named, False
        for path in sorted({*stored, *there}):
            if path not in there:
                yield from self._vanished(path, LiveStat._make(stored[path]))
            elif path not in stored and statlib.S_ISDIR(there[path].st_mode):
                yield from self._subtree(path)
            else:
                yield from self._one(path)
        self._named = named

    def _vanished(self, path: RelPath, live: LiveStat) -> Iterator[Difference]:
        """A name that its directory does not have, even where another case of it would be found."""
        if path not in self._looked_at and path not in self.seen.protected:
            self._looked_at.add(path)
            yield from self._gone(path, live)

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
        live = self.catalogue.live_stat(path)
        if stat is None:
            if live is not None:
                yield from self._gone(path, live)
            return None
        if live is not None and not self.seen.distrust and is_same(stat, live):
            self.seen.unchanged += 1
            return stat
        yield from self._changed(path, stat, live)
        return stat

    def _changed(
        self, path: RelPath, stat: os.stat_result, live: LiveStat | None
    ) -> Iterator[Difference]:
        directory = statlib.S_ISDIR(stat.st_mode)
        was_directory = live is not None and live.type == FileType.DIRECTORY
        if was_directory and not directory:
            yield from self._clear(path)
        if not self._named and not directory:
            self.surprises.append(path)
        yield Difference(path, stat, live)
        yield from self._other_names(stat, live)
        took_its_place = live is not None and live.inode != inode_number(stat)
        if path and directory and was_directory and took_its_place:
            yield from self._subtree(path)

    def _other_names(
        self, stat: os.stat_result | None, live: LiveStat | None
    ) -> Iterator[Difference]:
        """The other names of a file that changed; a discoverer may name only one of them."""
        inodes = set()
        if live is not None and live.type != FileType.DIRECTORY:
            inodes.add(live.inode)
        if stat is not None and stat.st_nlink > 1 and not statlib.S_ISDIR(stat.st_mode):
            inodes.add(inode_number(stat))
        for inode in inodes - self._inodes:
            self._inodes.add(inode)
            names = self.catalogue.names_of(inode)
            named, self._named = self._named, False
            yield from self.differences(Change(name) for name in names)
            self._named = named

    def _gone(self, path: RelPath, live: LiveStat) -> Iterator[Difference]:
        if live.type == FileType.DIRECTORY:
            yield from self._clear(path)
        yield Difference(path, None, live)
        yield from self._other_names(None, live)

    def _clear(self, path: RelPath) -> Iterator[Difference]:
        """What was below a directory that is none any more."""
        self._cleared.add(path)
        for row in self.live_below(path):
            if row[0] not in self._looked_at:
                live = LiveStat._make(row)
                yield Difference(row[0], None, live)
                yield from self._other_names(None, live)

    def _subtree(self, path: RelPath) -> Iterator[Difference]:
        stat = yield from self._one(path)
        if stat is None or not statlib.S_ISDIR(stat.st_mode) or path in self._subtrees:
            return
        self._subtrees.add(path)
        all_below = walk(self.root, self.excludes, self.report, start=path, span=below(path))
        differences = merge(all_below, self.live_below(path), self.seen)
        for found in self._with_origins(path, inode_number(stat), differences):
            if not self._is_done(found.path, path):
                yield found
                yield from self._other_names(found.stat, found.live)

    def _with_origins(
        self, path: RelPath, inode: int, differences: Iterator[Difference]
    ) -> Iterator[Difference]:
        """The differences below a directory, with origin if it was stored at another path."""
        known = self.catalogue.directories_of(inode) if self.shares else []
        origin = next((one for one in known if one != path), None)
        if origin is None:
            yield from differences
            return
        stored = self.catalogue.stored(below(origin))
        old = next(stored, None)
        for found in differences:
            was = origin + found.path[len(path) :]
            while old is not None and old.row.path < was:
                old = next(stored, None)
            if (
                old is not None
                and old.row.path == was
                and found.stat is not None
                and is_same(found.stat, _live_row(old.row))
            ):
                yield found._replace(origin=old)
            else:
                yield found

    def _is_done(self, path: RelPath, top: RelPath) -> bool:
        """Whether the path, or something between it and `top`, was looked at before."""
        return path in self._looked_at or any(
            directory in self._subtrees or directory in self._cleared
            for directory in ancestors(path)
            if is_below(directory, top)
        )
