"""What the core does with the hints of a feed, on recorded trees.

Nothing is concluded from a hint but that a path is worth a look: at the path, at the directories
above it, at what lies in it if the feed says so or doubts links, and at the other stored names of
the same file. A directory in the place of another one is looked at with all that is in it.
"""

from collections.abc import Iterable
from typing import Any

from n2s_core.model import Change, ChangeKind
from n2s_core.relpath import ancestors, is_below, split
from tests.plugins.zfs.recordings import Tree

# A snapshot makes up another number for its root directory; atime is not looked at.
_NOT_COMPARED = frozenset({"atime_ns"})


def same(path: bytes, one: dict[str, object] | None, other: dict[str, object] | None) -> bool:
    """Whether both states are the same in everything that was recorded."""
    if one is None or other is None:
        return one is other
    skip = _NOT_COMPARED | {"ino"} if not path else _NOT_COMPARED
    return all(one.get(key) == other.get(key) for key in (one.keys() | other.keys()) - skip)


class Replay:
    """The stored tree `old` is brought to `new` as far as the hints lead; `state` is the result."""

    def __init__(self, old: Tree, new: Tree, *, doubts_links: bool) -> None:
        self._old = old
        self._new = new
        self._doubts_links = doubts_links
        self._looked_at: set[bytes] = set()
        self.state = dict(old)

    def push(self, hints: Iterable[Change]) -> Tree:
        for hint in hints:
            self._hinted(hint)
        for path, entry in self._old.items():
            if self._doubts_links and entry["type"] != "dir" and entry["nlink"] > 1:
                self._hinted(Change(path))
        return self.state

    def _hinted(self, hint: Change) -> None:
        for directory in ancestors(hint.path):
            self._look(directory)
            if not self._is_directory(directory):
                return
        self._look(hint.path)
        if not self._is_directory(hint.path):
            return
        if hint.kind is ChangeKind.SUBTREE_WRITTEN:
            self._subtree(hint.path)
        elif self._doubts_links or hint.kind is ChangeKind.ENTRIES:
            self._entries(hint.path)

    def _entries(self, directory: bytes) -> None:
        for path in sorted(self._old.keys() | self._new.keys()):
            if path and split(path)[0] == directory:
                self._look(path)
                if self._is_directory(path) and path not in self._old:
                    self._subtree(path)

    def _subtree(self, directory: bytes) -> None:
        for path in sorted(self._old.keys() | self._new.keys()):
            if is_below(path, directory):
                self._look(path)

    def _is_directory(self, path: bytes) -> bool:
        return path in self._new and self._new[path]["type"] == "dir"

    def _look(self, path: bytes) -> None:
        if path in self._looked_at:
            return
        self._looked_at.add(path)
        old, new = self._old.get(path), self._new.get(path)
        if same(path, old, new):
            return
        if old is not None and old["type"] == "dir" and not self._is_directory(path):
            for below in [one for one in self._old if is_below(one, path)]:
                self._look(below)
        if new is None:
            self.state.pop(path, None)
        else:
            self.state[path] = new
        if path and old and new and _is_another_directory(old, new):
            self._subtree(path)
        numbers = {one["ino"] for one in (old, new) if one is not None and one["type"] != "dir"}
        for name, entry in self._old.items():
            if entry["ino"] in numbers and entry["nlink"] > 1 and entry["type"] != "dir":
                self._hinted(Change(name))


def _is_another_directory(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return bool(old["type"] == new["type"] == "dir" and old["ino"] != new["ino"])


def unlike(one: Tree, other: Tree) -> list[bytes]:
    """Paths at which two trees differ."""
    paths = sorted(one.keys() | other.keys())
    return [path for path in paths if not same(path, one.get(path), other.get(path))]
