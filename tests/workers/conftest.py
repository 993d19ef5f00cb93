"""What the tests of workers share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.flows import dispatch
from tests.workers.cluster import Cluster, cluster


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    with cluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small tree is work for several workers."""
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 25)
