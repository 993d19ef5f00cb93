"""The watched directories: which watch stands for which path.

They form a tree: a subtree is forgotten at once, and of each path only the last name is kept.
"""

from collections.abc import Iterator

from n2s_core.relpath import ROOT, RelPath


class Node:
    """One watched directory."""

    __slots__ = ("children", "name", "parent", "watch")

    def __init__(self, parent: "Node | None", name: bytes, watch: int) -> None:
        self.parent = parent
        self.name = name
        self.watch = watch
        self.children: dict[bytes, Node] | None = None

    def path(self) -> RelPath:
        """From the root."""
        names = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/".join(reversed(names))


class Directories:
    """All of them. A directory is known only while the directory above it is."""

    def __init__(self) -> None:
        """None yet."""
        self._root: Node | None = None
        self._of_watch: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._of_watch)

    def of_watch(self, watch: int) -> Node | None:
        """Whose watch it is; None of one that has ended."""
        return self._of_watch.get(watch)

    def at(self, path: RelPath) -> Node | None:
        """The directory that is watched under this path."""
        node = self._root
        if path == ROOT:
            return node
        for name in path.split(b"/"):
            if node is None or node.children is None:
                return None
            node = node.children.get(name)
        return node

    def put(self, parent: Node | None, name: bytes, watch: int) -> Node:
        """A directory whose watch was set; no parent means the root."""
        node = Node(parent, name, watch)
        if parent is None:
            self._root = node
        else:
            if parent.children is None:
                parent.children = {}
            parent.children[name] = node
        self._of_watch[watch] = node
        return node

    def drop(self, top: Node) -> Iterator[int]:
        """Forget a directory and all below it; their watches. Nothing is done before iterating."""
        if top.parent is None:
            self._root = None
        elif top.parent.children is not None and top.parent.children.get(top.name) is top:
            del top.parent.children[top.name]
        stack = [top]
        while stack:
            node = stack.pop()
            if node.children is not None:
                stack.extend(node.children.values())
            if self._of_watch.get(node.watch) is node:
                del self._of_watch[node.watch]
                yield node.watch
