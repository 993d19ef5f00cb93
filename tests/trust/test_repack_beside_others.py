"""Promise: a repack hurts nobody: pushes beside it, other datasets, remotes, whoever lies to it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

from n2s_core.errors import StoreError
from n2s_core.flows import commit, dispatch
from n2s_core.flows import repack as repacking
from n2s_core.moves import Announcement, Move, Source
from n2s_core.packs import Keyring, Pack
from n2s_core.sealing import Kind, public_prelude, x25519_private
from n2s_core.stores.file import FileStore
from tests import crashing, several
from tests.conftest import MakeDataset
from tests.hostile.forging import sealed, whole
from tests.trees import describe, differences
from tests.trust.histories import History
from tests.trust.repacks import assert_recovers_from_all, forget_some, grown, repack, start, swept


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.seal_here(monkeypatch.setattr, items=4096)


# -- others ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "moment"),
    [(dispatch, "batch-sealed"), (dispatch, "batch-recorded"), (commit, "head-sealed")],
)
def test_a_push_beside_it_that_shares_contents_loses_nothing(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, module: Any, moment: str
) -> None:
    """It looked up where contents are before another process moved and removed them."""
    history = swept(make_dataset(share=True, pack_size=60_000), 11)
    for path in sorted(history.dataset.root.glob("large-*")):
        shutil.copy(path, history.dataset.root / "copy")
        path.chmod(0o600)
    ended: list[int] = []
    crashing.act_once(monkeypatch, module, moment, lambda: ended.append(start(history).wait()))
    history.push()
    assert ended == [0]
    history.assert_whole()
    repack(history)
    assert_recovers_from_all(history)


@pytest.mark.parametrize(
    "step", ["repack-copied", "repack-told", "repack-relinked", "repack-finished"]
)
def test_a_push_between_copy_and_mark_keeps_what_it_refers_to(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    history = swept(make_dataset(share=True, pack_size=60_000), 12)
    large = next(history.dataset.root.glob("large-*"))

    def push_too() -> None:
        shutil.copy(large, large.with_name("again"))
        large.chmod(0o600)
        history.push()

    crashing.act_once(monkeypatch, repacking, step, push_too)
    repack(history)
    assert (history.dataset.root / "again").exists()
    history.assert_whole()
    repack(history)
    assert_recovers_from_all(history)


def test_datasets_of_other_catalogues_in_the_store_are_left_alone(
    make_dataset: MakeDataset,
) -> None:
    mine = grown(History(make_dataset("mine", share=True, pack_size=60_000)), 13)
    theirs = grown(History(make_dataset("theirs", store=mine.dataset.store, pack_size=60_000)), 14)
    before = set(theirs.dataset.objects("data"))
    forget_some(mine, 13)
    gone = repack(mine).done.removed
    assert gone.objects > 0
    assert_recovers_from_all(mine)
    assert_recovers_from_all(theirs)
    forget_some(theirs, 14)
    assert repack(theirs).done.repacked.copies.objects > 0
    assert before - set(theirs.dataset.objects("data"))
    assert_recovers_from_all(theirs)
    mine.assert_recovers()


def test_what_a_client_wrote_that_may_only_add_stays_and_is_said(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(pack_size=60_000)
    history = History(dataset)
    public = x25519_private(dataset.master_key()).public_key().public_bytes_raw()
    monkeypatch.setattr(Keyring, "begin", lambda _: Pack(*public_prelude(public)))
    history.grow(15, 3)
    monkeypatch.undo()
    history.forget(history.ids[:-1])
    history.drop(history.ids[:-1])
    done = repack(history).done.repacked
    assert done.copies.objects == 0
    assert done.fixed.objects > 0
    assert done.fixed.bytes > 0
    history.assert_whole()


def test_a_damaged_object_is_left_as_it_is(make_dataset: MakeDataset) -> None:
    history = swept(make_dataset(pack_size=60_000), 16)
    plan = repack(history, dry_run=True).done.repacked
    assert plan.copies.objects > 0
    for path in history.dataset.objects("data").values():
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    before = set(history.dataset.objects("data"))
    assert repack(history).done.repacked.copies.objects == 0
    assert set(history.dataset.objects("data")) == before


def test_a_store_that_does_not_give_back_the_copy_costs_nothing(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = swept(make_dataset(pack_size=60_000), 17)
    real = FileStore.put

    def loses(self: FileStore, name: str, data: Iterable[bytes], size: int) -> None:
        whole = b"".join(data)
        real(self, name, [whole[:-1] + b"?"], size)

    monkeypatch.setattr(FileStore, "put", loses)
    with pytest.raises(StoreError, match="give back"):
        repack(history)
    monkeypatch.undo()
    for path in history.dataset.objects("data").values():
        if blake3(path.read_bytes()).hexdigest() != path.name:
            path.unlink()
    history.assert_whole()
    repack(history)
    assert_recovers_from_all(history)


# -- stores of several remotes, and of strangers -------------------------------------------------


def test_the_remotes_of_a_mirror_get_the_copies_and_lose_the_old_objects(tmp_path: Path) -> None:
    dataset = several.make(tmp_path, 'mode = "mirror"', 2)
    history = History(dataset)
    for number in range(3):
        several.fill(dataset.root, 20 + number)
        for path in sorted(dataset.root.iterdir())[::2]:
            path.write_bytes(b"%d" % number)
        history.push()
    forget_some(history, 20, 2)
    done = repack(history).done
    assert done.repacked.copies.objects > 0
    there = [
        {path.name for path in (dataset.remote(number) / "data").rglob("*") if path.is_file()}
        for number in range(2)
    ]
    assert there[0] == there[1]
    history.assert_whole()
    for number in range(2):
        shutil.rmtree(dataset.remote(number) / "data")
        dataset.act("repair")
        history.assert_whole()


LIES: dict[str, tuple[object, bytes]] = {
    "no numbers": ({"d": b"d" * 16, "N": "x", "t": 1}, msgpack.packb((b"o" * 32, "8", []))),
    "no list": ({"d": b"d" * 16, "N": "x", "t": 1}, b"\xc1"),
    "nothing": ({}, b""),
    "a large list": ({"d": b"d" * 16, "N": "x", "t": 1}, b"\xdd\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_moved_records_are_named_and_cost_nothing(
    make_dataset: MakeDataset, lie: str
) -> None:
    history = swept(make_dataset(pack_size=60_000), 21)
    repack(history)
    meta, payload = LIES[lie]
    record = sealed(Kind.MOVED, meta, payload, key=history.dataset.master_key())
    data = whole(record)
    path = history.dataset.store / "changesets" / blake3(data).hexdigest()
    path.write_bytes(data)
    history.dataset.forget_catalogue()
    problems = history.dataset.rebuild().problems
    assert [one for one in problems if path.name in one]
    history.assert_whole()
    words = ("--key-file", str(history.key_file))
    target, done = history.dataset.try_recover(*words)
    assert "Traceback" not in done.stderr
    assert differences(describe(history.dataset.root), describe(target)) == []


def test_wild_places_of_what_is_gone_end_with_a_sentence(make_dataset: MakeDataset) -> None:
    """Every object is said to be beyond the end of every other one, round and round."""
    history = swept(make_dataset(pack_size=60_000), 22)
    names = [bytes.fromhex(path.name) for path in history.dataset.objects("data").values()]
    circle = zip(names, [*names[1:], names[0]], strict=True)
    moves = tuple(Move(to, 1 << 60, (Source(old, ((0, 1 << 50),)),)) for old, to in circle)
    facts = history.dataset.facts()
    meta, payload = Announcement(facts.dataset_id, facts.name, 1, moves).pack()
    pack = Keyring(history.dataset.master_key()).begin()
    pack.add(Kind.MOVED, meta, payload)
    made = pack.finish()
    path = history.dataset.store / "changesets" / made.digest.hex()
    path.write_bytes(b"".join(made.chunks))
    history.assert_recovers()
    lost = sorted(history.dataset.objects("data").values())[::2]
    for each in lost:
        each.rename(history.dataset.base / each.name)
    history.dataset.forget_catalogue()
    history.dataset.rebuild()
    found = history.dataset.verify()
    assert found.missing or found.concerns.path_count or history.dataset.try_pull()[1].damaged
    _, done = history.dataset.try_recover("--key-file", str(history.key_file))
    assert (done.returncode, done.stderr.count("Traceback")) == (3, 0)
    for each in lost:
        (history.dataset.base / each.name).rename(each)
    history.assert_recovers()


def test_who_may_only_add_does_not_say_where_records_are(make_dataset: MakeDataset) -> None:
    history = swept(make_dataset(pack_size=60_000), 23)
    names = [bytes.fromhex(path.name) for path in history.dataset.objects("data").values()]
    moves = tuple(Move(names[0], 8, (Source(old, ((8, 1 << 40),)),)) for old in names[1:])
    public = x25519_private(history.dataset.master_key()).public_key().public_bytes_raw()
    pack = Pack(*public_prelude(public))
    facts = history.dataset.facts()
    pack.add(Kind.MOVED, *Announcement(facts.dataset_id, facts.name, 1, moves).pack())
    made = pack.finish()
    path = history.dataset.store / "changesets" / made.digest.hex()
    path.write_bytes(b"".join(made.chunks))
    history.assert_recovers()
    repack(history)
    assert_recovers_from_all(history)
