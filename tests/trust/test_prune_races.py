"""Promise: pushes and prunes of one catalogue run beside each other, and neither loses anything."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app.pruning import prune
from n2s_core.catalogue.pruning import Pruning
from n2s_core.errors import LeaseHeld
from n2s_core.flows import dispatch
from n2s_core.flows import prune as pruning
from tests import crashing
from tests.conftest import MakeDataset, environment, quiet
from tests.trees import describe, differences
from tests.trust.histories import History

PUSH = [sys.executable, crashing.__file__]
ROUNDS = int(os.environ.get("N2S_TEST_SEEDS", "6"))
LIMIT_S = 120


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    crashing.seal_here(monkeypatch.setattr)


@pytest.fixture(name="history")
def shared_history(make_dataset: MakeDataset) -> History:
    """Contents that come and go, in objects that nobody else needs."""
    found = History(make_dataset(share=True, pack_size=20_000))
    for number in range(3):
        (found.dataset.root / "moved").write_bytes(b"content that comes again " * 1000)
        (found.dataset.root / "large").write_bytes(os.urandom(100) + bytes(range(256)) * 800)
        (found.dataset.root / "other").write_bytes(b"%d" % number)
        found.push()
        for name in ("moved", "large"):
            (found.dataset.root / name).unlink()
        (found.dataset.root / "other").write_bytes(b"without %d" % number)
        found.push()
    return found


def forget_all(history: History) -> list[str]:
    forgotten = history.ids[:-1]
    history.forget(forgotten)
    history.drop(forgotten)
    return forgotten


def bring_contents_again(history: History) -> None:
    (history.dataset.root / "under another name").write_bytes(b"content that comes again " * 1000)
    (history.dataset.root / "large too").write_bytes(os.urandom(100) + bytes(range(256)) * 800)
    os.link(history.dataset.root / "under another name", history.dataset.root / "link")


def in_another_process(history: History) -> int:
    """A prune without a time of grace; how many objects it removed."""
    process = history.start_prune()
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    return int(out)


def test_what_a_prune_removes_under_a_push_is_stored_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push found contents to share; before it could record that they were swept."""
    forgotten = forget_all(history)
    bring_contents_again(history)
    removed: list[int] = []
    crashing.act_once(
        monkeypatch, dispatch, "batch-sealed", lambda: removed.append(in_another_process(history))
    )
    history.push()
    assert removed
    assert removed[0] > 0
    history.assert_whole()
    history.assert_gone(forgotten)
    history.prune()
    history.assert_recovers()


def test_what_a_push_took_into_use_under_a_prune_stays(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prune has looked at all versions when the push shares what was about to go."""
    history.prune()
    forget_all(history)
    bring_contents_again(history)
    real = Pruning.doom
    left = [True]

    def doom(self: Pruning, marked_before_ns: int) -> Any:
        if left and self._db.one("SELECT 1 FROM marked") is not None:
            left.pop()
            history.push()
        return real(self, marked_before_ns)

    monkeypatch.setattr(Pruning, "doom", doom)
    before = set(history.dataset.objects("data"))
    history.prune()
    assert not left
    history.assert_whole()
    with history.dataset.space() as space:
        shared = space.catalogue.db.all(
            "SELECT 1 FROM files f JOIN changesets c ON c.changeset_no = f.valid_from"
            " WHERE path = ? AND content IS NOT NULL",
            (b"under another name",),
        )
    assert shared
    assert set(history.dataset.objects("data")) & before
    history.prune()
    history.assert_recovers()


def test_a_push_that_died_keeps_what_it_has_stored(history: History) -> None:
    """Pieces of large files, batches, and contents that it had taken into use."""
    forget_all(history)
    bring_contents_again(history)
    for number in range(60):
        (history.dataset.root / f"new-{number}").write_bytes(os.urandom(3000))
    command = [*PUSH, str(history.dataset.config), "here"]
    for point in ("object-confirmed:3", "batch-recorded:1", "batch-recorded:2", "head-sealed"):
        died = subprocess.run(
            command, env=environment(N2S_CRASH_AT=point), check=False, timeout=LIMIT_S
        )
        assert died.returncode == -signal.SIGKILL
        history.prune()
    done = history.dataset.push()
    assert done.failures == []
    newest = history.dataset.changesets()[0]
    history.trees[(newest.changeset_id or b"").hex()] = describe(history.dataset.root)
    history.assert_whole()
    history.prune()
    history.assert_recovers()


def test_one_prune_or_rebuild_runs_at_a_time(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_all(history)
    seen: list[str] = []

    def others() -> None:
        with history.dataset.space() as space, pytest.raises(LeaseHeld, match="prune"):
            prune(space, grace_ns=0, dry_run=False, report=quiet)
        with pytest.raises(LeaseHeld, match="prune"):
            history.dataset.rebuild()
        seen.append("refused")

    crashing.act_once(monkeypatch, pruning, "prune-marked", others)
    history.prune()
    assert seen == ["refused"]
    history.dataset.rebuild()
    history.assert_whole()


def test_a_prune_that_stood_still_removes_nothing_of_what_others_decided(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out, another one did its work, and everything was taken into use again."""
    forget_all(history)

    def stand_still() -> None:
        with history.dataset.space() as space:
            space.catalogue.db.execute(
                "UPDATE leases SET expires_ns = 0, expires_boot_ns = 0 WHERE dataset_no = 0"
            )
        in_another_process(history)
        bring_contents_again(history)
        history.push()

    crashing.act_once(monkeypatch, pruning, "prune-marked", stand_still)
    with pytest.raises(LeaseHeld):
        history.prune()
    history.assert_whole()
    history.assert_recovers()


def test_a_paused_prune_does_no_harm_when_it_wakes_up(history: History) -> None:
    forget_all(history)
    process = history.start_prune()
    time.sleep(1.0)
    process.send_signal(signal.SIGSTOP)
    bring_contents_again(history)
    for number in range(3):
        (history.dataset.root / "again").write_bytes(b"%d" % number)
        history.push()
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=LIMIT_S)
    cut_off = history.dataset.url is not None  # if it stood still in a transaction
    assert process.returncode == 0 or cut_off
    history.assert_whole()
    history.prune()
    history.assert_recovers()


def test_pushes_forgets_and_prunes_at_random_moments(history: History) -> None:
    """A process prunes again and again, and is killed now and then, while another pushes."""
    over = threading.Event()
    ended: list[int] = []

    def prunes() -> None:
        while not over.is_set():
            process = history.start_prune()
            if len(ended) % 3 == 2:
                time.sleep(0.5)
                process.kill()
            process.communicate(timeout=LIMIT_S)
            ended.append(process.returncode)

    thread = threading.Thread(target=prunes)
    thread.start()
    try:
        for number in range(ROUNDS):
            bring_contents_again(history) if number % 2 == 0 else take_away(history.dataset.root)
            (history.dataset.root / "counter").write_bytes(b"%d" % number)
            history.push()
            forget_all(history) if number % 3 == 2 else None
    finally:
        over.set()
        thread.join()
    assert {-signal.SIGKILL, 0} >= set(ended)
    assert 0 in ended
    history.prune()
    history.assert_whole()
    history.assert_recovers()
    assert differences(describe(history.dataset.root), describe(history.dataset.pull())) == []


def take_away(root: Path) -> None:
    for name in ("under another name", "large too", "link"):
        (root / name).unlink()
