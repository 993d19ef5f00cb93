#!/usr/bin/env python3
"""The tree of the demo: make it, change it, describe a tree in lines that diff can compare.

demo_tree.py make|change|describe ROOT      demo_tree.py damage STORE
"""

import hashlib
import os
import random
import stat
import sys
from collections.abc import Iterator

OWN = b".n2s"
BLOCK = 512
DIGEST = 16
LARGE = 20 << 20
HOLE = 64 << 20

ODD = (
    b"with space ",
    b" -rf",
    b"-dash",
    b"new\nline",
    b"quote\"'`$(true)",
    b"back\\slash",
    b"latin-1 caf\xe9",
    "composed é".encode(),
    "decomposed e\N{COMBINING ACUTE ACCENT}".encode(),
    "crab \N{CRAB}".encode(),
    b"x" * 255,
)


def write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def make(root: bytes) -> None:
    """A tree with most of what a filesystem can hold, the same each time."""
    chance = random.Random(2)  # noqa: S311 - a demo
    os.mkdir(root)
    os.chdir(root)
    for folder in (b"docs/deep/er", b"odd names", b"links", b"empty"):
        os.makedirs(folder)
    for number in range(200):
        write(
            b"docs/note %d.txt" % number, b"A line of note %d.\n" % number * chance.randrange(300)
        )
    write(b"docs/deep/er/none", b"")
    write(b"large.bin", chance.randbytes(LARGE))
    for name in ODD:
        try:
            write(b"odd names/" + name, b"content of " + name)
        except OSError as error:
            print(f"(this filesystem refuses the name {name!r}: {error.strerror})")
    write(b"links/one", b"three names, one file\n")
    os.link(b"links/one", b"links/two")
    os.link(b"links/one", b"docs/three")
    os.symlink(b"../docs/note 1.txt", b"links/good")
    os.symlink(b"/nowhere/at all", b"links/dangling")
    os.mkfifo(b"links/fifo", 0o640)
    with open(b"sparse.img", "wb") as file:
        file.truncate(HOLE)
        file.seek(HOLE // 2)
        file.write(b"an island in a hole")
    os.chmod(b"docs/note 3.txt", 0o400)
    os.chmod(b"docs/deep", stat.S_IRWXU | stat.S_ISVTX)
    os.utime(b"docs/note 4.txt", ns=(0, -1_234_567_890))
    try:
        os.setxattr(b"docs/note 5.txt", b"user.origin", b"demo\0\xff")
    except OSError as error:
        print(f"(this filesystem refuses extended attributes: {error.strerror})")


def change(root: bytes) -> None:
    """Edit, rename, delete, add."""
    os.chdir(root)
    write(b"docs/note 10.txt", b"edited\n")
    with open(b"large.bin", "r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"a few bytes in the middle of a large file")
    os.rename(b"docs/deep", b"docs/renamed")
    os.unlink(b"docs/note 11.txt")
    os.unlink(b"links/two")
    os.chmod(b"docs/note 12.txt", 0o600)
    os.unlink(b"links/good")
    os.mkdir(b"links/good")
    write(b"links/good/was a symlink", b"now in a directory\n")
    write(b"added", b"new\n")


def paths(root: bytes) -> Iterator[bytes]:
    yield b"."
    for folder, folders, files in os.walk(root):
        if folder == root and OWN in folders:
            folders.remove(OWN)
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), root)


def describe(root: bytes) -> None:
    """One line a path, in order: all that a restore must bring back, of any tree."""
    os.chdir(root)
    first: dict[tuple[int, int], bytes] = {}
    for path in sorted(paths(b".")):
        status = os.lstat(path)
        facts: list[object] = [
            repr(path)[1:], stat.filemode(status.st_mode), f"{status.st_uid}:{status.st_gid}",
            status.st_mtime_ns,
        ]  # fmt: skip
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()[:DIGEST]
            holes = status.st_blocks * BLOCK < status.st_size // 2
            facts += [status.st_size, digest, "holes" if holes else ""]
        if stat.S_ISLNK(status.st_mode):
            facts.append(f"-> {os.readlink(path)!r}")
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            same = first.setdefault((status.st_dev, status.st_ino), path)
            facts.append(f"linked with {same!r}")
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            facts.append(f"{name}={os.getxattr(path, name, follow_symlinks=False)!r}")
        print(*facts)


def damage(store: bytes) -> None:
    """Flip one bit in the middle of the first data object, and say which one it was."""
    found = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(os.path.join(store, b"data"))
        for name in names
    )
    with open(found[0], "r+b") as file:
        file.seek(os.path.getsize(found[0]) // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    print(os.fsdecode(os.path.relpath(found[0], store)))


def main() -> None:
    actions = {"make": make, "change": change, "describe": describe, "damage": damage}
    try:
        _, action, root = sys.argv
        run = actions[action]
    except (ValueError, KeyError):
        sys.exit(__doc__)
    run(os.path.abspath(os.fsencode(root)))


if __name__ == "__main__":
    main()
