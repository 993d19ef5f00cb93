"""Whether two machines see the same tree: a few paths are looked at by both.

Device numbers, mount points and roots differ between machines. What a file itself says does not:
inode number, times to the nanosecond, size, owner, attributes.
"""

import os
import stat as statlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from blake3 import blake3

from n2s_core.clock import SECOND_NS, now_ns
from n2s_core.errors import SourceError
from n2s_core.reading import (
    OPEN_DIRECTORY,
    Directories,
    Owners,
    describe,
    inode_number,
    is_gone,
    xattrs_of,
)
from n2s_core.relpath import RelPath, split

SETTLED_S = 60
"""After so long a network filesystem shows a change everywhere, with the usual mount options."""
MOST = 8
LISTED = 64


class Witness(NamedTuple):
    """What one machine sees of a path. `size_bytes` is 0 for a directory, where it means nothing.

    `settled`: it has not changed for so long that every machine must see it like this.
    """

    path: RelPath
    mode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    owner: tuple[str | None, str | None]
    attributes: bytes
    settled: bool


_WORDS = {
    "mode": "another mode",
    "size_bytes": "another size",
    "mtime_ns": "another mtime",
    "ctime_ns": "another ctime",
    "inode": "another inode number",
    "owner": "other names of its owner and group",
    "attributes": "other extended attributes",
}


class Difference(NamedTuple):
    """A witness that looks different here, and how, in words."""

    witness: Witness
    how: str


def seen(source: Directories, paths: Iterable[RelPath], most: int = MOST) -> list[Witness]:
    """The first `most` of the paths that are files or directories and can be opened."""
    found: list[Witness] = []
    owners = Owners()
    for path in paths:
        if len(found) == most:
            break
        one = _look(source, path, owners)
        if isinstance(one, Witness):
            found.append(one)
    return found


def spaced(paths: list[RelPath], most: int = MOST) -> list[RelPath]:
    """So many of the paths, evenly, with the first and the last."""
    if len(paths) <= most:
        return paths
    return [paths[at * (len(paths) - 1) // (most - 1)] for at in range(most)]


def anchors(root: bytes) -> list[RelPath]:
    """Some paths directly below the root, the same ones as long as they are there."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry, _ in zip(entries, range(LISTED), strict=False))
    return spaced(names)


def differing(source: Directories, witnesses: list[Witness]) -> list[Difference]:
    """The witnesses because of which this is another tree; none if it is the same.

    One that is exactly as it was seen elsewhere shows that the tree is the same. Others that
    changed a moment ago may have changed again, or show late; those that are settled may not.
    """
    owners = Owners()
    found = [Difference(one, how) for one in witnesses if (how := _how(source, one, owners))]
    if len(found) == len(witnesses):
        return found
    return [one for one in found if one.witness.settled]


def unchanged(source: Directories, differences: list[Difference]) -> Iterator[Difference]:
    """Those whose witness is still as it was; so somebody else looked at another path."""
    owners = Owners()
    return (one for one in differences if not _how(source, one.witness, owners))


def _how(source: Directories, witness: Witness, owners: Owners) -> str:
    here = _look(source, witness.path, owners)
    if isinstance(here, str):
        return here
    return next(
        (word for field, word in _WORDS.items() if getattr(here, field) != getattr(witness, field)),
        "",
    )


def _look(source: Directories, path: RelPath, owners: Owners) -> Witness | str:
    """What is seen now, or why nothing is. Opening a path makes a network filesystem ask again."""
    source.forget()
    try:
        stat = source.lstat(path)
        directory = statlib.S_ISDIR(stat.st_mode)
        if not directory and not statlib.S_ISREG(stat.st_mode):
            return "it is neither a file nor a directory"
        if directory:
            parent, name = split(path)
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=source.fd(parent))
        else:
            fd = source.open_file(path)
        try:
            stat = os.fstat(fd)
            attributes = blake3(repr(sorted(xattrs_of(fd).items())).encode()).digest()
        finally:
            os.close(fd)
    except OSError as error:
        return "it is not there" if is_gone(error) else describe(error)
    except SourceError as error:
        return str(error)
    return Witness(
        path=path,
        mode=stat.st_mode,
        size_bytes=0 if directory else stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=inode_number(stat),
        owner=(owners.user(stat.st_uid), owners.group(stat.st_gid)),
        attributes=attributes,
        settled=stat.st_ctime_ns < now_ns() - SETTLED_S * SECOND_NS,
    )
