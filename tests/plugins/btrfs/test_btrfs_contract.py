"""Promise: the btrfs plugin keeps the contract of discoverers, on a real btrfs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.testing import DiscovererContract
from n2s_plugins.btrfs.plugin import Btrfs
from tests.btrfs import subvolume


class TestBtrfs(DiscovererContract):
    wrong_options = ({"since": "/somewhere"},)

    def discoverer(self) -> Btrfs:
        return Btrfs()

    @pytest.fixture
    def root(self, filesystem: Path, tmp_path: Path) -> Iterator[Path]:
        """A subvolume of its own, which goes with its snapshots."""
        with subvolume(filesystem, f"contract-{tmp_path.name}") as root:
            yield root

    @pytest.fixture
    def wrong_root(self, root: Path) -> Path:
        """A directory that is no subvolume."""
        folder = root.parent / f"{root.name}-folder"
        folder.mkdir()
        return folder
