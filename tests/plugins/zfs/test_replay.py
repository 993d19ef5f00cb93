"""Every recorded feed leads the core from the old tree to the new one, or says that it cannot.

What is stored is the recorded old tree, what is looked at the recorded new one. The objects of a
stream lead there in every case; what zfs diff conceals is named below.
"""

from dataclasses import dataclass

import pytest

from n2s_plugins.zfs.plugin import ZfsDiff
from n2s_plugins.zfs.snapshots import SnapshotMark
from tests.plugins.zfs.core_rules import Replay, unlike
from tests.plugins.zfs.recordings import DIFFS, VERSIONS, Asker, Diff, played, tree

# Recorded diffs that cannot be used, each with a piece of the reason that the user sees.
WALKS = {
    ("hardlink-stale-parent-reused-by-file", "a", "b"): "an object whose path it could not find",
    ("path-longer-than-4096", "a", "b"): "a path of 4095 bytes or more, which it cuts off",
}

# zfs diff says nothing of these changes, with status 0 and not a word on stderr.
STALE = (
    "the link made last was removed, and of a file whose remaining name is an older one zfs diff"
    " says nothing from then on"
)
CONCEALED = {
    ("ctime-equal", "a", "b"): "the clock was set back, and to the nanosecond the ctime is equal",
    ("hardlink-cp-al-delete-new-copy", "c", "d"): STALE,
    ("hardlink-name-replaced", "b", "c"): STALE,
    ("hardlink-stale-parent-chmod", "a", "b"): STALE,
    ("hardlink-stale-parent-dir-gone", "a", "b"): STALE,
    ("hardlink-stale-parent-modify", "a", "b"): STALE,
    ("hardlink-unlink-keeps-old-name", "b", "c"): STALE,
}


@dataclass(frozen=True, slots=True)
class Pushed:
    """Paths that are `wrong` after a push by a feed, why it was `walked` if it was, the mark."""

    wrong: list[bytes]
    walked: str | None
    mark: bytes | None


def push(diff: Diff, feed: str, mark: bytes | None = None, *, bookmark: bool = False) -> Pushed:
    zfs, machine = played(diff)
    case = diff.recording
    asker = Asker(machine_root(machine.text))
    guids = {one.name.partition("@")[2]: one.guid for one in zfs.snapshots}
    asker.options = {"snapshot": f"{case['dataset']}@{diff.new}", "feed": feed}
    old, new = tree(case, diff.old), tree(case, diff.new)
    asker.stored = old
    if mark is None:
        mark = SnapshotMark(case["dataset"], guids[diff.old]).encode()
    if bookmark:
        zfs.bookmarks = f"{case['dataset']}#old\t{guids[diff.old]}\n"
        zfs.snapshots = [one for one in zfs.snapshots if one.guid != guids[diff.old]]
    with ZfsDiff(zfs, machine).discover(asker.source, mark) as discovery:
        assert sorted(machine.inside) == sorted({diff.new} if bookmark else {diff.old, diff.new})
        if discovery.complete:
            assert asker.walked == [discovery.root]
            assert discovery.fallback is not None
            return Pushed([], discovery.fallback, discovery.until)
        assert discovery.doubts_links is (feed == "diff")
        replay = Replay(old, new, doubts_links=discovery.doubts_links)
        wrong = unlike(replay.push(discovery.changes), new)
        return Pushed(wrong, None, discovery.until)


def machine_root(mounts: bytes) -> bytes:
    field = mounts.split(b" ")[1]
    return field.replace(b"\\040", b" ").replace(b"\\134", b"\\")


def case_of(diff: Diff) -> tuple[str, str, str]:
    return diff.case, diff.old, diff.new


@pytest.mark.parametrize(
    "diff",
    [
        pytest.param(
            diff,
            id=str(diff),
            marks=pytest.mark.xfail(reason=CONCEALED[case_of(diff)], raises=AssertionError)
            if case_of(diff) in CONCEALED
            else (),
        )
        for diff in DIFFS
    ],
)
def test_a_push_by_zfs_diff_arrives_at_the_new_tree(diff: Diff) -> None:
    pushed = push(diff, "diff")
    assert pushed.wrong == []
    if case_of(diff) in WALKS:
        assert pushed.walked is not None
        assert WALKS[case_of(diff)] in pushed.walked
    else:
        assert pushed.walked is None


@pytest.mark.parametrize("diff", DIFFS, ids=str)
def test_a_push_by_the_objects_of_the_stream_arrives_at_the_new_tree(diff: Diff) -> None:
    assert push(diff, "send") == Pushed([], None, push(diff, "send").mark)


@pytest.mark.parametrize("diff", DIFFS, ids=str)
def test_a_bookmark_of_the_old_snapshot_is_enough_for_a_stream(diff: Diff) -> None:
    pushed = push(diff, "send", bookmark=True)
    assert (pushed.wrong, pushed.walked) == ([], None)


def test_only_these_recorded_diffs_end_in_a_walk() -> None:
    walks = sorted({case_of(diff) for diff in DIFFS if push(diff, "diff").walked is not None})
    assert walks == sorted(WALKS)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_was_falsely_called_removed_is_looked_at_from_then_on(version: str) -> None:
    """What no single diff shows: CONCEALED has the second of these pushes on its own."""
    case = "hardlink-unlink-keeps-old-name"
    first = push(Diff(version, case, "a", "b"), "diff")
    assert first.mark is not None
    assert push(Diff(version, case, "b", "c"), "diff", first.mark).wrong == []


def test_every_case_was_recorded_with_both_versions() -> None:
    both = {(diff.version, *case_of(diff)) for diff in DIFFS}
    only = {one[1] for one in both if len({two[0] for two in both if two[1:] == one[1:]}) == 1}
    assert only == {"longname-feature"}


def test_a_feed_that_is_cut_anywhere_in_a_line_is_not_used() -> None:
    diff = next(one for one in DIFFS if one.case == "everything")
    whole = played(diff)[0].stdout
    for length in range(1, 400):
        zfs, machine = played(diff)
        zfs.stdout = whole[:length]
        asker = Asker(machine_root(machine.text))
        asker.options = {"snapshot": f"{zfs.dataset}@{diff.new}", "feed": "diff"}
        mark = SnapshotMark(zfs.dataset, zfs.snapshots[0].guid).encode()
        with ZfsDiff(zfs, machine).discover(asker.source, mark) as discovery:
            assert discovery.complete is not whole[:length].endswith(b"\n")


def test_a_damaged_feed_is_not_used() -> None:
    diff = next(one for one in DIFFS if one.case == "names-rename")
    for place in range(0, len(played(diff)[0].stdout), 97):
        zfs, machine = played(diff)
        zfs.stdout = zfs.stdout[:place] + b"\x00" + zfs.stdout[place + 1 :]
        asker = Asker(machine_root(machine.text))
        asker.options = {"snapshot": f"{zfs.dataset}@{diff.new}", "feed": "diff"}
        mark = SnapshotMark(zfs.dataset, zfs.snapshots[0].guid).encode()
        with ZfsDiff(zfs, machine).discover(asker.source, mark) as discovery:
            assert discovery.complete
            assert discovery.fallback is not None
            assert "zfs diff" in discovery.fallback
