"""From the objects of a stream to the paths to look at.

Each object knows the directory where its last link was made. Of a directory that is always where
it is; of a file it need not be, once a link was removed. So the entries of that directory are read:
a file that is not among them is looked for in the catalogue, by its number. What is new has a
directory whose entries changed, and those are compared.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from n2s_core.model import Change, ChangeKind
from n2s_core.relpath import ROOT, RelPath, ancestors, join
from n2s_plugins.zfs.stream import Object

AT_A_TIME = 50_000
"""So many objects are grouped by their directories; it bounds the memory."""

Inode = Callable[[RelPath], int | None]
"""The inode number of a path in one snapshot; None when it is not there."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What can be asked of the two snapshots and of the catalogue.

    `root` is the number of the root directory, `entries(path)` the names in a directory of the new
    snapshot with their numbers (none when there is no such directory). `names_of(number)` are the
    stored paths of a directory or of a file with several names, found by an index;
    `search(numbers)` those of any object, found by reading all of the catalogue.
    """

    root: int
    entries: Callable[[RelPath], Iterator[tuple[bytes, int]]]
    old_inode: Inode
    new_inode: Inode
    names_of: Callable[[int], list[RelPath]]
    search: Callable[[Collection[int]], Iterator[tuple[int, RelPath]]]


@dataclass(slots=True)
class Sent:
    """Finds the paths of objects. `_parents` has the changed directories, with their parents."""

    tree: Tree
    _parents: dict[int, int] = field(default_factory=dict)
    _paths: dict[int, RelPath | None] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)

    def changes(self, objects: Callable[[], Iterable[Object]]) -> Iterator[Change]:
        """The hints; `objects()` yields the objects of the stream, as often as it is called."""
        self._parents.update((one.number, one.parent) for one in objects() if one.directory)
        for one in objects():
            if one.directory:
                path = self._path(one.number)
                if path is None:
                    self._lost.add(one.number)
                else:
                    yield Change(path, ChangeKind.ENTRIES if one.written else ChangeKind.WRITTEN)
        files = (one for one in objects() if not one.directory)
        while group := list(islice(files, AT_A_TIME)):
            yield from self._files(group)
        yield from self._elsewhere()

    def _files(self, group: Iterable[Object]) -> Iterator[Change]:
        """The files at the names that their directories have for them; the others are lost."""
        by_parent: dict[int, dict[int, bool]] = {}
        for one in group:
            by_parent.setdefault(one.parent, {})[one.number] = one.linked
        for parent, numbers in by_parent.items():
            directory = self._path(parent)
            found = () if directory is None else self.tree.entries(directory)
            for name, number in found:
                if number in numbers:
                    path = join(directory or ROOT, name)
                    yield Change(path)
                    if not (numbers[number] and self._had_another_name(number, path)):
                        del numbers[number]
            self._lost.update(numbers)

    def _had_another_name(self, number: int, path: RelPath) -> bool:
        """Whether a file with several names may have had one only, which no index knows."""
        return self.tree.old_inode(path) != number and not self.tree.names_of(number)

    def _elsewhere(self) -> Iterator[Change]:
        """The stored paths of what no directory led to."""
        for number in sorted(self._lost):
            names = self.tree.names_of(number)
            if names:
                self._lost.discard(number)
                yield from map(Change, names)
        if self._lost:
            yield from (Change(path) for _, path in self.tree.search(self._lost))

    def _path(self, number: int) -> RelPath | None:
        """Where a directory is in the new snapshot; None when nothing leads there."""
        if number == self.tree.root:
            return ROOT
        if number in self._paths:
            return self._paths[number]
        self._paths[number] = None  # whoever comes back here has gone round in a circle
        if number in self._parents:
            self._name_all_in(self._parents[number])
        else:
            self._paths[number] = self._stored(number)
        return self._paths[number]

    def _name_all_in(self, parent: int) -> None:
        """Note the paths of all changed directories in a directory."""
        above = self._path(parent)
        if above is None:
            return
        for name, number in self.tree.entries(above):
            if self._parents.get(number) == parent:
                self._paths[number] = join(above, name)

    def _stored(self, number: int) -> RelPath | None:
        """The path of a directory that did not change; one above it may have moved."""
        for path in self.tree.names_of(number):
            if self.tree.new_inode(path) == number:
                return path
            for above in ancestors(path)[1:]:
                moved = self.tree.old_inode(above)
                if moved is not None and moved != self.tree.new_inode(above):
                    there = self._path(moved)
                    now = None if there is None else there + path[len(above) :]
                    if now is not None and self.tree.new_inode(now) == number:
                        return now
                    break
        return None
