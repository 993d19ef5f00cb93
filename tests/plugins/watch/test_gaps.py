"""Promise: when a change may have been missed, the answer is a walk that says why."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.errors import DiscoveryError
from n2s_plugins.watch import limits
from n2s_plugins.watch.inotify import Inotify
from n2s_plugins.watch.watches import Changes, Watches
from tests.plugins.watch.watched import Tree, until


def journal(tree: Tree) -> Path:
    return next((tree.root / ".n2s").glob("watch-*")) / "journal.db"


def test_without_a_recorder_it_walks_and_says_so(tree: Tree) -> None:
    said = tree.ask()
    assert (said.hints, said.until) == (None, None)
    assert "'n2s watch'" in (said.fallback or "")
    with tree.recording():
        mark = tree.mark()
    assert "'n2s watch'" in (tree.ask(mark).fallback or "")


def test_the_first_answer_is_a_walk_without_a_reason(tree: Tree) -> None:
    with tree.recording():
        said = tree.ask()
        assert (said.hints, said.fallback) == (None, None)


def test_after_a_restart_it_walks_and_says_when_the_recording_ended(tree: Tree) -> None:
    with tree.recording():
        mark = tree.mark()
    (tree.root / "meanwhile").touch()
    with tree.recording():
        said = tree.ask(mark)
        assert said.hints is None
        assert "n2s watch was stopped" in (said.fallback or "")
        assert tree.ask(said.until).paths == set()


def test_a_session_that_was_cut_off_is_not_believed(tree: Tree) -> None:
    with tree.recording():
        pass
    with tree.recording():
        said = tree.ask(b'["0123", 5]')
        assert said.hints is None
        assert "cut off" in (said.fallback or "")


@pytest.mark.parametrize("mark", [b"", b"\xff", b"{}", b"[1]", b'["a", "b"]', b"null"])
def test_a_mark_of_something_else_is_not_believed(tree: Tree, mark: bytes) -> None:
    with tree.recording():
        assert tree.ask(mark).hints is None


def test_a_mark_older_than_what_was_dropped_is_not_believed(tree: Tree) -> None:
    with tree.recording():
        first = tree.mark()
        (tree.root / "a").touch()
        second = tree.ask(first).until
        (tree.root / "b").touch()
        assert tree.ask(second).paths == {b"b"}
        said = tree.ask(first)
        assert said.hints is None
        assert "dropped" in (said.fallback or "")


def test_an_overflow_of_the_queue_is_a_gap_and_recording_goes_on(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is held up until the kernel has thrown events away."""
    go_on = threading.Event()
    take = Watches.take

    def slow(self: Watches, packed: bytes, changed: Changes) -> None:
        go_on.wait()
        take(self, packed, changed)

    (tree.root / "d").mkdir()
    with tree.recording() as recording:
        mark = tree.mark()
        monkeypatch.setattr(Watches, "take", slow)
        most = limits.limit("max_queued_events")
        with (tree.root / "d/a").open("wb", 0) as one, (tree.root / "d/b").open("wb", 0) as two:
            for _ in range(most):
                one.write(b"1")
                two.write(b"2")
        (tree.root / "d/unseen").mkdir()
        go_on.set()
        said = tree.ask(mark)
        assert said.hints is None
        assert "more changed at once" in (said.fallback or "")
        assert recording.wait(0)
        (tree.root / "d/unseen/f").touch()
        assert tree.ask(said.until).paths >= {b"d/unseen/f"}


def test_a_mount_below_the_root_is_a_gap(tmp_path: Path, tmpfs: Callable[[str], Path]) -> None:
    tree = Tree(tmp_path)
    with tree.recording():
        mark = tree.mark()
        mounted = tmpfs("size=4m")
        said = tree.ask(mark)
        assert said.hints is None
        assert "mounted" in (said.fallback or "")
        (mounted / "f").touch()
        assert tree.ask(said.until).paths >= {mounted.name.encode() + b"/f"}


def test_an_unmounted_root_is_a_gap(tmpfs: Callable[[str], Path]) -> None:
    base = tmpfs("size=4m")
    (base / "root").mkdir()
    tree = Tree(base / "root")
    with tree.recording():
        mark = tree.mark()
        tree.root.rename(base / "away")
        (base / "root").mkdir()
        (base / "away/.n2s").rename(base / "root/.n2s")
        said = tree.ask(mark)
        assert said.hints is None
        assert "the root was moved" in (said.fallback or "")
        (tree.root / "f").touch()
        assert tree.ask(said.until).paths == {b"f"}


