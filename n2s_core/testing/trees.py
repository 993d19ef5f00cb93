"""How to describe a tree exactly, so that two can be compared."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 3500

Description = dict[bytes, tuple[object, ...]]


def describe(root: Path | bytes | str, *, ignore: frozenset[bytes] = frozenset()) -> Description:
    """Everything that a restore must bring back, by relative path (the root itself is b"").

    Hard links are the group of paths of an inode; holes count only as "has holes".
    """
    base = os.fsencode(root)
    groups: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, list[object]] = {}
    stack = [b""]
    while stack:
        path = stack.pop()
        with _reached(base, path) as reached:
            status = os.stat(reached, follow_symlinks=not path)
            found[path] = _facts(reached, status)
            if stat.S_ISDIR(status.st_mode):
                names = (path + b"/" + name if path else name for name in os.listdir(reached))
                stack.extend(name for name in names if name not in ignore)
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            groups.setdefault((status.st_dev, status.st_ino), []).append(path)
    for members in groups.values():
        if len(members) > 1:
            for path in members:
                found[path].append(("linked", *sorted(members)))
    return {path: tuple(facts) for path, facts in found.items()}


@contextmanager
def _reached(base: bytes, path: bytes) -> Iterator[bytes]:
    """A path of which the kernel takes the whole, however deep it is."""
    if len(base) + len(path) < LONGEST:
        yield base + b"/" + path if path else base
        return
    *above, name = path.split(b"/")
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            inside = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inside
        yield b"/proc/self/fd/%d/%s" % (folder, name)
    finally:
        os.close(folder)


def _facts(path: bytes, status: os.stat_result) -> list[object]:
    """Type, rights, owners, time, attributes, and of anything but a directory the content."""
    xattrs = tuple(
        sorted(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False)
        )
    )
    facts: list[object] = [
        stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
        status.st_mtime_ns, xattrs,
    ]  # fmt: skip
    return facts if stat.S_ISDIR(status.st_mode) else facts + _content(path, status)


def _content(path: bytes, status: os.stat_result) -> list[object]:
    """Of anything that is no directory."""
    if stat.S_ISREG(status.st_mode):
        return [status.st_size, _digest(path), _has_holes(path, status.st_size)]
    if stat.S_ISLNK(status.st_mode):
        return [os.readlink(path)]
    return [status.st_rdev]


def _digest(path: bytes) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            hasher.update(data)
    return hasher.digest()


def _has_holes(path: bytes, size: int) -> bool:
    """Asked of the filesystem; its count of blocks may include those of attributes."""
    if not size:
        return False
    with open(path, "rb") as file:
        return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size


def differences(left: Description, right: Description) -> list[str]:
    """What differs, in words; empty when the trees are the same."""
    found = [f"only left: {path!r}" for path in sorted(left.keys() - right.keys())]
    found += [f"only right: {path!r}" for path in sorted(right.keys() - left.keys())]
    found += [
        f"{path!r}: {left[path]} != {right[path]}"
        for path in sorted(left.keys() & right.keys())
        if left[path] != right[path]
    ]
    return found
