"""Growing trees on a btrfs: a push of what changed between two snapshots, against restic."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES_PER_FILE = 12_000
ROOM = 3 << 30


def btrfs(*arguments: str | Path) -> None:
    """Run btrfs."""
    subprocess.run(["btrfs", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def mounted(scratch: Path, files: int) -> Iterator[Path]:
    """A btrfs on a loop device with room for so many small files. Needs root and btrfs-progs."""
    image, folder = scratch / "image", scratch / "btrfs"
    with image.open("wb") as file:
        file.truncate(ROOM + files * BYTES_PER_FILE)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, stderr=subprocess.DEVNULL)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()
        image.unlink()


@contextmanager
def shown_at(snapshot: Path, place: Path) -> Iterator[None]:
    """The snapshot at a path that is the same for all of them, as restic wants it."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", snapshot, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


class Changes:
    """Appends to the same number of files of a generated tree in each round."""

    def __init__(self, tree: Path, count: int) -> None:
        self._folders = sorted(path for path in tree.glob("*/*"))
        self._count = count

    def make(self, number: int) -> None:
        """`number` of the round, so that each changes other files."""
        step = max(1, len(self._folders) // self._count)
        for folder in self._folders[number % step :: step][: self._count]:
            names = sorted(os.listdir(folder))
            with open(folder / names[number % len(names)], "ab") as file:
                file.write(b"changed %d\n" % number)


def forget(folder: Path) -> None:
    """Remove what is left of a repository."""
    shutil.rmtree(folder, ignore_errors=True)
