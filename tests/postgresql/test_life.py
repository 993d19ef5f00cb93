"""Promise: everything that is done with a catalogue in a file is done with one in PostgreSQL."""

import os
import signal

import pytest

from n2s_core.app import repairing
from tests import crashing
from tests.conftest import Dataset, MakeDataset, quiet
from tests.postgresql.rows import paths_of
from tests.stopping import rows
from tests.stored import confirmed, records, start
from tests.trust.histories import History
from tests.trust.orphaned import ODD, crash, grow, orphans, reconcile

POINTS = ["record-uncommitted:2", "finish-uncommitted"]


def test_a_catalogue_has_the_same_rows_in_postgresql_as_in_a_file(
    make_dataset: MakeDataset, dataset: Dataset
) -> None:
    """But for what is of one push, and of one key; and for doubts, which depend on the moment."""
    twin = Dataset(dataset.base / "twin", dataset.root, dataset.base / "twin" / "store",
                   dataset.base / "twin" / "config" / "config.toml")  # fmt: skip
    twin.init()
    grow(dataset)
    for step in range(2):
        for one in (dataset, twin):
            assert one.push().failures == []
        (dataset.root / f"file-0-{step}").unlink()
        (dataset.root / f"file-0-{step + 5}").write_bytes(b"changed")
    assert paths_of(dataset) == paths_of(twin)
    ours, theirs = rows(dataset), rows(twin)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"properties", "files", "segments", "doubted"}:
        assert len(ours[name]) == len(theirs[name]), name


def test_pushes_forgets_prunes_repacks_and_rebuilds_restore_what_is_kept(
    make_dataset: MakeDataset,
) -> None:
    history = History(make_dataset("old", pack_size=20_000))
    history.grow(1, 4)
    gone = history.ids[:2]
    history.forget(gone)
    history.drop(gone)
    done = history.prune().done
    assert done.removed.objects > 0
    history.assert_whole()
    history.assert_gone(gone)
    history.grow(2, 1)
    history.assert_recovers()


def test_what_is_damaged_is_found_repaired_or_stored_again(make_dataset: MakeDataset) -> None:
    dataset = make_dataset("hurt", pack_size=20_000)
    grow(dataset)
    dataset.push()
    objects = list(dataset.objects("data").values())
    objects[0].unlink()
    objects[1].write_bytes(objects[1].read_bytes()[:-40])
    with dataset.space() as space:
        answer = repairing.repair(space, percent=100, dry_run=False, report=quiet)
    assert len(answer.healed) == 2
    found = dataset.verify()
    assert (found.missing, found.damaged) == ({}, {})
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_push_is_gone_on_with_and_nothing_is_stored_twice(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    dataset = make_dataset("killed", pack_size=20_000)
    grow(dataset)
    process = start(dataset, "here", point)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = confirmed(dataset)
    crashing.make_small(monkeypatch.setattr)
    assert dataset.push().failures == []
    assert all(count == 1 for one, count in records(dataset).items() if one in before)
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    assert dataset.push().changeset_id is None


def test_what_a_killed_push_left_is_adopted(make_dataset: MakeDataset) -> None:
    dataset = make_dataset("killed", pack_size=20_000)
    grow(dataset)
    dataset.push()
    grow(dataset, 1)
    crash(dataset, "batch-sealed:2")
    assert orphans(dataset)
    assert reconcile(dataset).exit_code == 0
    assert not orphans(dataset)
    assert dataset.push().failures == []
    assert os.path.exists(os.fsencode(dataset.pull()) + b"/" + ODD)
