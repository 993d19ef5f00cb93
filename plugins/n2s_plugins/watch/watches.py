"""The watches of a tree: set one by one, kept right while directories come, go and move.

What is true is read from the tree, never concluded from events: whatever an event says of a
directory, its watches and those below it are given up and the path is looked at again. Events that
were under way meanwhile lead to another look, so the last look at a path comes after its last
change. For the recorder a directory counts as changed with all that is below it once more after
its watch is set, because until then nobody saw what happened in it.
"""

import errno
import os
from collections.abc import Callable

from n2s_core.relpath import ROOT, RelPath, join, split
from n2s_plugins.watch import inotify
from n2s_plugins.watch.directories import Directories
from n2s_plugins.watch.inotify import Event, Inotify
from n2s_plugins.watch.limits import cannot_watch, subdirectories

Changes = dict[RelPath, bool]
_NEWS_OF_DIRECTORY = inotify.CREATED | inotify.DELETED | inotify.MOVED
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Gap(Exception):
    """Changes may have been missed; the text is half a sentence."""


class CannotWatch(Exception):
    """A directory cannot be watched; the text is a sentence."""


class TooFewWatches(CannotWatch):
    """The user has no watches left."""


class Watches:
    """All watches of a tree; `due` are directories that still have to be looked at.

    Whoever opens it closes it. `ignores` says of a path that is no directory that it is not stored.
    `linked` are inodes that got another name; the name may be gone again when somebody asks.
    """

    def __init__(
        self,
        root: bytes,
        leaves_out: Callable[[RelPath], bool],
        ignores: Callable[[RelPath], bool],
    ) -> None:
        """Raises CannotWatch."""
        self._root = root
        self._leaves_out = leaves_out
        self._ignores = ignores
        self._directories = Directories()
        self.due: list[RelPath] = [ROOT]
        self.linked: set[int] = set()
        self.entries = 0
        try:
            self.queue = Inotify()
        except OSError as error:
            raise CannotWatch(cannot_watch(ROOT, error)) from error

    def close(self) -> None:
        """Give up all watches."""
        self.queue.close()

    def __len__(self) -> int:
        return len(self._directories)

    def take(self, packed: bytes, changed: Changes) -> None:
        """Note in `changed` what events say: paths, and True for what is below too.

        Raises Gap.
        """
        for event in inotify.events(packed):
            if event.mask & inotify.OVERFLOW:
                message = (
                    "more changed at once than the kernel keeps"
                    " (/proc/sys/fs/inotify/max_queued_events)"
                )
                raise Gap(message)
            node = self._directories.of_watch(event.watch)
            if node is None:
                continue
            if event.mask & inotify.UNMOUNTED:
                message = "a filesystem was unmounted"
                raise Gap(message)
            if event.mask & (inotify.SELF_GONE | inotify.FORGOTTEN):
                if node.parent is None:
                    message = "the root was moved or deleted"
                    raise Gap(message)
                if event.mask & inotify.FORGOTTEN:
                    self._drop(node.path())
                continue
            directory = node.path()
            if not event.name:
                changed.setdefault(directory, False)
            elif event.mask & inotify.DIRECTORY:
                self._of_directory(event, directory, changed)
            else:
                self._of_file(event, directory, changed)

    def _of_directory(self, event: Event, above: RelPath, changed: Changes) -> None:
        path = join(above, event.name)
        news = event.mask & _NEWS_OF_DIRECTORY
        if self._leaves_out(path):
            if news:  # the time of the directory above has changed
                changed.setdefault(above, False)
        elif news or self._directories.at(path) is None:  # it may not have been readable before
            self._drop(path)
            self.due.append(path)
            changed[path] = True
        else:
            changed.setdefault(path, False)

    def _of_file(self, event: Event, above: RelPath, changed: Changes) -> None:
        path = join(above, event.name)
        if event.mask & inotify.CREATED:
            self._note_link(path)
        if not self._ignores(path):
            changed.setdefault(path, False)
        elif event.mask & _NEWS_OF_DIRECTORY:
            changed.setdefault(above, False)

    def _note_link(self, path: RelPath) -> None:
        try:
            stat = os.lstat(self._absolute(path))
        except OSError:  # it is gone; its events are recorded all the same
            return
        if stat.st_nlink > 1:
            self.linked.add(stat.st_ino)

    def look(self, changed: Changes) -> None:
        """Watch one directory that is due, and find those in it. Raises CannotWatch."""
        path = self.due.pop()
        above, name = split(path)
        parent = self._directories.at(above) if path else None
        if path and parent is None:
            return  # it was moved with what is above it, whose new place is due
        absolute = self._root + b"/" + path if path else self._root
        watch = self._watch(absolute, path)
        if watch is None:
            return
        known = self._directories.of_watch(watch)
        if known is not None and known is not self._directories.at(path):
            self._judge_second_path(known.path(), path)
            self._drop(known.path())
            watch = self._watch(absolute, path)
            if watch is None:
                return
            known = None
        if known is None:
            self._drop(path)
            if path and self._directories.at(above) is not parent:
                return
            self._directories.put(parent, name, watch)
        below, count = subdirectories(self._root, path)
        self.entries += count
        self.due.extend(one for one in below if not self._leaves_out(one))
        changed[path] = True

    def _watch(self, absolute: bytes, path: RelPath) -> int | None:
        """None: there is no directory any more, or nothing in it may be read."""
        try:
            return self.queue.add(absolute)
        except OSError as error:
            if path and error.errno in _GONE:
                return None
            if path and error.errno == errno.EACCES:
                return None
            if error.errno == errno.ENOSPC:
                raise TooFewWatches from error
            raise CannotWatch(cannot_watch(path, error)) from error

    def _judge_second_path(self, known: RelPath, path: RelPath) -> None:
        """Whether one directory is at two places, where it can be watched only under one."""
        try:
            same = os.path.samefile(self._absolute(known), self._absolute(path))
        except OSError:
            return
        if same:
            raise CannotWatch(
                cannot_watch(path, OSError(errno.EXDEV, "it is mounted at two places of the tree"))
            )

    def _absolute(self, path: RelPath) -> bytes:
        return self._root + b"/" + path if path else self._root

    def _drop(self, path: RelPath) -> None:
        node = self._directories.at(path)
        if node is not None:
            for watch in self._directories.drop(node):
                self.queue.remove(watch)
