"""Promise: a repack takes the unused bytes away, and nothing that a kept changeset needs."""

import signal

import pytest

from n2s_core.app import retaining
from n2s_core.app.keeping import judged_wish
from n2s_core.app.pruning import prune
from n2s_core.errors import ConfigError, UsageError
from n2s_core.uses import Repacked
from tests import crashing
from tests.conftest import MakeDataset, quiet
from tests.edits import Editor
from tests.trees import Description, describe, differences
from tests.trust.histories import History
from tests.trust.repacks import (
    announcements,
    assert_recovers_from_all,
    forget_some,
    grown,
    repack,
    start,
    swept,
)

STEPS = [
    "repack-copied", "repack-announced", "verdict-stored", "repack-told", "repack-relinked",
    "repack-finished",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some 100 KB are large; batches are sealed in this process."""
    crashing.seal_here(monkeypatch.setattr, items=4096)


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
