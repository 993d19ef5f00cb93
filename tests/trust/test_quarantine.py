"""Promise: what a reconcile does not adopt is kept aside and named; nothing goes too early."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.packs import Keyring
from n2s_core.sealing import Kind
from tests import crashing
from tests.conftest import Dataset, MakeDataset
from tests.trust.orphaned import (
    ODD,
    flip,
    grow,
    killed_push,
    known,
    later,
    node,
    orphans,
    packed,
    put_object,
    quarantine,
    reconcile,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.seal_here(monkeypatch.setattr)


killed = pytest.fixture(name="killed")(killed_push)


# -- quarantine ------------------------------------------------------------------------------------

HARMS: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: os.truncate(path, 0),
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 7),
    "flipped": flip,
    "replaced": lambda path: path.write_bytes(b"something else"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_orphan_is_quarantined_and_deleted_when_that_was_long_ago(
    killed: Dataset, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    victim, *others = sorted(orphans(killed))
    path = killed.store / victim
    path.chmod(0o600)
    HARMS[harm](path)
    rehearsed = reconcile(killed, dry_run=True)
    assert ([one.name for one in rehearsed.done.names], quarantine(killed)) == ([victim], [])
    found = reconcile(killed, delete=True)
    assert [one.name for one in found.done.names] == [victim]
    assert (found.exit_code, found.done.adopted) == (3, len(others))
    assert path.exists()
    later(monkeypatch, 6)
    assert reconcile(killed, delete=True).done.deleted == 0
    later(monkeypatch, 8)
    assert reconcile(killed).done.quarantined == 1
    assert reconcile(killed, delete=True, dry_run=True).done.deleted_names == [victim]
    assert path.exists()
    assert reconcile(killed, delete=True).done.deleted_names == [victim]
    assert not path.exists()
    assert quarantine(killed) == []
    assert reconcile(killed).exit_code == 0
    killed.push()
    killed.assert_restores()


def test_what_becomes_whole_again_is_adopted_and_not_deleted(
    killed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy was half written when it was seen first."""
    victim = killed.store / min(orphans(killed))
    data = victim.read_bytes()
    victim.chmod(0o600)
    victim.write_bytes(data[: len(data) // 2])
    assert reconcile(killed).done.quarantined == 1
    victim.write_bytes(data)
    later(monkeypatch, 8)
    found = reconcile(killed, delete=True)
    assert (found.done.deleted, found.done.adopted, found.exit_code) == (0, 1, 0)
    assert quarantine(killed) == []
    assert victim.read_bytes() == data


def test_what_is_gone_is_forgotten(killed: Dataset) -> None:
    path = put_object(killed, b"junk")
    assert reconcile(killed).done.quarantined == 1
    path.unlink()
    assert reconcile(killed).exit_code == 0
    assert quarantine(killed) == []


def test_damaged_ones_in_which_anything_opens_that_may_be_anothers_stay(
    make_dataset: MakeDataset,
) -> None:
    mine = make_dataset("mine")
    theirs = make_dataset("theirs", store=mine.store)
    for one in (mine, theirs):
        (one.root / "file").write_bytes(os.urandom(5000))
        (one.root / "other").write_bytes(os.urandom(5000))
        one.push()
    pack = Keyring(mine.master_key()).begin()
    pack.add(Kind.BLOB, node(b"file", b"content"), b"content")
    unsaid = put_object(mine, packed(pack) + b"more", name="ab" * 32)
    for _ in range(2):
        found = reconcile(mine, "0h", delete=True)
        assert [one.name for one in found.done.names] == [f"data/ab/{'ab' * 32}"]
        assert found.done.deleted == 0
    heads = theirs.objects("changesets").values()
    (head,) = [one for one in heads if one.name not in head_names(mine)]
    mine.rebuild_from_store()
    head.chmod(0o600)
    data = head.read_bytes()
    head.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    for _ in range(2):
        found = reconcile(mine, "0h", delete=True)
        assert f"changesets/{head.name}" in [one.name for one in found.done.names]
        assert found.unknown == (f"changesets/{head.name}",)
        assert found.done.deleted == 0
    assert unsaid.exists()
    assert head.exists()


def head_names(dataset: Dataset) -> set[str]:
    return {(one.head_digest or b"").hex() for one in dataset.changesets()}


def test_names_that_are_no_objects_are_not_touched(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(b"content")
    dataset.push()
    folder = os.fsencode(dataset.store)
    os.makedirs(folder + b"/data/ab", exist_ok=True)
    names = [
        b"/" + ODD, b"/data/" + ODD, b"/data/ab/" + ODD, b"/data/ab/.tmp-1", b"/keys/" + ODD,
        b"/data/ab/" + b"cd" * 32, b"/data/ab/" + b"AB" * 32, b"/changesets/" + ODD,
    ]  # fmt: skip
    for name in names:
        Path(os.fsdecode(folder + name)).write_bytes(b"no object")
    found = reconcile(dataset, "0h", delete=True)
    assert (found.exit_code, found.done.quarantined, found.done.read) == (0, 0, 0)
    reconcile(dataset, "0h", delete=True)
    assert all(os.path.exists(folder + name) for name in names)


def test_a_damaged_object_that_a_rebuild_listed_is_quarantined_too(
    killed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = min(orphans(killed))
    (killed.store / victim).chmod(0o600)
    (killed.store / victim).write_bytes(b"junk")
    killed.rebuild_from_store()
    found = reconcile(killed)
    assert [one.name for one in found.done.names] == [victim]
    assert victim not in known(killed)
    assert found.phantoms == {}
    later(monkeypatch, 8)
    assert reconcile(killed, delete=True).done.deleted_names == [victim]
    killed.push()
    killed.assert_restores()


def test_an_orphan_that_a_rebuild_listed_and_that_is_gone_since_is_no_loss(killed: Dataset) -> None:
    victim = min(orphans(killed))
    killed.rebuild_from_store()
    (killed.store / victim).unlink()
    found = reconcile(killed)
    assert (found.exit_code, found.phantoms, quarantine(killed)) == (0, {}, [])
    assert victim not in known(killed)


# -- phantoms --------------------------------------------------------------------------------------


def test_a_phantom_is_reported_remembered_and_stored_again(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(pack_size=20_000)
    grow(dataset)
    dataset.push()
    victims = sorted(known(dataset))[:2]
    (dataset.store / victims[0]).unlink()
    os.truncate(dataset.store / victims[1], 100)
    found = reconcile(dataset)
    assert (found.exit_code, sorted(found.phantoms)) == (3, victims)
    first = found.to_json()["phantoms"][0]
    assert first["path_count"] > 0
    assert first["changeset_ids"] == [(dataset.changesets()[0].changeset_id or b"").hex()]
    with dataset.space() as space:
        assert len(space.catalogue.damages.numbers()) == 2
    assert dataset.push().written > 0
    dataset.assert_restores()


def test_a_known_object_that_is_damaged_is_no_orphan_and_never_deleted(
    make_dataset: MakeDataset,
) -> None:
    dataset = make_dataset(pack_size=20_000)
    grow(dataset)
    dataset.push()
    before = set(dataset.objects())
    for path in dataset.objects("data").values():
        os.truncate(path, 10)
    for _ in range(2):
        found = reconcile(dataset, "0h", delete=True)
        assert (found.done.quarantined, found.done.deleted) == (0, 0)
    assert set(dataset.objects()) == before
