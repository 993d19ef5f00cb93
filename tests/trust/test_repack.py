"""Promise: a repack takes the unused bytes away, and nothing that a kept changeset needs."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

from n2s_core.app import pushing, retaining
from n2s_core.app.keeping import judged_wish
from n2s_core.app.pruning import PruneAnswer, prune
from n2s_core.errors import ConfigError, StoreError, UsageError
from n2s_core.flows import commit, dispatch
from n2s_core.flows import repack as repacking
from n2s_core.moves import Announcement, Move, Source
from n2s_core.packs import Keyring, Pack
from n2s_core.retention import Duration
from n2s_core.sealing import PLAIN_PRELUDE, Kind, public_prelude, x25519_private
from n2s_core.stores.file import FileStore
from n2s_core.uses import Repacked
from tests import crashing, several
from tests.conftest import Dataset, MakeDataset, environment, quiet
from tests.edits import Editor
from tests.hostile.forging import sealed, whole
from tests.trees import Description, describe, differences
from tests.trust.histories import History

ALL = judged_wish("0", None)
KIND_AT = 5
STEPS = [
    "repack-copied", "repack-announced", "verdict-stored", "repack-told", "repack-relinked",
    "repack-finished",
]  # fmt: skip
REPACK = """
import sys
from pathlib import Path
from n2s_core.app.keeping import judged_wish
from n2s_core.app.pruning import prune
from n2s_core.app.workspace import Workspace
with Workspace.find(Path(sys.argv[1])) as space:
    prune(space, grace_ns=0, dry_run=False, report=lambda _: None, wish=judged_wish("0", None))
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.make_small(monkeypatch.setattr, items=4096)
    monkeypatch.setattr(pushing, "WorkerPool", crashing.Here)


def repack(history: History, grace: str = "0h", *, dry_run: bool = False) -> PruneAnswer:
    with history.dataset.space() as space:
        wait = Duration.parse(grace).fixed_ns
        return prune(space, grace_ns=wait, dry_run=dry_run, report=quiet, wish=ALL)


def grown(history: History, seed: int, pushes: int = 4) -> History:
    """With hard links, and with files that only change their mode."""
    history.grow(seed, pushes)
    root = history.dataset.root
    (root / f"first {seed}").write_bytes(random.Random(seed).randbytes(30_000))
    os.link(root / f"first {seed}", root / f"second {seed}")
    history.push()
    for name in (f"large-{seed}", f"first {seed}"):
        (root / name).chmod(0o640)
    history.push()
    return history


def forget_some(history: History, seed: int, count: int = 3) -> list[str]:
    forgotten = sorted(random.Random(seed).sample(history.ids[:-1], count))
    history.forget(forgotten)
    history.drop(forgotten)
    return forgotten


def assert_recovers_from_all(history: History) -> None:
    """By catalogue, by contrib/recover.py, and by a catalogue that was made anew; pushes go on."""
    history.assert_whole()
    history.assert_recovers()
    assert history.dataset.push().changeset_id is None
    opened = history.dataset.verify()
    assert (opened.missing, opened.damaged) == ({}, {})


@pytest.mark.parametrize(
    ("seed", "share", "pack_size"),
    [(1, False, None), (2, True, None), (3, False, 20_000), (4, True, 20_000)],
)
def test_every_kept_changeset_is_exact_and_no_bytes_are_unused(
    make_dataset: MakeDataset, seed: int, share: bool, pack_size: int | None
) -> None:
    history = grown(History(make_dataset(share=share, pack_size=pack_size)), seed)
    forgotten = forget_some(history, seed)
    rehearsed = repack(history, dry_run=True).done
    done = repack(history).done
    assert done == rehearsed
    assert done.repacked.copies.objects > 0
    assert done.repacked.copies.bytes < done.repacked.old.bytes
    assert_recovers_from_all(history)
    history.assert_gone(forgotten)
    again = repack(history).done
    assert (again.repacked.copies.objects, again.removed.objects) == (0, 0)


@pytest.mark.parametrize("share", [False, True])
def test_what_moved_can_move_again_and_again(make_dataset: MakeDataset, share: bool) -> None:
    history = grown(History(make_dataset(share=share, pack_size=60_000)), 7, 6)
    moved = 0
    for seed in range(3):
        forget_some(history, seed, 2)
        moved += repack(history).done.repacked.copies.objects > 0
        if seed == 1:
            history.dataset.rebuild_from_store()
        Editor(history.dataset.root, seed).edit(5)
        for path in sorted(history.dataset.root.glob("large-*")):
            path.chmod(0o600 + seed)
        history.push()
        history.assert_whole()
    assert moved > 1
    assert_recovers_from_all(history)


@pytest.mark.parametrize("step", STEPS)
def test_a_repack_that_is_killed_is_gone_on_with(make_dataset: MakeDataset, step: str) -> None:
    history = grown(History(make_dataset(share=True, pack_size=60_000)), 5)
    forget_some(history, 5)
    died = start(history, step).wait()
    assert died == -signal.SIGKILL, f"{step} was not reached"
    for identity, wanted in history.trees.items():
        assert differences(wanted, history.recover(identity)) == []
    history.assert_whole()
    repack(history)
    history.assert_whole()
    with history.dataset.space() as space:
        assert space.catalogue.db.all("SELECT * FROM repacked") == []
    assert repack(history).done.repacked.copies.objects == 0
    assert_recovers_from_all(history)


@pytest.mark.parametrize("step", STEPS)
def test_a_catalogue_that_is_lost_meanwhile_costs_nothing(
    make_dataset: MakeDataset, step: str
) -> None:
    history = grown(History(make_dataset(pack_size=60_000)), 6)
    forget_some(history, 6)
    start(history, step).wait()
    history.dataset.rebuild_from_store()
    history.assert_whole()
    repack(history)
    assert_recovers_from_all(history)


