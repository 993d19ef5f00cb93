"""Walking of a tree in byte order of paths, with excludes."""

import os
import stat as statlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from n2s_core.excludes import Excludes
from n2s_core.model import Change, ChangeKind
from n2s_core.reading import Directories, describe, is_gone
from n2s_core.relpath import EVERYTHING, RelPath, Span, below

LONGEST_PATH = 3800
_WRITTEN = ChangeKind.WRITTEN
_FORMAT = 0o170000
_DIRECTORY = statlib.S_IFDIR
_NAME = itemgetter(0)
MOST_LOOKED_AT = 20_000
"""Of a directory with more entries only names are kept; each is looked at when it is its turn."""
_Found = tuple[bytes, os.stat_result, bool]


def walk(
    root: bytes,
    excludes: Excludes,
    report: Callable[[RelPath, str], None],
    *,
    start: RelPath = b"",
    span: Span = EVERYTHING,
) -> Iterator[Change]:
    """Every path at and below `start`, itself included, with its lstat, in byte order.

    With a `span` only the paths in it; the directories that lead there are listed all the same.

    A directory that cannot be listed is reported and yielded without what is below it; a path
    that cannot be looked at is reported and left out; what vanishes meanwhile is left out.
    Memory follows the names of the largest directory, not the tree.
    """
    try:
        first = os.lstat(_absolute(root, start)) if start else os.stat(root)
    except OSError as error:
        if not is_gone(error) or not start:
            report(start, f"it cannot be looked at: {describe(error)}")
        return
    if start >= span.low:
        yield Change(start, _WRITTEN, first)
    if first.st_mode & _FORMAT != _DIRECTORY:
        return
    make = tuple.__new__
    stack = [iter(_list(root, start, excludes, report, span))]
    paths = [start + b"/" if start else b""]
    devices = [first.st_dev]
    while stack:
        prefix = paths[-1]
        for name, stat, descend in stack[-1]:
            if not descend:
                yield make(Change, (prefix + name, _WRITTEN, stat))
                continue
            path = prefix + name
            if excludes.one_filesystem and stat.st_dev != devices[-1]:
                continue
            stack.append(iter(_list(root, path[:-1], excludes, report, span)))
            paths.append(path)
            devices.append(stat.st_dev)
            break
        else:
            stack.pop()
            paths.pop()
            devices.pop()


def children(
    root: bytes,
    directory: RelPath,
    excludes: Excludes,
    report: Callable[[RelPath, str], None],
) -> Iterator[tuple[RelPath, os.stat_result]]:
    """The paths directly in a directory with their lstat, in byte order; as `walk` has them."""
    prefix = directory + b"/" if directory else b""
    for name, stat, descend in _list(root, directory, excludes, report, EVERYTHING):
        if not descend:
            yield prefix + name, stat


@dataclass(slots=True)
class Walk:
    """The walk of a whole tree as an iterator that says what it walks.

    Whoever gets it may iterate, or walk the same tree otherwise.
    """

    root: bytes
    excludes: Excludes
    report: Callable[[RelPath, str], None]
    _changes: Iterator[Change] | None = None

    def __iter__(self) -> Iterator[Change]:
        """The rest of the walk."""
        if self._changes is None:
            self._changes = walk(self.root, self.excludes, self.report)
        return self._changes

    def __next__(self) -> Change:
        """The next path."""
        return next(iter(self))


def _absolute(root: bytes, path: RelPath) -> bytes:
    return root + b"/" + path if path else root


def _list(
    root: bytes,
    directory: RelPath,
    excludes: Excludes,
    report: Callable[[RelPath, str], None],
    span: Span,
) -> Iterable[_Found]:
    """(name, stat, False) of each child, and (name + "/", stat, True) of each directory, in order.

    The slash puts what is below a directory where byte order wants it: "a", "a.txt", "a/x".
    """
    absolute = _absolute(root, directory)
    prefix = directory + b"/" if directory else b""
    cut = _cuts(span, directory)
    skip = cut and not (excludes.markers or excludes.caches)  # a tag counts wherever it is
    try:
        with _readable(root, directory) as where:
            listed, names = _read(where, prefix, span if skip else EVERYTHING, report)
    except OSError as error:
        if not is_gone(error):
            report(directory, f"this directory cannot be listed: {describe(error)}")
        return []
    only = None
    if excludes.markers or excludes.caches:
        there = chain(names, map(_NAME, listed))
        only = excludes.only_tag(excludes.tags.intersection(there), absolute)
    found: Iterable[_Found] = listed
    if names:
        if cut:
            names = [one for one in names if _in_span(span, prefix + one)]
        found = _looked_at(absolute, prefix, names, report)
    elif cut:
        found = [one for one in listed if _in_span(span, prefix + one[0])]
    if not excludes.plain or directory in excludes.places:
        found = _chosen(found, only, prefix, excludes)
    return found


