"""A btrfs of the tests alone, and subvolumes on it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing


@contextmanager
def mounted(base: Path, size: int) -> Iterator[Path]:
    """A new btrfs of `size` bytes on a loop device, mounted until the context ends.

    Its image and the folder where it is mounted are made in `base`.
    """
    if os.geteuid() != 0:
        missing("This test mounts a btrfs; run it as root.")
    if shutil.which("mkfs.btrfs") is None:
        missing("This test needs btrfs-progs.")
    image, folder = base / "image", base / "btrfs"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop", image, folder], check=False, capture_output=True, text=True
    )
    if done.returncode:
        missing(f"This test mounts a btrfs, which is not allowed here: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def btrfs(*arguments: str | Path) -> str:
    """What `btrfs ARGUMENTS` prints; a failure of the test when it fails."""
    command = ["btrfs", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def subvolume(filesystem: Path, name: str) -> Iterator[Path]:
    """A new subvolume, which goes at the end with those below it, its snapshots for instance."""
    root = filesystem / name
    btrfs("subvolume", "create", root)
    try:
        yield root
    finally:
        for line in btrfs("subvolume", "list", "-o", root).splitlines():
            btrfs("subvolume", "delete", filesystem / line.partition(" path ")[2])
        btrfs("subvolume", "delete", root)
