"""The other names of files that got a new one.

Nothing is said of the old name when a file gets another, but its ctime and its number of links
change, and the two have to be stored as one file. Where the catalogue knows fewer names of a file
than it has, all that is stored is searched for its inode.
"""

import os
import stat as statlib
from collections.abc import Iterator

from n2s_core.model import Source
from n2s_core.relpath import RelPath

_HALF = 1 << 63


def other_names(
    source: Source, found: Iterator[os.stat_result], linked: set[int]
) -> Iterator[RelPath]:
    """Stored paths of those files of which some names may not be known; in any order.

    `linked` are inodes that had another name, which may be gone again.
    """
    unknown = {_signed(inode) for inode in linked}
    for stat in found:
        several = stat.st_nlink > 1 and not statlib.S_ISDIR(stat.st_mode)
        inode = _signed(stat.st_ino)
        if several and len(source.names_of(inode)) < stat.st_nlink:
            unknown.add(inode)
    if unknown:
        for _inode, path in source.search(unknown):
            yield path


def _signed(inode: int) -> int:
    """As the catalogue has it, in 64 bits with a sign."""
    return inode if inode < _HALF else inode - 2 * _HALF


def looked_at(root: bytes, changes: Iterator[tuple[RelPath, bool]]) -> Iterator[os.stat_result]:
    """What lies at the paths now, and below those with True.

    What is gone or may not be read is passed over: the core looks at each path itself and says so.
    """
    for path, subtree in changes:
        absolute = root + b"/" + path if path else root
        try:
            stat = os.lstat(absolute)
        except OSError:
            continue
        yield stat
        if subtree and statlib.S_ISDIR(stat.st_mode):
            yield from _below(absolute)


def _below(top: bytes) -> Iterator[os.stat_result]:
    stack = [top]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue
