"""Snapshots, holds and marks: what a push leaves behind for the next one."""

from collections import defaultdict
from collections.abc import Callable

import pytest

from n2s_core.errors import DiscoveryError
from n2s_core.model import Discovery
from n2s_core.ports import Discoverer
from n2s_plugins.zfs import n2s_discoverers
from n2s_plugins.zfs.doubts import MOST_DOUBTS
from n2s_plugins.zfs.options import Options
from n2s_plugins.zfs.plugin import ZfsDiff
from n2s_plugins.zfs.snapshots import SnapshotMark, hold_tag, new_name
from tests.plugins.zfs.recordings import Asker, Kept, PlayedMachine, PlayedZfs

MOUNTS = b"ext4 / ext4 rw 0 0\ntank/data /tank/data zfs rw 0 0\n"
NOW_NS = 1_795_205_118_920_000_001
TAG = "n2s:home"
LINE = b"1795205118.920000000\tM\tF\t/tank/data/f\n"


class Nas:
    """One dataset, pushed to again and again; the clock ticks by a second with each."""

    def __init__(self, *snapshots: Kept, mounts: bytes = MOUNTS) -> None:
        self.zfs = PlayedZfs("tank/data", list(snapshots), stdout=LINE)
        self.machine = PlayedMachine(mounts)
        self.asker = Asker(b"/tank/data", {"feed": "diff"})
        self.mark: bytes | None = None
        self._time_ns = NOW_NS

    def push(
        self, during: Callable[[Discovery], None] = lambda _: None, *, moves: bool = True
    ) -> Discovery:
        """One push; `moves` False: one that leaves the mark where it was, as a rehearsal does."""
        self._time_ns += 10**9
        plugin = ZfsDiff(self.zfs, self.machine, lambda: self._time_ns)
        with plugin.discover(self.asker.source, self.mark) as discovery:
            during(discovery)
        if moves:
            self.mark = discovery.until
        return discovery

    @property
    def held(self) -> list[str]:
        return [one.name for one in self.zfs.snapshots if TAG in one.tags]

    def snapshot(self, name: str, guid: str) -> str:
        txg = max((one.txg for one in self.zfs.snapshots), default=0) + 1
        self.zfs.snapshots.append(Kept(f"tank/data@{name}", guid, txg))
        self.asker.options["snapshot"] = f"tank/data@{name}"
        return f"tank/data@{name}"


def fail(_: Discovery) -> None:
    message = "the store is full"
    raise RuntimeError(message)


def test_the_hook_gives_one_discoverer_called_zfs() -> None:
    (found,) = n2s_discoverers()
    assert isinstance(found, Discoverer)
    assert found.name == "zfs"


def test_the_first_push_walks_a_snapshot_of_its_own() -> None:
    nas = Nas()
    discovery = nas.push()
    (kept,) = nas.zfs.snapshots
    assert kept.name == "tank/data@n2s-20261120T200519Z-920000001"
    assert discovery.complete
    assert discovery.fallback is None
    assert discovery.root == b"/tank/data/.zfs/snapshot/" + kept.name.partition("@")[2].encode()
    assert nas.asker.walked == [discovery.root]
    assert nas.held == [kept.name]


def test_the_next_push_asks_zfs_diff() -> None:
    nas = Nas()
    nas.push()
    seen: list[bytes] = []
    discovery = nas.push(lambda found: seen.extend(change.path for change in found.changes))
    assert not discovery.complete
    assert discovery.doubts_links
    assert seen == [b"f"]
    old, new = (one.name for one in nas.zfs.snapshots)
    assert ["zfs", "diff", "-FHt", old, new] in nas.zfs.ran


def test_both_snapshots_are_held_and_entered_during_a_push() -> None:
    nas = Nas()
    nas.push()
    held: list[str] = []
    inside: list[str] = []

    def look(_: Discovery) -> None:
        held.extend(nas.held)
        inside.extend(nas.machine.inside)

    nas.push(look)
    assert held == [one.name for one in nas.zfs.snapshots]
    assert sorted(inside) == sorted(name.partition("@")[2] for name in held)
    assert nas.machine.inside == []


def test_only_the_last_two_stay_held() -> None:
    nas = Nas()
    for _ in range(6):
        nas.push()
    assert nas.held == [one.name for one in nas.zfs.snapshots][-2:]


def test_its_own_old_snapshots_go_but_for_the_newest() -> None:
    nas = Nas(
        Kept("tank/data@daily", "g1", 1),
        Kept("tank/data@n2s-mine", "g2", 2),
        Kept("tank/data@n2s-20200101T000000Z-000000000-kept", "g3", 3),
    )
    nas.asker.options["keep"] = "1"
    for _ in range(6):
        nas.push()
    names = [one.name for one in nas.zfs.snapshots]
    assert len(names) == 3 + 3  # one that is kept, and the two that are held
    assert names[:3] == [
        "tank/data@daily", "tank/data@n2s-mine", "tank/data@n2s-20200101T000000Z-000000000-kept",
    ]  # fmt: skip


