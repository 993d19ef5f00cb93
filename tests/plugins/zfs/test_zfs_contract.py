"""Promise: the zfs plugin keeps the contract of discoverers, on a real ZFS (`make test-zfs`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.testing import DiscovererContract
from n2s_plugins.zfs.plugin import ZfsDiff
from tests.plugins.zfs.test_zfs_for_real import POOL, pool_in_a_file, pytestmark, release, zfs

__all__ = ["pool_in_a_file", "pytestmark"]


class TestZfs(DiscovererContract):
    wrong_options = ({"snapshot": "no name of a snapshot"}, {"feed": "rumours"})

    def discoverer(self) -> ZfsDiff:
        return ZfsDiff()

    @pytest.fixture
    def root(self, pool: Path, tmp_path: Path) -> Iterator[Path]:
        """A dataset of its own, which goes with its snapshots."""
        name = f"{POOL}/contract-{tmp_path.name}"
        zfs("create", name)
        yield pool / f"contract-{tmp_path.name}"
        for snapshot in zfs("list", "-Ht", "snapshot", "-d1", "-o", "name", name).split():
            release(snapshot)
        zfs("destroy", "-r", name)

    @pytest.fixture
    def wrong_root(self, root: Path) -> Path:
        """A directory that is no dataset."""
        folder = root / "folder"
        folder.mkdir()
        return folder