def start(history: History, crash_at: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", REPACK, str(history.dataset.config)]
    return subprocess.Popen(command, env=environment(N2S_CRASH_AT=crash_at), text=True)


def announcements(dataset: Dataset) -> list[Path]:
    """Objects in `changesets/` that say where records went."""
    found = dataset.objects("changesets").values()
    return [path for path in found if path.read_bytes()[PLAIN_PRELUDE + KIND_AT] == Kind.MOVED]


def swept(dataset: Dataset, seed: int) -> History:
    """A history of which the forgotten changesets are gone, but not all bytes that they needed."""
    history = grown(History(dataset), seed)
    forget_some(history, seed)
    history.prune()
    return history


def test_who_has_an_older_catalogue_or_program_finds_all_for_a_time_of_grace(
    make_dataset: MakeDataset,
) -> None:
    history = swept(make_dataset(pack_size=60_000), 8)
    saved = history.dataset.catalogue.read_bytes()
    before = set(history.dataset.objects("data"))
    done = repack(history, "24h").done
    assert done.repacked.copies.objects > 0
    assert done.waiting == done.repacked.old
    assert before < set(history.dataset.objects("data"))
    for path in announcements(history.dataset):
        path.rename(history.dataset.base / path.name)
    for identity, wanted in history.trees.items():
        assert differences(wanted, history.recover(identity)) == []
    history.dataset.forget_catalogue()
    history.dataset.catalogue.write_bytes(saved)
    history.assert_whole()
    assert repack(history, "24h").done.repacked == done.repacked  # the same bytes again
    repack(history)
    assert_recovers_from_all(history)


def test_what_is_only_forgotten_is_not_taken_away(make_dataset: MakeDataset) -> None:
    history = grown(History(make_dataset(pack_size=60_000)), 8)
    forgotten = history.ids[:3]
    history.forget(forgotten)
    repack(history, "24h")
    with history.dataset.space() as space:
        retaining.bring_back(space, forgotten)
    assert_recovers_from_all(history)


def test_the_store_says_again_where_records_are_when_it_lost_that(
    make_dataset: MakeDataset,
) -> None:
    history = swept(make_dataset(pack_size=60_000), 9)
    repack(history)
    for path in announcements(history.dataset):
        path.unlink()
    assert history.dataset.verify().missing
    (history.dataset.root / "one more").write_bytes(b"1")
    history.push()
    assert announcements(history.dataset)
    assert_recovers_from_all(history)


@pytest.mark.parametrize("lost", ["heads", "changesets"])
def test_records_alone_say_where_they_came_from(make_dataset: MakeDataset, lost: str) -> None:
    """Aliases and the pieces of large files are found, though their lists name older objects."""
    history = swept(make_dataset(pack_size=60_000, share=True), 10)
    for seed in range(2):
        forget_some(history, seed, 1)
        assert repack(history).done.repacked.copies.objects > 0
    wanted = describe(history.dataset.root)
    told = set(announcements(history.dataset)) if lost == "heads" else set()
    for path in history.dataset.objects("changesets").values():
        if path not in told:
            path.unlink()
    assert left_out(wanted, history) == []
    history.dataset.forget_catalogue()
    history.dataset.rebuild()
    pulled = describe(history.dataset.pull())
    assert [one for one in differences(wanted, pulled) if not one.startswith("only right")] == []


def left_out(wanted: Description, history: History) -> list[str]:
    """What contrib/recover.py does not give back of a tree; deleted files may come with it."""
    words = ("--records-alone", "--key-file", str(history.key_file))
    target, _ = history.dataset.try_recover(*words)
    found = describe(target)
    return [name for name in differences(wanted, found) if not name.startswith("only right")]


# -- others ------------------------------------------------------------------------------------


def at(monkeypatch: pytest.MonkeyPatch, module: Any, point: str, act: Callable[[], object]) -> None:
    """Act once when the point is passed."""
    left = [act]
    real = module.crash_point

    def acting(name: str) -> None:
        if name == point and left:
            left.pop()()
        real(name)

    monkeypatch.setattr(module, "crash_point", acting)


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
    at(monkeypatch, module, moment, lambda: ended.append(start(history).wait()))
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

    at(monkeypatch, repacking, step, push_too)
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


# -- how much ----------------------------------------------------------------------------------


def test_only_what_is_worth_it_is_repacked(make_dataset: MakeDataset) -> None:
    history = swept(make_dataset(pack_size=60_000), 18)

    def rehearsed(unused: str, most: str | None = None) -> Repacked:
        with history.dataset.space() as space:
            wish = judged_wish(unused, most)
            done = prune(space, grace_ns=0, dry_run=True, report=quiet, wish=wish)
        return done.done.repacked

    every = rehearsed("0")
    assert rehearsed("unlimited").copies.objects == 0
    half = rehearsed(f"{(every.old.bytes - every.copies.bytes) // 2}")
    assert 0 < half.copies.objects < every.copies.objects
    assert rehearsed("0%") == every
    assert rehearsed("99%").copies.objects == 0
    most = rehearsed("0", str(every.copies.bytes // 2)).copies
    assert 0 < most.bytes <= every.copies.bytes // 2
    shares = [rehearsed(f"{percent}%").unused for percent in range(0, 60, 10)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("word", ["100%", "-1%", "x%", "nan%"])
def test_a_share_is_a_percentage_below_a_hundred(word: str) -> None:
    with pytest.raises(UsageError, match="percentage"):
        judged_wish(word, None)
    with pytest.raises(ConfigError, match="--max-unused"):
        judged_wish(word[:-1] + "!", None)


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