def test_a_push_that_fails_gives_up_its_own_snapshot_and_keeps_the_base() -> None:
    nas = Nas()
    nas.push()
    base = nas.held
    with pytest.raises(RuntimeError, match="full"):
        nas.push(fail)
    assert nas.held == base
    assert nas.machine.inside == []
    assert not nas.push().complete


def test_the_base_outlives_pushes_that_leave_the_mark_where_it_was() -> None:
    nas = Nas()
    nas.push()
    (base,) = nas.held
    for _ in range(3):
        nas.push(moves=False)
        assert base in nas.held
    assert len(nas.held) == 2
    assert not nas.push().complete


def test_the_holds_of_others_are_left_alone() -> None:
    nas = Nas(Kept("tank/data@n2s-20200101T000000Z-000000000", "g1", 1, {"n2s:other", "cron"}))
    for _ in range(4):
        nas.push()
    assert nas.zfs.snapshots[0].tags == {"n2s:other", "cron"}


def test_a_renamed_snapshot_is_found_again() -> None:
    nas = Nas()
    nas.push()
    nas.zfs.snapshots[0].name = "tank/data@renamed"
    assert not nas.push().complete


def test_a_base_that_is_gone_means_a_walk() -> None:
    nas = Nas()
    nas.push()
    nas.zfs.snapshots.clear()
    discovery = nas.push()
    assert discovery.complete
    assert discovery.fallback is not None
    assert "guid guid-1 of tank/data" in discovery.fallback
    assert nas.asker.walked[-1] == discovery.root


def test_the_bookmark_of_a_base_that_is_gone_is_named() -> None:
    nas = Nas()
    nas.push()
    nas.zfs.snapshots.clear()
    nas.zfs.bookmarks = "tank/data#last\tguid-1\n"
    assert "its bookmark tank/data#last" in str(nas.push().fallback)


def test_a_rehearsal_leaves_no_snapshot_and_no_hold() -> None:
    nas = Nas()
    nas.push()
    before, held = [one.name for one in nas.zfs.snapshots], nas.held
    nas.asker.dry_run = True
    nas.push(moves=False)
    assert ([one.name for one in nas.zfs.snapshots], nas.held) == (before, held)
    other = nas.snapshot("daily-1", "g1")
    nas.push(moves=False)
    assert [one.name for one in nas.zfs.snapshots] == [*before, other]
    assert nas.held == held


@pytest.mark.parametrize("mark", [b"", b"\xff", b"[]", b"{}", b'{"zfs": 2}', b'{"zfs":1,"guid":5}'])
def test_a_foreign_mark_means_a_walk(mark: bytes) -> None:
    nas = Nas()
    nas.mark = mark
    discovery = nas.push()
    assert discovery.complete
    assert "mark" in str(discovery.fallback)


def test_a_mark_comes_back() -> None:
    mark = SnapshotMark("tank/é", "12621776980874500467", frozenset({b"a/\xff\n", "é".encode()}))
    assert SnapshotMark.decode(mark.encode()) == mark


def test_a_snapshot_of_somebody_else_is_read_and_kept() -> None:
    nas = Nas()
    first = nas.snapshot("daily-1", "g1")
    nas.push()
    second = nas.snapshot("daily-2", "g2")
    discovery = nas.push()
    assert not discovery.complete
    assert discovery.root.endswith(b"/daily-2")
    assert [one.name for one in nas.zfs.snapshots] == [first, second]
    assert not any(words[1] in {"snapshot", "destroy"} for words in nas.zfs.ran)


def test_the_same_snapshot_again_has_no_changes() -> None:
    nas = Nas()
    nas.snapshot("daily", "g1")
    nas.push()
    discovery = nas.push()
    assert not discovery.complete
    assert list(discovery.changes) == []
    with pytest.raises(RuntimeError):
        nas.push(fail)
    assert nas.held == ["tank/data@daily"]


def test_an_older_snapshot_than_the_last_is_walked() -> None:
    nas = Nas()
    nas.snapshot("one", "g1")
    nas.snapshot("two", "g2")
    nas.push()
    nas.asker.options["snapshot"] = "tank/data@one"
    discovery = nas.push()
    assert discovery.complete
    assert "newer than tank/data@one" in str(discovery.fallback)


def test_too_many_changes_mean_a_walk() -> None:
    nas = Nas()
    nas.asker.options["max-changes"] = "3"
    nas.push()
    nas.zfs.stdout = LINE * 3
    assert not nas.push().complete
    nas.zfs.stdout = LINE * 4
    discovery = nas.push()
    assert discovery.complete
    assert "more than 3 changes" in str(discovery.fallback)


def test_limits_follow_the_size_of_the_dataset() -> None:
    usual = Options.parse({})
    assert usual.limits(0).changes == 10_000
    assert usual.limits(0).wait_s == 600
    assert usual.limits(10_000_000).changes == 500_000
    assert usual.limits(10_000_000).wait_s == 10_000
    asked = Options.parse({"max-changes": "0", "max-minutes": "2"}).limits(10_000_000)
    assert (asked.changes, asked.wait_s) == (0, 120)


