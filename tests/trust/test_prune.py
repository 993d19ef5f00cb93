"""Promise: a prune removes what only forgotten changesets need, and nothing else, ever."""

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from n2s_core.app import pruning, retaining
from n2s_core.clock import now_ns
from n2s_core.errors import CatalogueError, StoreError, UsageError
from n2s_core.model import LIVE
from n2s_core.packs import Keyring, Pack
from n2s_core.retention import HOUR_NS
from n2s_core.sealing import Kind, public_prelude, x25519_private
from n2s_core.uses import Use
from n2s_core.verdicts import Verdict
from tests import crashing
from tests.conftest import Dataset, MakeDataset
from tests.trees import describe, differences
from tests.trust.histories import History


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.seal_here(monkeypatch.setattr, items=4096)


@pytest.fixture(name="history")
def some_history(make_dataset: MakeDataset) -> History:
    found = History(make_dataset(pack_size=20_000))
    found.grow(1, 4)
    return found


@pytest.mark.parametrize(
    ("seed", "share", "pack_size"),
    [(1, False, None), (2, True, None), (3, False, 0), (4, True, 0), (5, True, 20_000)],
)
def test_what_is_kept_is_whole_and_the_rest_is_gone(
    make_dataset: MakeDataset, seed: int, share: bool, pack_size: int | None
) -> None:
    history = History(make_dataset(share=share, pack_size=pack_size))
    history.grow(seed, 6)
    forgotten = sorted(random.Random(seed).sample(history.ids[:-1], 3))
    history.forget(forgotten)
    history.drop(forgotten)
    rehearsed = history.prune(dry_run=True)
    before = set(history.dataset.objects("data"))
    done = history.prune()
    gone = before - set(history.dataset.objects("data"))
    assert (len(gone), rehearsed.done) == (done.done.removed.objects, done.done)
    assert done.done.swept == 3
    assert gone
    history.assert_whole()
    history.assert_gone(forgotten)
    assert history.dataset.push().changeset_id is None
    history.assert_recovers()
    history.assert_gone(forgotten)
    history.grow(seed + 50, 1)
    history.assert_whole()
    again = history.prune()
    assert (again.done.removed.objects, again.done.swept) == (0, 0)


def test_only_the_newest_is_left_and_nothing_but_what_it_needs(history: History) -> None:
    for path in history.dataset.root.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (history.dataset.root / "last").write_bytes(b"the only one")
    history.push()
    forgotten = history.ids[:-1]
    history.forget(forgotten)
    history.drop(forgotten)
    history.prune()
    assert len(history.dataset.objects("data")) == 1
    history.assert_whole()
    history.assert_recovers()
    assert differences(describe(history.dataset.root), describe(history.dataset.pull())) == []
    rows = "SELECT path FROM files ORDER BY path"
    with history.dataset.space() as space:
        assert [row[0] for row in space.catalogue.db.all(rows)] == [b"", b"last"]


