"""The hooks, installed; and a btrfs for those that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.btrfs import mounted
from tests.contrib.hooks import Hooks


@pytest.fixture
def hooks(tmp_path: Path) -> Hooks:
    made = Hooks(tmp_path / "installed")
    made.install()
    return made


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A mounted btrfs of one test, with whatever is in it."""
    with mounted(tmp_path, 300 << 20) as folder:
        yield folder