@contextmanager
def _readable(root: bytes, directory: RelPath) -> Iterator[bytes | int]:
    """What can be read of a directory: its path, or a descriptor when that is too long."""
    absolute = _absolute(root, directory)
    if len(absolute) < LONGEST_PATH:
        yield absolute
        return
    with Directories(root) as directories:
        yield directories.fd(directory)


def _read(
    where: bytes | int, prefix: bytes, span: Span, report: Callable[[RelPath, str], None]
) -> tuple[list[_Found], list[bytes]]:
    """What is in a directory, looked at, in order; of a very large one only names, in order."""
    listed: list[_Found] = []
    names: list[bytes] = []
    by_path = isinstance(where, bytes)
    everything = span is EVERYTHING
    with os.scandir(where) as entries:
        for entry in entries:
            name: bytes = entry.name if by_path else os.fsencode(entry.name)  # type: ignore[assignment]
            if not everything and not _touches(span, prefix + name):
                continue
            if by_path and len(listed) >= MOST_LOOKED_AT:
                names.append(name)
                if entry.is_dir(follow_symlinks=False):
                    names.append(name + b"/")
                continue
            try:
                stat = entry.stat(follow_symlinks=False)
            except OSError as error:
                _note(error, prefix + name, report)
                continue
            listed.append((name, stat, False))
            if stat.st_mode & _FORMAT == _DIRECTORY:
                listed.append((name + b"/", stat, True))
    if names:
        names += map(_NAME, listed)
        listed.clear()
    names.sort()
    listed.sort(key=_NAME)
    return listed, names


def _looked_at(
    absolute: bytes, prefix: bytes, names: list[bytes], report: Callable[[RelPath, str], None]
) -> Iterator[_Found]:
    """What `_list` gives, of names in order; those of directories are there with a slash too."""
    for name in names:
        descend = name.endswith(b"/")
        try:
            stat = os.lstat(_absolute(absolute, name[:-1] if descend else name))
        except OSError as error:
            if not descend:
                _note(error, prefix + name, report)
            continue
        if not descend or stat.st_mode & _FORMAT == _DIRECTORY:
            yield name, stat, descend


def _cuts(span: Span, directory: RelPath) -> bool:
    """Whether only a part of what is below the directory is in the span."""
    if span == EVERYTHING:
        return False
    first, last = below(directory)
    return first < span.low or (span.high is not None and (last is None or last > span.high))


def _touches(span: Span, path: RelPath) -> bool:
    """Whether the path, or what may be below it, is in the span."""
    return path + b"0" > span.low and (span.high is None or path < span.high)


def _in_span(span: Span, path: RelPath) -> bool:
    """Whether it is; of a directory, which ends with a slash, whether what is below it may be."""
    if span.high is not None and path >= span.high:
        return False
    return path[:-1] + b"0" > span.low if path.endswith(b"/") else path >= span.low


def _note(error: OSError, path: RelPath, report: Callable[[RelPath, str], None]) -> None:
    if not is_gone(error):
        report(path, f"it cannot be looked at: {describe(error)}")


def _chosen(
    found: Iterable[_Found], only: bytes | None, prefix: bytes, excludes: Excludes
) -> Iterator[_Found]:
    """Without what is left out; of a tagged directory `only` its tag."""
    for one in found:
        name, stat, descend = one
        bare = name[:-1] if descend else name
        if only is not None and bare != only:
            continue
        directory = stat.st_mode & _FORMAT == _DIRECTORY
        if not excludes.leaves_out(prefix + bare, directory=directory) or (
            descend and excludes.enters(prefix + bare)
        ):
            yield one
