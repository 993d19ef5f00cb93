"""Paths as bytes, relative to the root of a dataset.

A relative path is components joined by b"/"; b"" is the root itself. The order is plain byte
order, the same as `ORDER BY path` of a database, so a walk and a table can be merged.
"""

from typing import NamedTuple

from n2s_core.errors import UsageError

RelPath = bytes
ROOT = b""
LONGEST_NAME = 255
LONGEST_PATH = 1 << 20
_EXCERPT = 200
_BAD = frozenset({b"", b".", b".."})


def is_safe(path: bytes) -> bool:
    """Whether `path` names something at or below the root and nothing else."""
    if not path:
        return True
    return b"\0" not in path and _BAD.isdisjoint(path.split(b"/"))


def parse(path: bytes, *, root: bytes) -> RelPath:
    """The relative path of what a user or a tool wrote: relative to `root` or absolute below it.

    Raises UsageError for a path outside of the root.
    """
    absolute = path.startswith(b"/")
    if absolute:
        if path != root and not path.startswith(root.rstrip(b"/") + b"/"):
            message = f"{show(path)} does not lie below the root {show(root)}."
            raise UsageError(message)
        path = path[len(root.rstrip(b"/")) :]
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in path:
        message = f"{show(path)} leaves the root; write it without '..'."
        raise UsageError(message)
    return b"/".join(parts)


def join(parent: RelPath, name: bytes) -> RelPath:
    """The path of `name` in the directory `parent`."""
    return parent + b"/" + name if parent else name


def split(path: RelPath) -> tuple[RelPath, bytes]:
    """Parent directory and last component; the root has neither."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def ancestors(path: RelPath) -> list[RelPath]:
    """The directories above `path`, from the root downwards; none for the root."""
    if not path:
        return []
    found = [ROOT]
    at = path.find(b"/")
    while at >= 0:
        found.append(path[:at])
        at = path.find(b"/", at + 1)
    return found


class Span(NamedTuple):
    """The paths from `low` on that come before `high` in byte order; None: to the end."""

    low: RelPath
    high: RelPath | None


EVERYTHING = Span(ROOT, None)


def below(path: RelPath) -> Span:
    """The range [first, last) of all paths strictly below the directory `path`.

    None as last means that there is no upper end (everything below the root).
    """
    if not path:
        return Span(b"\x01", None)
    return Span(path + b"/", path + b"0")


def is_below(path: RelPath, directory: RelPath) -> bool:
    """Whether `path` lies strictly below `directory`."""
    return path.startswith(directory + b"/") if directory else bool(path)


def show(path: bytes) -> str:
    """For people: UTF-8 as it is, everything else and control characters escaped."""
    text = path.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else char.encode("utf-8", "surrogateescape")
        .decode("latin-1")
        .encode("unicode_escape")
        .decode("ascii")
        for char in text
    )


def excerpt(path: object) -> str:
    """The beginning of what should be a path, for messages about paths that are not right."""
    if not isinstance(path, bytes):
        return f"something of type {type(path).__name__}"
    return show(path[:_EXCERPT]) + ("..." if len(path) > _EXCERPT else "")