@pytest.mark.parametrize(
    ("stderr", "exit_code"), [(b"Unable to determine path or stats for object 5\n", 0), (b"", 1)]
)
def test_a_diff_that_fails_late_means_a_walk(stderr: bytes, exit_code: int) -> None:
    nas = Nas()
    nas.push()
    nas.zfs.stdout = LINE * 100
    nas.zfs.stderr, nas.zfs.exit_code = stderr, exit_code
    discovery = nas.push()
    assert discovery.complete
    assert "zfs diff from tank/data@n2s-" in str(discovery.fallback)


def test_a_base_that_vanishes_before_it_is_held_means_a_walk() -> None:
    nas = Nas()
    nas.snapshot("one", "g1")
    nas.push()
    nas.zfs.snapshots[0].tags.clear()
    nas.snapshot("two", "g2")
    nas.zfs.cannot_be_held = {"tank/data@one"}
    discovery = nas.push()
    assert discovery.complete
    assert "zfs hold of tank/data@one failed" in str(discovery.fallback)
    assert nas.held == ["tank/data@two"]


def told_wrongly(nas: Nas, names: list[bytes]) -> bytes:
    """A diff that calls files removed which are in both snapshots; pushes it."""
    nas.push()
    nas.zfs.stdout = b"".join(LINE.replace(b"M", b"-").replace(b"/f", b"/" + one) for one in names)
    entries = {name: {"ino": number} for number, name in enumerate(names, 5)}
    nas.machine.trees = defaultdict(lambda: entries)
    nas.push()
    nas.zfs.stdout = b""
    return nas.mark or b""


def test_a_doubt_ends_when_the_file_is_gone() -> None:
    nas = Nas()
    mark = SnapshotMark.decode(told_wrongly(nas, [b"p", b"q"]))
    assert mark is not None
    assert mark.doubts == {b"p", b"q"}
    nas.machine.trees = defaultdict(lambda: {b"p": {"ino": 9}})
    seen: list[bytes] = []
    nas.push(lambda found: seen.extend(change.path for change in found.changes))
    assert seen == [b"p", b"q"]
    mark = SnapshotMark.decode(nas.mark or b"")
    assert mark is not None
    assert mark.doubts == {b"p"}


def test_a_doubt_outlives_a_walk() -> None:
    nas = Nas()
    told_wrongly(nas, [b"p"])
    nas.zfs.stdout = b"what?\n"
    assert nas.push().complete
    mark = SnapshotMark.decode(nas.mark or b"")
    assert mark is not None
    assert mark.doubts == {b"p"}


def test_too_many_doubts_mean_a_walk_each_time() -> None:
    nas = Nas()
    nas.asker.options["max-changes"] = "100000"
    told_wrongly(nas, [b"%d" % number for number in range(MOST_DOUBTS + 100)])
    for _ in range(2):
        assert "called more than 1000 files removed" in str(nas.push().fallback)


def test_a_base_that_cannot_be_entered_means_a_walk() -> None:
    nas = Nas()
    nas.push()
    nas.machine.closed = {nas.zfs.snapshots[0].name.partition("@")[2]}
    assert "cannot be entered" in str(nas.push().fallback)


@pytest.mark.parametrize("verb", ["snapshot", "hold"])
def test_a_missing_permission_ends_the_push_and_says_which(verb: str) -> None:
    nas = Nas()
    nas.zfs.refuses = {verb: "cannot create snapshots : permission denied\n"}
    with pytest.raises(DiscoveryError, match="zfs allow USER send,diff,hold,release,snapshot"):
        nas.push()


def test_what_is_mounted_below_is_named() -> None:
    nas = Nas(
        mounts=MOUNTS
        + b"tank/data/child /tank/data/c\\040d zfs rw 0 0\n"
        + b"tank/data/child/deep /tank/data/c\\040d/deep zfs rw 0 0\n"
        + b"/dev/sdb1 /tank/data/disk ext4 rw 0 0\n"
        + b"nas:/x /tank/data/share nfs4 rw 0 0\n"
        + b"tmpfs /tank/data/run tmpfs rw 0 0\n"
        + b"tank/data@a /tank/data/.zfs/snapshot/a zfs ro 0 0\n"
        + b"tank/data2 /tank/data2 zfs rw 0 0\n"
    )
    nas.push()
    assert [path for path, _ in nas.asker.reported] == [b"c d", b"disk", b"share"]
    assert "another dataset, tank/data/child," in nas.asker.reported[0][1]


def test_two_pushes_at_one_moment_have_two_names() -> None:
    assert new_name("t", "n2s", NOW_NS) != new_name("t", "n2s", NOW_NS + 1)


def test_each_dataset_of_n2s_has_its_own_tag() -> None:
    names = ["home", "Home", "a b", "a_b", "ä", "x" * 101, "x" * 102]
    tags = {hold_tag(name) for name in names}
    assert len(tags) == len(names)
    assert all(tag.isascii() and " " not in tag and len(tag) < 200 for tag in tags)
