"""The hooks, installed; and a btrfs for those that need one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.contrib.hooks import Hooks


@pytest.fixture
def hooks(tmp_path: Path) -> Hooks:
    made = Hooks(tmp_path / "installed")
    made.install()
    return made


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A mounted btrfs of one test, with whatever is in it."""
    if os.geteuid() != 0:
        missing("This test mounts a btrfs; run it as root.")
    if shutil.which("mkfs.btrfs") is None:
        missing("This test needs btrfs-progs.")
    image, folder = tmp_path / "image", tmp_path / "btrfs"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop", image, folder], check=False, capture_output=True, text=True
    )
    if done.returncode:
        missing(f"This test mounts a btrfs, which is not allowed here: {done.stderr}")
    yield folder
    subprocess.run(["umount", folder], check=True)
