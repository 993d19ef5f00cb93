"""Lines of `zfs diff -FHt`, and the paths to look at because of them.

One line per change: `ctime TAB change TAB kind TAB path [TAB new path or link count]`. A line is
believed to name something worth a look, and nothing else: a `-` may be of a file that is still
there, and which of several names of a file is printed is chance. Whatever cannot be read to the
last byte raises DiscoveryError, because then nobody knows what else the feed lacks.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind
from n2s_core.relpath import RelPath, ancestors, is_safe, show, split

LONGEST_PATH = 4095
"""Bytes of a path from the slash of the root on; zfs diff cuts longer ones off, silently."""
XATTR_DIRECTORY = b"<xattrdir>"
DELETE_QUEUE = b"(on_delete_queue)"

_LINE = re.compile(rb" *-?\d+\.\d{9}\t([-+MR])\t([F/@|=BC])\t([^\t]+)(?:\t([^\t]+))?\n")
_LINKS = re.compile(rb"\(([-+]\d+)\)")
_NAME = re.compile(rb"(?:[!-\[\]-~]|\\0[0-3][0-7][0-7])+")
_ESCAPE = re.compile(rb"\\0([0-3][0-7][0-7])")
_UNESCAPED = frozenset(range(0x21, 0x7F)) - {0x5C}
_SHOWN = 200


class Line(NamedTuple):
    """One change. Paths are absolute; `new_path` is that of `R`, `links` the count of `M`."""

    change: bytes
    kind: bytes
    path: bytes
    new_path: bytes | None
    links: int


def unescape(name: bytes) -> bytes:
    """The bytes that `zfs diff` without -h wrote as printable ASCII. Raises DiscoveryError."""
    if _NAME.fullmatch(name) is None:
        message = f"zfs diff printed a path that is not escaped as it should be: {_excerpt(name)}"
        raise DiscoveryError(message)
    return _ESCAPE.sub(_byte, name)


def _byte(match: re.Match[bytes]) -> bytes:
    value = int(match[1], 8)
    if value == 0 or value in _UNESCAPED:
        message = f"zfs diff escaped a byte that cannot need it: {_excerpt(match[0])}"
        raise DiscoveryError(message)
    return bytes([value])


def parse(line: bytes) -> Line:
    """One line with its newline. Raises DiscoveryError."""
    match = _LINE.fullmatch(line)
    if match is None:
        message = f"zfs diff printed a line that nobody understands: {_excerpt(line)}"
        raise DiscoveryError(message)
    change, kind, path, last = match.groups()
    new_path, links = None, 0
    if change == b"R":
        if last is None:
            message = f"zfs diff renamed something to nowhere: {_excerpt(line)}"
            raise DiscoveryError(message)
        new_path = unescape(last)
    elif last is not None:
        count = _LINKS.fullmatch(last) if change == b"M" else None
        if count is None:
            message = f"zfs diff printed a field too many: {_excerpt(line)}"
            raise DiscoveryError(message)
        links = int(count[1])
    return Line(change, kind, unescape(path), new_path, links)


def relative(path: bytes, mountpoint: bytes) -> RelPath | None:
    """The path in the dataset; None for what is on the delete queue and so has none.

    Raises DiscoveryError for a path that lies elsewhere or may have been cut off.
    """
    prefix = b"" if mountpoint == b"/" else mountpoint
    if path == prefix + DELETE_QUEUE:
        return None
    inside = path[len(prefix) + 1 :]
    if not path.startswith(prefix + b"/") or not is_safe(inside):
        message = f"zfs diff named {show(path)}, which does not lie below {show(mountpoint)}."
        raise DiscoveryError(message)
    if len(inside) + 1 >= LONGEST_PATH:
        message = (
            f"zfs diff named a path of {LONGEST_PATH} bytes or more, which it cuts off:"
            f" {_excerpt(inside)}"
        )
        raise DiscoveryError(message)
    return inside


def hints(lines: Iterable[bytes], mountpoint: bytes) -> Iterator[Change]:
    """What to look at, for each line in turn. Raises DiscoveryError."""
    for text in lines:
        line = parse(text)
        moved = line.change == b"R" and line.kind == b"/"
        kind = ChangeKind.SUBTREE_WRITTEN if moved else ChangeKind.WRITTEN
        yield from _looks(relative(line.path, mountpoint), kind)
        if line.new_path is not None:
            yield from _looks(relative(line.new_path, mountpoint), kind)


def _looks(path: RelPath | None, kind: ChangeKind) -> Iterator[Change]:
    """The path, and whose extended attributes it may be: a real file can have that name too."""
    if path is None:
        return
    yield Change(path, kind)
    if XATTR_DIRECTORY not in path:
        return
    for place in (*ancestors(path), path):
        owner, name = split(place)
        if place and name == XATTR_DIRECTORY:
            yield Change(owner)


def _excerpt(text: bytes) -> str:
    return repr(text[:_SHOWN])[1:] + ("" if len(text) <= _SHOWN else "...")
