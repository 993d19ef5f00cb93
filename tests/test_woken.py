"""A process that stood still past its lease, and wakes when another has done its work."""

import random
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from n2s_core.catalogue import database_sqlite as databases
from n2s_core.catalogue.losses import CHECKPOINT_IS_DUE
from n2s_core.errors import CatalogueBusy
from tests import crashing
from tests.conftest import Dataset
from tests.stopping import Standing, database, let_the_lease_expire, rows

TOO_LATE = "took over the lease|was replaced or removed"
POINTS = [
    "changeset-begun", "store-put-written:1", "store-put-renamed:2", "object-confirmed:2",
    "batch-sealed:2", "batch-recorded:1", "batch-recorded:3", "batches-done", "entries-stored",
    "head-sealed", "head-stored",
]  # fmt: skip
IN_A_TRANSACTION = ["record-uncommitted:2", "finish-uncommitted"]
Take = Callable[[Dataset], None]


@pytest.fixture
def small(make_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Many objects and batches, in this process as in those that are stopped."""
    crashing.seal_here(monkeypatch.setattr)
    dataset: Dataset = make_dataset(pack_size=20_000)
    fill(dataset, 1)
    assert dataset.push().failures == []
    return dataset


def fill(dataset: Dataset, seed: int) -> None:
    folder = dataset.root / f"folder-{seed}"
    folder.mkdir()
    for number in range(50):
        data = random.Random(seed * 100 + number).randbytes(1500)
        (folder / f"file-{number}").write_bytes(data)
    (folder / "large").write_bytes(random.Random(seed).randbytes(200_000))


def take_over(dataset: Dataset) -> None:
    """What another process does meanwhile: the tree has changed again, and is pushed."""
    fill(dataset, 3)
    shutil.rmtree(dataset.root / "folder-1")
    assert dataset.push().failures == []


def rebuild_first(dataset: Dataset) -> None:
    """The same after the catalogue was made anew."""
    assert dataset.rebuild().problems == ()
    take_over(dataset)


def lose_the_catalogue(dataset: Dataset) -> None:
    """The same when nobody knows any more what the one that stands still had begun."""
    dataset.rebuild_from_store()
    take_over(dataset)


def assert_nothing_is_damaged(dataset: Dataset) -> None:
    """The present and the past are what they were, for every reader, and pushes go on."""
    tip = dataset.changesets()[0].changeset_id
    assert dataset.push().changeset_id is None
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    dataset.rebuild_from_store()
    found = dataset.changesets()
    assert found[0].changeset_id == tip
    assert [one.number for one in found] == list(range(len(found), 0, -1))
    dataset.assert_restores()
    findings = dataset.verify()
    assert (findings.missing, findings.damaged) == ({}, {})
    assert (dataset.push().changeset_id, dataset.push().objects_stored) == (None, 0)


@pytest.mark.parametrize(
    ("point", "take"),
    [(point, take_over) for point in POINTS]
    + [(point, take) for point in POINTS[-2:] for take in (rebuild_first, lose_the_catalogue)],
)
def test_a_push_that_wakes_too_late_writes_no_row_and_no_head(
    small: Dataset, point: str, take: Take
) -> None:
    fill(small, 2)
    with database(small) as db:
        db.execute("UPDATE datasets SET changesets_since_checkpoint = ?", (CHECKPOINT_IS_DUE,))
    with Standing(small, point) as first:
        let_the_lease_expire(small)
        take(small)
        before, heads = rows(small), small.objects("changesets")
        code, said = first.wake()
        assert code != 0
        assert re.search(TOO_LATE, said)
    assert rows(small) == before
    assert small.objects("changesets") == heads
    assert_nothing_is_damaged(small)


@pytest.mark.parametrize(
    ("point", "take"),
    [
        ("store-put-written", take_over),
        ("store-put-written", rebuild_first),
        ("store-put-renamed", take_over),
        ("store-put-renamed", lose_the_catalogue),
    ],
)
def test_a_push_that_wakes_while_it_puts_its_head_does_not_make_it_the_tip(
    small: Dataset, point: str, take: Take
) -> None:
    """No store can be told to take it only if nobody was faster, so it must not matter."""
    (small.root / "one more").write_bytes(b"x")
    with Standing(small, f"{point}:2") as first:  # a data object, then the head
        with database(small) as db:
            assert db.execute("SELECT count(*) FROM changesets WHERE status = 'sealed'").fetchone()[
                0
            ]
        let_the_lease_expire(small)
        take(small)
        before = rows(small)
        assert first.wake()[0] != 0
    assert rows(small) == before
    assert_nothing_is_damaged(small)


def test_a_head_that_comes_when_its_catalogue_is_gone_is_a_side_line_and_said(
    small: Dataset,
) -> None:
    """Nobody could know of it, and no store could be asked to refuse it."""
    (small.root / "one more").write_bytes(b"x")
    with Standing(small, "store-put-written:2") as first:
        lose_the_catalogue(small)
        before = rows(small)
        tip = small.changesets()[0].changeset_id
        assert first.wake()[0] != 0
    assert rows(small) == before
    small.assert_restores(small.pull(), small.recover_py())
    small.forget_catalogue()
    (problem,) = small.rebuild().problems
    assert "is a side line" in problem
    assert small.changesets()[0].changeset_id == tip
    small.assert_restores()
    assert small.push().changeset_id is None


@pytest.mark.parametrize("point", IN_A_TRANSACTION)
def test_who_stands_still_in_a_transaction_keeps_others_out_until_it_wakes(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, on_sqlite: None, point: str
) -> None:
    fill(small, 2)
    with Standing(small, point) as first:
        with monkeypatch.context() as patch:
            patch.setattr(databases, "BUSY_S", 0)
            with pytest.raises(CatalogueBusy, match="Another program holds it"):
                small.push()
            with pytest.raises(CatalogueBusy, match="Another program holds it"):
                small.rebuild()
        assert first.wake() == (0, "")
    assert_nothing_is_damaged(small)


@pytest.mark.on_both
def test_a_rebuild_that_wakes_too_late_does_not_replace_what_was_pushed_meanwhile(
    small: Dataset,
) -> None:
    with Standing(small, "rebuild-made", "rebuild") as first:
        let_the_lease_expire(small)
        take_over(small)
        before = rows(small)
        del before["leases"]
        code, said = first.wake()
        assert code != 0
        assert re.search(TOO_LATE, said)
    assert rows(small).items() >= before.items()
    assert_nothing_is_damaged(small)