def test_too_few_watches_are_said_with_what_to_do_and_come_back(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tree.root / f"{number}").mkdir()
    add = Inotify.add
    left = 10

    def scarce(self: Inotify, directory: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return add(self, directory)

    monkeypatch.setattr(Inotify, "add", scarce)
    with tree.recording() as recording:
        assert recording.trouble is not None
        assert "has 21 directories" in recording.trouble
        assert "sysctl fs.inotify.max_user_watches=" in recording.trouble
        said = tree.ask()
        assert (said.hints, said.until, said.fallback) == (None, None, recording.trouble)
        left = 1000
        recording.doubt("a test wants it")
        until(lambda: recording.trouble is None, "the trouble is over")
        mark = tree.mark()
        (tree.root / "7/f").touch()
        assert tree.ask(mark).paths == {b"7/f"}


def test_watches_that_run_out_later_are_a_gap(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: Inotify, directory: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with tree.recording() as recording:
        mark = tree.mark()
        monkeypatch.setattr(Inotify, "add", none_left)
        (tree.root / "new").mkdir()
        until(lambda: recording.trouble, "the trouble is said")
        said = tree.ask(mark)
        assert (said.hints, said.until) == (None, None)
        assert "max_user_watches" in (said.fallback or "")
        assert recording.wait(0)


def test_one_directory_at_two_places_is_refused_with_its_name(tree: Tree, as_root: None) -> None:
    for name in ("one", "two"):
        (tree.root / name).mkdir()
    one, two = tree.root / "one", tree.root / "two"
    subprocess.run(["mount", "--bind", one, two], check=True)
    try:
        with tree.recording() as recording:
            assert "mounted at two places" in (recording.trouble or "")
            assert tree.ask().hints is None
    finally:
        subprocess.run(["umount", two], check=True)


def test_a_directory_that_may_not_be_read_is_no_gap_and_is_named_when_it_may(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree.root / "d/sub").mkdir(parents=True)
    add = Inotify.add
    forbidden = {os.fsencode(tree.root / "d")}

    def guarded(self: Inotify, directory: bytes) -> int:
        if directory in forbidden:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return add(self, directory)

    monkeypatch.setattr(Inotify, "add", guarded)
    with tree.recording() as recording:
        assert recording.trouble is None
        mark = tree.mark()
        forbidden.clear()
        (tree.root / "d").chmod(0o755)
        said = tree.ask(mark)
        assert said.names(b"d/sub")
        assert said.until is not None
        (tree.root / "d/sub/f").touch()
        assert tree.ask(said.until).names(b"d/sub/f")


def test_more_changes_than_a_walk_costs_are_walked(tree: Tree) -> None:
    tree.options = {"max-changes": "3"}
    with tree.recording():
        mark = tree.mark()
        for number in range(3):
            (tree.root / f"{number}").touch()
        assert len(tree.ask(mark).paths) == 3
        (tree.root / "one more").touch()
        said = tree.ask(mark)
        assert said.hints is None
        assert "More than 3 paths" in (said.fallback or "")


@pytest.mark.parametrize("options", [{"max-changes": "-1"}, {"max-changes": "a"}, {"x": "1"}])
def test_wrong_options_are_refused(tree: Tree, options: dict[str, str]) -> None:
    tree.options = options
    with pytest.raises(DiscoveryError, match="max-changes"):
        tree.watch.check(tree.source())


def test_a_doubt_is_a_walk(tree: Tree) -> None:
    with tree.recording() as recording:
        mark = tree.mark()
        recording.doubt("a test wants it")
        said = tree.ask(mark)
        assert said.hints is None
        assert "a test wants it" in (said.fallback or "")
        assert tree.ask(said.until).paths == set()


def test_a_second_recorder_is_refused(tree: Tree) -> None:
    with (
        tree.recording(),
        pytest.raises(DiscoveryError, match="being recorded already"),
        tree.recording(),
    ):
        pass
    with tree.recording():
        assert tree.ask().fallback is None


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 1000])
def test_a_damaged_journal_is_made_anew(tree: Tree, damage: bytes) -> None:
    with tree.recording():
        mark = tree.mark()
    journal(tree).write_bytes(damage)
    with tree.recording():
        said = tree.ask(mark)
        assert said.hints is None
        assert tree.ask(said.until).paths == set()


def test_a_journal_that_is_lost_under_way_is_a_walk(tree: Tree) -> None:
    with tree.recording():
        mark = tree.mark()
        for ending in ("", "-wal", "-shm"):
            Path(f"{journal(tree)}{ending}").unlink()
        said = tree.ask(mark)
        assert said.hints is None
        assert "journal of changes cannot be read" in (said.fallback or "")


def test_a_gap_while_the_feed_is_read_breaks_it_off(tree: Tree) -> None:
    with tree.recording() as recording:
        mark = tree.mark()
        (tree.root / "f").touch()
        with tree.watch.discover(tree.source(), mark) as found:
            assert not found.complete
            recording.doubt("a test wants it")
            tree.mark()  # the new session has begun
            with pytest.raises(DiscoveryError, match="interrupted"):
                list(found.changes)


def test_a_folder_that_cannot_be_made_is_named(tree: Tree) -> None:
    (tree.root / ".n2s").write_text("no folder")
    with pytest.raises(DiscoveryError, match="journal of changes cannot be kept"), tree.recording():
        pass
