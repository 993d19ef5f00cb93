"""Promise: the btrfs plugin keeps the contract of discoverers, on a real btrfs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.testing import DiscovererContract
from n2s_plugins.btrfs.plugin import Btrfs
from tests.plugins.btrfs.test_btrfs_for_real import btrfs, mounted_btrfs

__all__ = ["mounted_btrfs"]


class TestBtrfs(DiscovererContract):
    wrong_options = ({"since": "/somewhere"},)

    def discoverer(self) -> Btrfs:
        return Btrfs()

    @pytest.fixture
    def root(self, filesystem: Path, tmp_path: Path) -> Iterator[Path]:
        """A subvolume of its own, which goes with its snapshots."""
        root = filesystem / f"contract-{tmp_path.name}"
        btrfs("subvolume", "create", root)
        yield root
        for line in btrfs("subvolume", "list", "-o", root).splitlines():
            btrfs("subvolume", "delete", filesystem / line.partition(" path ")[2])
        btrfs("subvolume", "delete", root)

    @pytest.fixture
    def wrong_root(self, root: Path) -> Path:
        """A directory that is no subvolume."""
        folder = root.parent / f"{root.name}-folder"
        folder.mkdir()
        return folder
