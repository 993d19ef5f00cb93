"""Promise: what only the store or only the catalogue has is found, and each is treated as it is.

What is whole and ours is known from then on; what is another's, or cannot be judged, is left
alone; what is not what its name says is named, and deleted only after a time, when it is asked for.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app import pruning
from n2s_core.errors import LeaseHeld, Unavailable
from n2s_core.flows.orphans import Judge
from n2s_core.model import LIVE
from n2s_core.orphans import Judgement
from n2s_core.packs import Keyring, Pack
from n2s_core.sealing import Kind, public_prelude, x25519_private
from tests import crashing
from tests.conftest import Dataset, MakeDataset, environment, quiet
from tests.several import Several, fill, make
from tests.trust.histories import History
from tests.trust.orphaned import (
    RECONCILE,
    crash,
    flip,
    grow,
    killed_push,
    known,
    later,
    node,
    orphans,
    pack_of,
    packed,
    public_of,
    put_object,
    quarantine,
    reconcile,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.seal_here(monkeypatch.setattr)


killed = pytest.fixture(name="killed")(killed_push)


# -- orphans that are ours -------------------------------------------------------------------------


def test_where_nothing_is_wrong_nothing_is_done(killed: Dataset) -> None:
    killed.push()
    reconcile(killed)
    objects, rows = killed.objects(), known(killed)
    found = reconcile(killed)
    assert found.exit_code == 0
    assert (found.done.adopted, found.done.read, found.phantoms) == (0, 0, {})
    assert (killed.objects(), known(killed)) == (objects, rows)


@pytest.mark.parametrize(
    "point",
    ["object-confirmed:2", "batch-sealed:2", "record-uncommitted:2", "store-put-renamed:4"],
)
def test_what_a_killed_push_left_is_adopted_and_a_prune_removes_it(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    dataset = make_dataset(pack_size=20_000)
    grow(dataset)
    crash(dataset, point)
    assert dataset.push().failures == []
    left = orphans(dataset)
    assert left
    rehearsed = reconcile(dataset, dry_run=True)
    assert orphans(dataset) == left
    found = reconcile(dataset)
    assert found.done.adopted == rehearsed.done.adopted == len(left)
    assert found.exit_code == 0
    assert orphans(dataset) == set()
    prune(dataset)
    assert set(dataset.objects("data")) >= left, "it may belong to a push of another machine"
    later(monkeypatch, 8)
    prune(dataset)
    assert set(dataset.objects("data")) & left == set()
    assert reconcile(dataset).exit_code == 0
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    assert dataset.verify().damaged == {}


def prune(dataset: Dataset) -> int:
    with dataset.space() as space:
        done = pruning.prune(space, grace_ns=0, dry_run=False, report=quiet).done
    return done.removed.objects


def test_an_adopted_object_counts_as_verified_and_has_a_number_of_its_own(killed: Dataset) -> None:
    left = orphans(killed)
    reconcile(killed)
    with killed.space() as space:
        rows = space.catalogue.db.all(
            "SELECT digest, object_no, verified_how, verified_ns FROM objects"
            " WHERE object_no < 0 AND shelf = 'data'"
        )
    assert {f"data/{row[0].hex()[:2]}/{row[0].hex()}" for row in rows} == left
    assert {row[2] for row in rows} == {"opened"}
    assert len({row[1] for row in rows}) == len(rows)
    killed.push()
    killed.assert_restores()


def test_numbers_of_adopted_objects_are_never_used_again(
    killed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbers() -> set[int]:
        with killed.space() as space:
            rows = space.catalogue.db.all("SELECT object_no FROM objects WHERE object_no < 0")
        return {row[0] for row in rows}

    reconcile(killed, "0h")
    first = numbers()
    killed.push()
    later(monkeypatch, 1)
    assert prune(killed) >= len(first)
    grow(killed, 2)
    crash(killed, "record-uncommitted")
    reconcile(killed, "0h")
    assert numbers()
    assert not numbers() & first


def test_with_share_the_next_push_points_to_adopted_contents(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(pack_size=20_000, share=True)
    grow(dataset)
    crash(dataset, "record-uncommitted")
    left = orphans(dataset)
    found = reconcile(dataset)
    assert found.done.contents > 0
    with dataset.space() as space:
        (adopted,) = (
            space.catalogue.db.one("SELECT count(*) FROM objects WHERE object_no < 0") or ()
        )
    assert adopted == len(left)
    done = dataset.push()
    assert done.failures == []
    assert prune(dataset) == 0
    with dataset.space() as space:
        rows = space.catalogue.db.all(
            "SELECT content FROM files WHERE valid_to = ? AND content IS NOT NULL", (LIVE,)
        )
    assert rows, "nothing was shared"
    reconcile(dataset)
    dataset.assert_restores(
        dataset.pull(), dataset.recover_py(), dataset.recover_py("--records-alone")
    )
    dataset.rebuild_from_store()
    dataset.assert_restores()


def test_what_is_shared_is_kept_by_a_prune_long_after(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(pack_size=20_000, share=True)
    grow(dataset)
    crash(dataset, "record-uncommitted")
    reconcile(dataset)
    dataset.push()
    later(monkeypatch, 100)
    prune(dataset)
    prune(dataset)
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_content_that_is_not_what_its_record_says_is_not_shared(
    make_dataset: MakeDataset,
) -> None:
    """Who has a push credential can seal a lie, and must not get it into the place of a file."""
    dataset = make_dataset(share=True)
    (dataset.root / "first").write_bytes(b"first")
    dataset.push()
    pack = pack_of(dataset, Pack(*public_prelude(public_of(dataset))))
    wanted = b"the right content" * 10
    pack.add(Kind.BLOB, node(b"file", wanted), b"another content " * 10)
    put_object(dataset, packed(pack))
    found = reconcile(dataset)
    assert (found.done.adopted, found.done.contents) == (1, 0)
    (dataset.root / "file").write_bytes(wanted)
    dataset.push()
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_after_a_rebuild_orphans_are_adopted_and_others_are_no_objects_of_ours(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset("mine", pack_size=20_000)
    other = make_dataset("other", store=dataset.store, pack_size=20_000)
    for one in (dataset, other):
        grow(one)
        one.push()
    grow(dataset, 1)
    crash(dataset, "record-uncommitted")
    dataset.rebuild_from_store()
    left = known(dataset, "AND changeset_no <= 0") - known(other)
    assert len(left) > 1
    assert reconcile(dataset, dry_run=True).done.adopted == len(left)
    found = reconcile(dataset)
    assert (found.done.adopted, found.exit_code) == (len(left), 0)
    assert found.done.strangers >= len(known(other))
    assert known(dataset) & known(other) == set()
    dataset.push()
    later(monkeypatch, 8)
    prune(dataset)
    assert set(dataset.objects("data")) & left == set()
    dataset.assert_restores()
    other.assert_restores()


# -- others ----------------------------------------------------------------------------------------


def test_objects_of_another_dataset_are_left_alone_and_read_once(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_dataset("mine", pack_size=20_000)
    theirs = make_dataset("theirs", store=mine.store, pack_size=20_000)
    for one in (mine, theirs):
        grow(one)
        one.push()
    count = len(known(theirs))
    first = reconcile(mine)
    assert (first.exit_code, first.done.adopted, first.done.quarantined) == (0, 0, 0)
    assert first.done.strangers >= count
    second = reconcile(mine)
    assert (second.done.strangers, second.done.read) == (first.done.strangers, 0)
    for path in theirs.objects("data").values():
        if path.name in "".join(known(theirs)):
            flip(path)
    mine.rebuild_from_store()
    reconcile(mine, "0h", delete=True)
    later(monkeypatch, 9)
    before = set(mine.objects())
    assert reconcile(mine, delete=True).done.deleted == 0
    assert set(mine.objects()) == before


def test_what_this_key_cannot_judge_is_left_alone(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(b"content")
    dataset.push()
    alien = x25519_private(os.urandom(32)).public_key().public_bytes_raw()
    strange = [
        packed(pack_of(dataset, Pack(*public_prelude(alien)))),
        packed(pack_of(dataset, Keyring(os.urandom(32)).begin())),
        packed(Keyring(dataset.master_key()).begin()),
        packed(pack_of(dataset, Keyring(dataset.master_key()).begin(), time_ns=(1 << 64) - 1)),
        packed(pack_of(dataset, Keyring(dataset.master_key()).begin(), time_ns=-1)),
    ]
    paths = [put_object(dataset, data) for data in strange]
    found = reconcile(dataset, "0h", delete=True)
    assert (found.done.unjudged, found.exit_code) == (len(paths), 0)
    assert reconcile(dataset, "0h", delete=True).done.deleted == 0
    assert all(path.exists() for path in paths)


def test_an_object_of_a_write_only_client_is_adopted(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(b"content")
    dataset.push()
    put_object(dataset, packed(pack_of(dataset, Pack(*public_prelude(public_of(dataset))))))
    assert reconcile(dataset).done.adopted == 1


def test_when_the_store_knows_more_changesets_nothing_is_adopted_or_deleted(
    killed: Dataset,
) -> None:
    """A second catalogue of the dataset pushed."""
    second = Dataset(
        base=killed.base, root=killed.root, store=killed.store,
        config=killed.base / "second" / "config.toml", pack_size=20_000,
    )  # fmt: skip
    second.init()
    second.push()
    put_object(killed, b"junk")
    objects, rows = set(killed.objects()), known(killed)
    for _ in range(2):
        found = reconcile(killed, "0h", delete=True)
        assert (found.exit_code, found.done.adopted, found.done.deleted) == (3, 0, 0)
        assert len(found.unknown) == 1
        assert "rebuild" in found.advice
    assert (set(killed.objects()), known(killed)) == (objects, rows)
    killed.rebuild_from_store()
    assert reconcile(killed).unknown == ()
    killed.assert_restores()


def test_what_a_killed_prune_was_about_to_remove_is_not_adopted(make_dataset: MakeDataset) -> None:
    history = History(make_dataset(pack_size=20_000))
    history.grow(1, 3)
    forgotten = history.ids[:2]
    history.forget(forgotten)
    history.drop(forgotten)
    history.start_prune("prune-doomed").communicate()
    left = orphans(history.dataset)
    assert left
    assert reconcile(history.dataset).done.adopted == 0
    assert history.prune().done.removed.objects == len(left)
    history.assert_whole()
    assert reconcile(history.dataset).exit_code == 0


# -- beside others, and killed ---------------------------------------------------------------------


def test_nobody_else_is_at_work_meanwhile(killed: Dataset) -> None:
    with killed.space() as space:
        lease = space.catalogue.leases.acquire(space.dataset.dataset_no)
        with pytest.raises(LeaseHeld):
            reconcile(killed)
        space.catalogue.leases.release(lease)
        space.catalogue.pruning.acquire()
        with pytest.raises(LeaseHeld):
            reconcile(killed)
        space.catalogue.pruning.release()
    assert reconcile(killed).done.adopted > 0


@pytest.mark.parametrize("point", ["orphan-judged:2", "orphans-adopted", "quarantined-deleted"])
def test_a_reconcile_that_is_killed_is_gone_on_with(killed: Dataset, point: str) -> None:
    put_object(killed, b"junk")
    reconcile_now = [sys.executable, "-c", RECONCILE, str(killed.config)]
    if point == "quarantined-deleted":
        assert reconcile(killed, "0h").done.quarantined == 1
    done = subprocess.run(reconcile_now, env=environment(N2S_CRASH_AT=point), check=False)
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached"
    left = orphans(killed)
    found = reconcile(killed, "0h", delete=True)
    assert orphans(killed) <= set(quarantine(killed))
    assert found.done.adopted == len(left - set(quarantine(killed)) - set(found.done.deleted_names))
    reconcile(killed, "0h", delete=True)
    assert orphans(killed) == set()
    assert reconcile(killed).exit_code == 0
    killed.push()
    killed.assert_restores(killed.pull(), killed.recover_py())


def test_what_was_read_before_the_store_went_away_is_not_read_again(
    killed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = orphans(killed)
    real, calls = Judge.judge, iter(range(100))

    def once(self: Judge, *about: Any) -> Judgement:
        if next(calls):
            message = "It is away."
            raise Unavailable(message)
        return real(self, *about)

    monkeypatch.setattr(Judge, "judge", once)
    with pytest.raises(Unavailable):
        reconcile(killed)
    assert len(orphans(killed)) == len(left) - 1
    monkeypatch.setattr(Judge, "judge", real)
    assert reconcile(killed).done.adopted == len(left) - 1


# -- several remotes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "count"),
    [
        ('mode = "mirror"', 2),
        ('mode = "erasure"\nminimal_shards = 2\nexpected_shards = 4\nminimum = 2', 4),
    ],
)
def test_orphans_on_several_remotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, count: int
) -> None:
    dataset: Several = make(tmp_path / "several", head, count)
    dataset.push()
    fill(dataset.root, 2)
    crash(dataset, "record-uncommitted")
    assert dataset.push().failures == []
    found = reconcile(dataset)
    assert (found.exit_code, found.phantoms) == (0, {})
    assert found.done.adopted > 0
    later(monkeypatch, 8)
    assert prune(dataset) >= found.done.adopted
    dataset.assert_restores()
    assert reconcile(dataset).done.read == 0