def later(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    moment = now_ns() + hours * HOUR_NS
    monkeypatch.setattr(pruning, "now_ns", lambda: moment)


def test_for_a_time_of_grace_all_stays_and_can_be_brought_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(history.dataset.objects("data"))
    first, second, third = history.ids[:3]
    history.forget([first, second])
    done = history.prune("24h").done
    assert (done.swept, done.removed.objects, done.versions) == (0, 0, 0)
    waiting = done.waiting
    assert waiting.objects > 0
    later(monkeypatch, 23)
    assert history.prune("24h").done == done
    history.assert_whole()
    with history.dataset.space() as space:
        retaining.bring_back(space, [second])
    history.forget([third])
    later(monkeypatch, 25)
    assert history.prune("24h", dry_run=True).done.swept == 1
    done = history.prune("24h").done
    assert done.swept == 1
    assert done.waiting.objects > 0
    history.drop([first])
    history.assert_whole()
    history.assert_gone([first])
    later(monkeypatch, 50)
    assert history.prune("24h").done.removed.objects > 0
    history.drop([third])
    history.assert_whole()
    history.assert_recovers()
    history.assert_gone([first, third])
    assert set(history.dataset.objects("data")) < before


def test_what_is_brought_back_after_a_rebuild_has_its_time_of_grace_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.forget(history.ids[:1])
    history.prune("24h")
    history.dataset.rebuild_from_store()
    later(monkeypatch, 25)
    assert history.prune("24h").done.removed.objects == 0
    with history.dataset.space() as space:
        retaining.bring_back(space, history.ids[:1])
    history.assert_whole()


def test_pinned_changesets_and_the_state_are_not_swept_whoever_forgot_them(
    history: History,
) -> None:
    """Another machine may have pinned what this one forgot; and the newest heads may be lost."""
    first, newest = (bytes.fromhex(history.ids[at]) for at in (0, -1))
    with history.dataset.space() as space:
        facts = space.dataset
        verdict = Verdict(facts.dataset_id, facts.name, now_ns(), forgotten=(first, newest))
        space.catalogue.verdicts.give(
            facts, now_ns(), lambda _: verdict, lambda _: (b"x" * 32, b"")
        )
        pinned = Verdict(facts.dataset_id, facts.name, now_ns(), pinned=(first,))
        space.catalogue.verdicts.give(facts, now_ns(), lambda _: pinned, lambda _: (b"y" * 32, b""))
        space.catalogue.db.execute("UPDATE verdicts SET sent = 1")
    assert history.prune().done.removed.objects == 0
    history.assert_whole()


@pytest.mark.parametrize("step", crashing.PRUNE_POINTS)
def test_a_prune_that_is_killed_has_cost_nothing_that_is_kept(history: History, step: str) -> None:
    forgotten = [history.ids[at] for at in (0, 2)]
    history.forget(forgotten)
    history.drop(forgotten)
    before = set(history.dataset.objects("data"))
    process = history.start_prune(f"{step}:{2 if step == 'prune-removed' else 1}")
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"{step} was not reached"
    history.assert_whole()
    for identity, wanted in history.trees.items():
        assert differences(wanted, history.recover(identity)) == []
    history.dataset.rebuild_from_store()
    history.prune()
    history.assert_whole()
    history.assert_gone(forgotten)
    assert set(history.dataset.objects("data")) < before
    history.grow(9, 1)
    history.assert_whole()


@pytest.mark.parametrize("step", crashing.PRUNE_POINTS)
def test_the_next_prune_ends_what_a_killed_one_began(history: History, step: str) -> None:
    forgotten = [history.ids[at] for at in (0, 2)]
    twin = history.dataset.store.with_name("twin")
    history.forget(forgotten)
    shutil.copytree(history.dataset.store, twin)
    saved = history.dataset.catalogue.read_bytes()
    history.prune()
    wanted = set(history.dataset.objects("data"))
    shutil.rmtree(history.dataset.store)
    twin.rename(history.dataset.store)
    history.dataset.forget_catalogue()
    history.dataset.catalogue.write_bytes(saved)
    history.start_prune(step).communicate()
    history.prune()
    assert set(history.dataset.objects("data")) == wanted
    history.drop(forgotten)
    history.assert_whole()
    with history.dataset.space() as space:
        assert space.catalogue.pruning.doomed() == []
        every = "SELECT object_no FROM objects"
        for table in ("segments", "older_segments", "contents", "marked"):
            gone = f"SELECT * FROM {table} WHERE object_no NOT IN ({every})"  # noqa: S608
            assert space.catalogue.db.all(gone) == []


def test_a_store_that_fails_meanwhile_is_gone_on_with(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    from n2s_core.stores.file import FileStore  # noqa: PLC0415 - only here

    forgotten = history.ids[:-1]
    history.forget(forgotten)
    history.drop(forgotten)
    real, calls = FileStore.delete, iter(range(100))

    def fails_often(self: FileStore, name: str) -> None:
        if next(calls) % 2:
            message = "It is away."
            raise StoreError(message)
        real(self, name)

    monkeypatch.setattr(FileStore, "delete", fails_often)
    with pytest.raises(StoreError, match="away"):
        history.prune()
    history.assert_whole()
    with history.dataset.space() as space:
        left = space.catalogue.pruning.doomed()
    assert left
    monkeypatch.setattr(FileStore, "delete", real)
    assert history.prune().done.removed.objects == len(left)
    assert not set(history.dataset.objects()) & {one.name for one in left}


# -- others in the same store ------------------------------------------------------------------


def test_objects_of_other_datasets_and_unknown_ones_are_left_alone(
    make_dataset: MakeDataset,
) -> None:
    mine = History(make_dataset("mine", pack_size=20_000))
    theirs = History(make_dataset("theirs", store=mine.dataset.store, pack_size=20_000))
    for each in (mine, theirs, mine, theirs):
        each.grow(len(each.trees) + 1, 2)
    pack = Keyring(mine.dataset.master_key()).begin()
    pack.add(Kind.BLOB, b"\x80", b"of an interrupted push")
    orphan = save(mine.dataset, pack, "data")
    forgotten = mine.ids[:-1]
    mine.forget(forgotten)
    mine.drop(forgotten)
    mine.dataset.rebuild_from_store()
    assert mine.prune().done.removed.objects > 0
    assert orphan.exists()
    mine.assert_whole()
    theirs.assert_whole()
    theirs.assert_recovers()
    assert theirs.prune().done.removed.objects == 0


def save(dataset: Dataset, pack: Pack, shelf: str) -> Path:
    sealed = pack.finish()
    name = sealed.digest.hex()
    folder = dataset.store / shelf / name[:2] if shelf == "data" else dataset.store / shelf
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"".join(sealed.chunks))
    assert blake3(path.read_bytes()).hexdigest() == name
    return path


def test_nothing_is_removed_while_another_catalogue_knows_more(history: History) -> None:
    """A second catalogue of the dataset went its own way, and needs what this one forgets."""
    first = history.dataset
    second = Dataset(
        base=first.base, root=first.root, store=first.store,
        config=first.base / "second" / "config.toml", pack_size=20_000,
    )  # fmt: skip
    second.init()
    (first.root / "second").write_bytes(b"2")
    known = second.push().changeset_id
    assert known is not None
    history.forget(history.ids[:2])
    before = set(first.objects("data"))
    with pytest.raises(CatalogueError, match="same dataset"):
        history.prune()
    assert set(first.objects("data")) == before
    history.trees[known.hex()] = describe(first.root)
    first.rebuild_from_store()
    with first.space() as space:
        retaining.pin(space, [known.hex()], key="pinned")
    history.drop(history.ids[:2])
    assert history.prune().done.removed.objects > 0
    history.assert_whole()
    with pytest.raises(CatalogueError, match="same dataset"), second.space() as space:
        pruning.prune(space, grace_ns=0, dry_run=False, report=lambda _: None)


def test_who_may_only_add_to_the_store_does_not_stop_a_prune(history: History) -> None:
    public = x25519_private(history.dataset.master_key()).public_key().public_bytes_raw()
    pack = Pack(*public_prelude(public))
    pack.add(Kind.FORGET, Verdict(history.dataset.facts().dataset_id, "x", 1).pack())
    save(history.dataset, pack, "changesets")
    history.forget(history.ids[:2])
    assert history.prune().done.swept == 2


def test_what_cannot_be_read_may_be_about_this_dataset(history: History) -> None:
    data = b"neither head nor verdict"
    path = history.dataset.store / "changesets" / blake3(data).hexdigest()
    path.write_bytes(data)
    with pytest.raises(CatalogueError, match="cannot be read"):
        history.prune()
    path.unlink()
    history.prune()


# -- what is damaged ---------------------------------------------------------------------------


def test_a_damaged_content_that_was_stored_again_keeps_its_lists(history: History) -> None:
    """Pieces of a large file that were stored anew: older lists lead to the older pieces."""
    with history.dataset.space() as space:
        rows = space.catalogue.db.all(
            "SELECT DISTINCT digest FROM segments s JOIN objects o ON o.object_no = s.object_no"
            " JOIN files f ON f.blob_id = s.blob_id WHERE f.valid_to = ?",
            (LIVE,),
        )
    victim = history.dataset.store / "data" / rows[0][0].hex()[:2] / rows[0][0].hex()
    victim.chmod(0o600)
    data = victim.read_bytes()
    victim.unlink()
    history.dataset.verify()
    assert history.dataset.push().written > 0
    victim.write_bytes(data)
    history.prune()
    history.prune()
    for identity, wanted in history.trees.items():
        assert differences(wanted, history.recover(identity)) == []


def test_what_was_wrong_with_an_object_is_forgotten_when_it_is_removed(history: History) -> None:
    """Another object may get its number."""
    forgotten = history.ids[:-1]
    with history.dataset.space() as space:
        numbers = space.catalogue.db.all("SELECT object_no FROM objects WHERE shelf = 'data'")
        space.catalogue.damages.note([(row[0], "damaged", "as said") for row in numbers])
        history.forget(forgotten)
    assert history.prune().done.removed.objects > 0
    with history.dataset.space() as space:
        rows = space.catalogue.db.all(
            "SELECT object_no FROM damages WHERE object_no NOT IN (SELECT object_no FROM objects)"
        )
    assert rows == []


def test_a_time_of_grace_is_in_days_and_hours(history: History) -> None:
    with pytest.raises(UsageError, match="days and hours"):
        history.prune("1m")


def test_what_a_prune_asks_is_found_by_indexes(history: History, on_sqlite: None) -> None:
    statements: list[str] = []
    with history.dataset.space() as space:
        db = space.catalogue.db
        real: Any = db.all

        def noting(statement: str, values: tuple[object, ...] = ()) -> object:
            statements.append(statement)
            return real(statement, values)

        db.all = noting  # type: ignore[method-assign, assignment]
        pruned = space.catalogue.pruning
        pruned.begin_scan(Use.KEPT)
        for page in pruned.versions():
            pruned.use(page, Use.KEPT)
        pruned.doom(0)
        for statement in statements:
            marks = statement.count("?")
            plan = " | ".join(
                str(row[-1]) for row in real(f"EXPLAIN QUERY PLAN {statement}", (1,) * marks)
            )
            assert "TEMP B-TREE FOR ORDER" not in plan, (statement, plan)
            assert "SCAN" not in plan.replace("SCAN e", ""), (statement, plan)
