"""What the core finds when it follows hints, and what it would not find.

The rules are those of docs/plugins.md: the core looks at a hinted path, at the directories above
it, at the other stored names of a file that changed, and at all that was or is below a directory
that another one has replaced.
"""

import os
import stat as statlib
from collections.abc import Iterable
from typing import NamedTuple

from n2s_core.model import Change, ChangeKind
from n2s_core.relpath import ROOT, RelPath, ancestors, is_below, split


class Facts(NamedTuple):
    """What the core compares of a path; `linked`: it has several names."""

    type: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    uid: int
    gid: int
    linked: bool

    @property
    def is_directory(self) -> bool:
        """Whether other paths may lie below."""
        return self.type == statlib.S_IFDIR


Tree = dict[RelPath, Facts]
_ALONE = frozenset({ChangeKind.WRITTEN, ChangeKind.ENTRIES})


def facts_of(path: RelPath, stat: os.stat_result) -> Facts:
    """Snapshots make up the inode number of their root, so that of the root does not count."""
    directory = statlib.S_ISDIR(stat.st_mode)
    return Facts(
        type=statlib.S_IFMT(stat.st_mode),
        mode=statlib.S_IMODE(stat.st_mode),
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=0 if path == ROOT else stat.st_ino,
        uid=stat.st_uid,
        gid=stat.st_gid,
        linked=stat.st_nlink > 1 and not directory,
    )


def tree_of(changes: Iterable[Change]) -> Tree:
    """The tree that a walk found."""
    return {
        change.path: facts_of(change.path, change.stat)
        for change in changes
        if change.stat is not None
    }


def differing(before: Tree, after: Tree) -> list[RelPath]:
    """Paths that are not what they were, or not there any more, or new; in order."""
    paths = before.keys() | after.keys()
    return sorted(path for path in paths if before.get(path) != after.get(path))


def unnamed(
    before: Tree, after: Tree, hints: Iterable[Change], *, doubts_links: bool = False
) -> list[RelPath]:
    """Paths that differ and that the core does not come to when it follows the hints."""
    followed = _Followed(before, after, lists=doubts_links)
    for hint in hints:
        followed.hint(hint)
    if doubts_links:
        for path in [path for path, facts in before.items() if facts.linked]:
            followed.path_and_above(path)
    return [path for path in differing(before, after) if path not in followed.seen]


def _is_the_directory(old: Facts, new: Facts | None) -> bool:
    return new is not None and new.is_directory and new.inode == old.inode


class _Followed:
    """Where the hints have led so far: `seen`."""

    def __init__(self, before: Tree, after: Tree, *, lists: bool) -> None:
        self.seen: set[RelPath] = set()
        self._before = before
        self._after = after
        self._lists = lists

    def hint(self, hint: Change) -> None:
        """Look at one hint."""
        if not self.path_and_above(hint.path):
            return
        if hint.kind not in _ALONE:
            self._subtree(hint.path)
        elif self._lists or hint.kind is ChangeKind.ENTRIES:
            self._entries(hint.path)

    def path_and_above(self, path: RelPath) -> bool:
        """Look at the path and the directories above; whether these are directories still."""
        for directory in ancestors(path):
            self._look(directory)
            if not self._is_directory(directory):
                return False
        self._look(path)
        return True

    def _look(self, path: RelPath) -> None:
        if path in self.seen:
            return
        self.seen.add(path)
        old, new = self._before.get(path), self._after.get(path)
        if old == new:
            return
        if old is not None and old.is_directory and not _is_the_directory(old, new):
            self._subtree(path)
        inodes = {old.inode} if old is not None else set()
        if new is not None and new.linked:
            inodes.add(new.inode)
        for name, facts in self._before.items():
            if facts.linked and facts.inode in inodes:
                self.path_and_above(name)

    def _subtree(self, path: RelPath) -> None:
        for one in self._before.keys() | self._after.keys():
            if is_below(one, path):
                self._look(one)

    def _entries(self, directory: RelPath) -> None:
        if not self._is_directory(directory):
            return
        for one in self._before.keys() | self._after.keys():
            if one and split(one)[0] == directory:
                self._look(one)
                if one not in self._before:
                    self._subtree(one)

    def _is_directory(self, path: RelPath) -> bool:
        found = self._after.get(path)
        return found is not None and found.is_directory
