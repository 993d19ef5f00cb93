"""The namespace that a send stream changes, from the parent snapshot to the new one.

A stream names everything by the path that it has at that moment, and moves what is in the way to
names like `o257-12-0` first. So the names are followed through the stream: an entry remembers
what it was called in the parent snapshot, and its new path is asked for at the end.
"""

from collections.abc import Iterator

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind
from n2s_core.relpath import RelPath, join, show, split
from n2s_plugins.btrfs.stream import Command, Said

_MAKES = frozenset(
    {
        Command.MKFILE,
        Command.MKDIR,
        Command.MKNOD,
        Command.MKFIFO,
        Command.MKSOCK,
        Command.SYMLINK,
        Command.LINK,
    }
)
_REMOVES = frozenset({Command.UNLINK, Command.RMDIR})


class _Entry:
    """One name in one directory. `base` is its path in the parent snapshot, None for a new one."""

    __slots__ = ("base", "below", "moved", "name", "parent", "touched")

    def __init__(self, parent: "_Entry | None", name: bytes, base: RelPath | None) -> None:
        self.parent = parent
        self.name = name
        self.base = base
        self.below: dict[bytes, _Entry | None] = {}
        self.touched = False
        self.moved = False


class Names:
    """Takes the commands of one stream; memory follows the number of names in it."""

    def __init__(self) -> None:
        """The parent snapshot, of which nothing has to be known."""
        self._root = _Entry(None, b"", b"")
        self._vacated: set[RelPath] = set()

    def take(self, said: Said) -> None:
        """One command. Raises DiscoveryError when it names what cannot be there."""
        if said.command in _MAKES:
            parent, name = split(said.path)
            self._put(_Entry(None, b"", None), self._at(parent), name)
            self._at(said.path).touched = True
            if said.command == Command.LINK:
                self._at(said.path_link).touched = True
        elif said.command in _REMOVES:
            self._take_away(self._at(said.path))
        elif said.command == Command.RENAME:
            entry = self._at(said.path)
            self._take_away(entry)
            parent, name = split(said.path_to)
            self._put(entry, self._at(parent), name)
            entry.moved = entry.touched = True
        else:
            self._at(said.path).touched = True

    def _at(self, path: RelPath) -> _Entry:
        at = self._root
        if not path:
            return at
        for name in path.split(b"/"):
            found = at.below.get(name)
            if found is None:
                if name in at.below or at.base is None:
                    message = f"The send stream names {show(path)}, which is not there."
                    raise DiscoveryError(message)
                found = at.below[name] = _Entry(at, name, join(at.base, name))
            at = found
        return at

    def _put(self, entry: _Entry, parent: _Entry, name: bytes) -> None:
        entry.parent, entry.name = parent, name
        parent.below[name] = entry
        parent.touched = True

    def _take_away(self, entry: _Entry) -> None:
        parent = entry.parent
        if parent is None:
            message = "The send stream removes the root."
            raise DiscoveryError(message)
        parent.below[entry.name] = None
        parent.touched = True
        entry.parent = None
        if entry.base is not None:
            self._vacated.add(entry.base)

    def changes(self) -> Iterator[Change]:
        """Paths to look at: what was touched, where it is now, and where something went away.

        A directory that has moved is named as a subtree, at the old place and at the new one.
        """
        for path in self._vacated:
            yield Change(path, ChangeKind.SUBTREE_WRITTEN)
        stack: list[tuple[_Entry, RelPath]] = [(self._root, b"")]
        while stack:
            entry, path = stack.pop()
            moved = entry.moved and entry.base is not None and entry.base != path
            if entry.touched or entry.moved:
                yield Change(path, ChangeKind.SUBTREE_WRITTEN if moved else ChangeKind.WRITTEN)
            stack.extend(
                (below, join(path, name))
                for name, below in entry.below.items()
                if below is not None
            )
