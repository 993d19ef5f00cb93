"""Walking of a tree in byte order of paths, with excludes."""

import os
import stat as statlib
from collections.abc import Callable, Iterator
from operator import itemgetter

from n2s_core.excludes import Excludes
from n2s_core.model import Change, ChangeKind
from n2s_core.reading import OPEN_DIRECTORY, describe, is_gone
from n2s_core.relpath import RelPath

LONGEST_PATH = 3800
_WRITTEN = ChangeKind.WRITTEN
_FORMAT = 0o170000
_DIRECTORY = statlib.S_IFDIR
_NAME = itemgetter(0)
_Listed = list[tuple[bytes, os.stat_result, bool]]


def walk(
    root: bytes,
    excludes: Excludes,
    report: Callable[[RelPath, str], None],
    *,
    start: RelPath = b"",
) -> Iterator[Change]:
    """Every path at and below `start`, itself included, with its lstat, in byte order.

    A directory that cannot be listed is reported and yielded without what is below it; a path
    that cannot be looked at is reported and left out; what vanishes meanwhile is left out.
    Memory follows the largest directory, not the tree.
    """
    try:
        first = os.lstat(_absolute(root, start)) if start else os.stat(root)
    except OSError as error:
        if not is_gone(error) or not start:
            report(start, f"it cannot be looked at: {describe(error)}")
        return
    yield Change(start, _WRITTEN, first)
    if first.st_mode & _FORMAT != _DIRECTORY:
        return
    make = tuple.__new__
    stack = [iter(_list(root, start, excludes, report))]
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
            stack.append(iter(_list(root, path[:-1], excludes, report)))
            paths.append(path)
            devices.append(stat.st_dev)
            break
        else:
            stack.pop()
            paths.pop()
            devices.pop()


def _absolute(root: bytes, path: RelPath) -> bytes:
    return root + b"/" + path if path else root


def _list(
    root: bytes,
    directory: RelPath,
    excludes: Excludes,
    report: Callable[[RelPath, str], None],
) -> _Listed:
    """(name, stat, False) of each child, and (name + "/", stat, True) of each directory, in order.

    The slash puts what is below a directory where byte order wants it: "a", "a.txt", "a/x".
    """
    absolute = _absolute(root, directory)
    prefix = directory + b"/" if directory else b""
    listed: _Listed = []
    try:
        if len(absolute) < LONGEST_PATH:
            with os.scandir(absolute) as entries:
                for entry in entries:
                    name = entry.name
                    try:
                        stat = entry.stat(follow_symlinks=False)
                    except OSError as error:
                        _note(error, prefix + name, report)
                        continue
                    listed.append((name, stat, False))
                    if stat.st_mode & _FORMAT == _DIRECTORY:
                        listed.append((name + b"/", stat, True))
        else:
            _list_deep(root, directory, prefix, listed, report)
    except OSError as error:
        if not is_gone(error):
            report(directory, f"this directory cannot be listed: {describe(error)}")
        return []
    listed.sort(key=_NAME)
    if not excludes.plain or not directory or directory == excludes.own_folder:
        return _chosen(listed, absolute, prefix, excludes)
    return listed


def _note(error: OSError, path: RelPath, report: Callable[[RelPath, str], None]) -> None:
    if not is_gone(error):
        report(path, f"it cannot be looked at: {describe(error)}")


def _list_deep(
    root: bytes,
    directory: RelPath,
    prefix: bytes,
    listed: _Listed,
    report: Callable[[RelPath, str], None],
) -> None:
    """A directory whose path is too long for one system call."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in directory.split(b"/"):
        try:
            following = os.open(part, OPEN_DIRECTORY, dir_fd=at)
        finally:
            os.close(at)
        at = following
    try:
        with os.scandir(at) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError as error:
                    _note(error, prefix + name, report)
                    continue
                listed.append((name, stat, False))
                if stat.st_mode & _FORMAT == _DIRECTORY:
                    listed.append((name + b"/", stat, True))
    finally:
        os.close(at)


def _chosen(listed: _Listed, absolute: bytes, prefix: bytes, excludes: Excludes) -> _Listed:
    only = None
    if excludes.markers or excludes.caches:
        only = excludes.only_tag({name for name, _, _ in listed}, absolute)
    chosen = []
    for found in listed:
        name, stat, descend = found
        bare = name[:-1] if descend else name
        if only is not None and bare != only:
            continue
        directory = stat.st_mode & _FORMAT == _DIRECTORY
        if not excludes.leaves_out(prefix + bare, directory=directory) or (
            descend and excludes.enters(prefix + bare)
        ):
            chosen.append(found)
    return chosen
