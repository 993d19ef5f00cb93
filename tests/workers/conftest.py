"""What the tests of workers share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.flows import dispatch
from tests.workers.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests; it may know workers of earlier ones for a moment."""
    with cluster(tmp_path_factory.mktemp("scheduler") / "cluster") as found:
        yield found


@pytest.fixture
def made(scheduler: Cluster) -> Iterator[Cluster]:
    """A scheduler without workers of this test."""
    yield scheduler
    scheduler.end_workers()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler for a test that kills it."""
    with cluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small tree is work for several workers."""
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 25)
