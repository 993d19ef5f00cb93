"""Workers on other machines and a catalogue in PostgreSQL: with it they share contents too."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.flows import dispatch
from tests import catalogues
from tests.conftest import MakeDataset
from tests.stored import records
from tests.workers.cluster import Cluster, cluster, use
from tests.workers.test_dask_push import fill


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 25)
    with cluster(tmp_path / "cluster") as found:
        yield found


def test_workers_find_contents_that_are_stored_already(
    make_dataset: MakeDataset, made: Cluster
) -> None:
    dataset = make_dataset(share=True)
    (dataset.root / "first").mkdir()
    fill(dataset.root / "first", folders=4)
    use(dataset, made)
    made.worker(dataset.config, "--processes", "2")
    assert dataset.push().failures == []
    before = sum(records(dataset).values())
    shutil.copytree(
        dataset.root / "first",
        dataset.root / "second",
        symlinks=True,
        ignore=lambda _, names: [name for name in names if name in ("fifo", "sparse")],
    )
    outcome = dataset.push()
    assert (outcome.failures, outcome.notes) == ([], ())
    assert outcome.written > 100
    assert sum(records(dataset).values()) == before
    dataset.assert_restores()
    with catalogues.opened(dataset.address) as db:
        numbers = db.execute("SELECT count(*), count(DISTINCT object_no) FROM objects").fetchone()
    assert numbers[0] == numbers[1]
