"""A real btrfs for each module of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.btrfs import mounted


@pytest.fixture(scope="module")
def filesystem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where it is mounted."""
    with mounted(tmp_path_factory.mktemp("btrfs"), 1 << 30) as folder:
        yield folder
