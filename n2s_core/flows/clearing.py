"""What `pull --delete` takes away: paths of the target that the tree does not have."""

import os
import stat as statlib
from collections.abc import Callable, Iterator

from n2s_core.excludes import Excludes
from n2s_core.model import FileRow
from n2s_core.relpath import RelPath, split
from n2s_core.walking import walk
from n2s_core.writing import Target

OWN = Excludes(own_folder=b".n2s")
"""Where a dataset is prepared its configuration and catalogue lie; nobody wants them deleted."""


def others(
    target: bytes, top: RelPath, rows: Iterator[FileRow], report: Callable[[RelPath, str], None]
) -> Iterator[tuple[RelPath, bool]]:
    """Paths (and whether they are directories) that are not in `rows`, deepest first in each tree.

    Memory follows the depth, not the number of paths: a directory is given after its contents.
    """
    held: list[RelPath] = []
    row = next(rows, None)
    for change in walk(target, OWN, report, start=top):
        path, stat = change.path, change.stat
        while held and not path.startswith(held[-1] + b"/"):
            yield held.pop(), True
        while row is not None and row.path < path:
            row = next(rows, None)
        if not path or (row is not None and row.path == path):
            continue
        if stat is not None and statlib.S_ISDIR(stat.st_mode):
            held.append(path)
        else:
            yield path, False
    while held:
        yield held.pop(), True


def remove(target: Target, path: RelPath, *, directory: bool) -> None:
    """Remove one path. A directory that still has something in it stays. Raises OSError."""
    parent, name = split(path)
    target.forget()
    above = target.directory(parent, make=False)
    if directory:
        os.rmdir(name, dir_fd=above)
    else:
        os.unlink(name, dir_fd=above)
