"""Promise: feeds are hints. What they name is looked at, and what they miss is found."""

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from n2s_core.app.pushing import PushOrder, push
from n2s_core.errors import DiscoveryError, MassRemoval
from n2s_core.flows.push import Outcome
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.plugins import Host
from tests.conftest import Dataset, MakeDataset, quiet

WRITTEN, SUBTREE = ChangeKind.WRITTEN, ChangeKind.SUBTREE_WRITTEN
ENTRIES = ChangeKind.ENTRIES


@dataclasses.dataclass
class Told:
    """A discoverer that says what the test tells it; without a mark it walks."""

    name = "told"
    feed: list[tuple[bytes, ChangeKind]] = dataclasses.field(default_factory=list)
    error: str | None = None
    doubts_links: bool = False
    asked: list[Mark | None] = dataclasses.field(default_factory=list)

    def check(self, source: Source) -> None:
        """Works everywhere."""

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        self.asked.append(since)
        mark = b"mark-%d" % len(self.asked)
        if since is None:
            whole = source.walk(source.root)
            return nullcontext(Discovery(source.root, mark, complete=True, changes=whole))
        return nullcontext(
            Discovery(
                source.root,
                mark,
                complete=False,
                changes=self._changes(),
                doubts_links=self.doubts_links,
            )
        )

    def _changes(self) -> Iterator[Change]:
        for path, kind in self.feed:
            yield Change(path, kind)
        if self.error:
            raise DiscoveryError(self.error)


@pytest.fixture(name="told")
def discoverer(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(Host, "discoverer", lambda _self, _name: made)
    return made


def push_told(dataset: Dataset, *feed: bytes | tuple[bytes, ChangeKind], **how: object) -> Outcome:
    with dataset.space() as space:
        told = Host().discoverer("told")
        assert isinstance(told, Told)
        told.feed = [one if isinstance(one, tuple) else (one, WRITTEN) for one in feed]
        order = PushOrder(using="told", **how)  # type: ignore[arg-type]
        return push(space, order, quiet)[0]


def write(dataset: Dataset, *names: str, content: bytes = b"1") -> None:
    for name in names:
        path = dataset.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_only_what_the_feed_names_is_looked_at(dataset: Dataset, told: Told) -> None:
    write(dataset, *(f"d{n}/f{m}" for n in range(5) for m in range(5)))
    push_told(dataset)
    write(dataset, "d1/f1", content=b"2")
    write(dataset, "d2/new")
    (dataset.root / "d3/f3").unlink()
    done = push_told(dataset, b"d1/f1", b"d2/new", b"d3/f3")
    assert (done.written, done.removed, done.fallback) == (2, 1, None)
    assert told.asked == [None, b"mark-1"]
    dataset.assert_restores()


@pytest.mark.parametrize("named", [b"a", b"b", b"c"])
def test_one_name_of_a_file_is_enough_for_all_of_them(
    dataset: Dataset, told: Told, named: bytes
) -> None:
    write(dataset, "a", "x")
    (dataset.root / "b").hardlink_to(dataset.root / "a")
    push_told(dataset)
    (dataset.root / "c").hardlink_to(dataset.root / "a")
    (dataset.root / "a").write_bytes(b"changed")
    done = push_told(dataset, named, b"c")
    assert done.fallback is None
    dataset.assert_restores()


def test_what_is_named_with_its_directory_and_alone_counts_once(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a/b/one", "a/b/two", "a/three")
    push_told(dataset)
    shutil.rmtree(dataset.root / "a" / "b")
    write(dataset, "a/three", "a/four", content=b"changed")
    done = push_told(dataset, (b"a", SUBTREE), (b"a", ENTRIES), b"a/three", b"a/b/one")
    assert (done.written, done.touched, done.removed) == (2, 1, 3)
    with dataset.space() as space:
        assert space.dataset.live_files == len([*dataset.root.rglob("*")]) - 1
    dataset.assert_restores()


def test_a_name_that_is_gone_is_enough_for_those_that_stay(dataset: Dataset, told: Told) -> None:
    write(dataset, "deep/a", "x")
    (dataset.root / "b").hardlink_to(dataset.root / "deep/a")
    (dataset.root / "other").mkdir()
    (dataset.root / "other/c").hardlink_to(dataset.root / "b")
    push_told(dataset)
    shutil.rmtree(dataset.root / "deep")
    (dataset.root / "b").chmod(0o600)
    assert push_told(dataset, (b"deep", SUBTREE)).fallback is None
    dataset.assert_restores()
    (dataset.root / "other").rename(dataset.root / "moved")
    assert push_told(dataset, (b"other", SUBTREE), (b"moved", SUBTREE)).fallback is None
    dataset.assert_restores()


def test_directories_that_swap_names_are_looked_at_as_subtrees(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a/one", "a/sub/two", "b/three", "b/sub/four")
    push_told(dataset)
    (dataset.root / "a").rename(dataset.root / "t")
    (dataset.root / "b").rename(dataset.root / "a")
    (dataset.root / "t").rename(dataset.root / "b")
    write(dataset, "a/sub/new")
    done = push_told(dataset, (b"a", SUBTREE), b"a/sub/new", (b"b", SUBTREE), b"a/sub")
    assert done.fallback is None
    dataset.assert_restores()


def test_what_the_feed_missed_is_found_by_the_audit_and_doubted_from_then_on(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, *(f"f{n:02}" for n in range(30)))
    push_told(dataset)
    write(dataset, "f07", "f11", content=b"changed")
    done = push_told(dataset, b"f07")
    assert done.fallback is not None
    assert "f11" in done.fallback
    assert (done.audit.missed, done.complete, done.written) == (1, True, 2)
    dataset.assert_restores()
    with dataset.space() as space:
        assert b"f11" in next(space.catalogue.audits.doubted(1))
        looked, missed = space.catalogue.audits.counts(1)
    assert missed == 1
    assert looked >= 30
    write(dataset, "f11", content=b"changed again")
    done = push_told(dataset, b"f07")
    assert (done.fallback, done.written) == (None, 1)
    dataset.assert_restores()


def test_the_entries_of_directories_that_the_feed_names_are_audited(
    dataset: Dataset, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("n2s_core.flows.comparing.audited_span", lambda _live: 3)
    write(dataset, "a/one", "z/one", "z/two", "z/sub/three")
    push_told(dataset)
    push_told(dataset, b"z")
    write(dataset, "z/new")
    (dataset.root / "z/two").write_bytes(b"changed in silence")
    done = push_told(dataset, b"z")
    assert done.fallback == "The feed did not name z/new and 1 other paths that had changed."
    assert done.audit.missed == 2
    dataset.assert_restores()


def test_audits_go_through_the_whole_tree(
    dataset: Dataset, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("n2s_core.flows.comparing.audited_span", lambda _live: 7)
    write(dataset, *(f"d{n}/f{m}" for n in range(6) for m in range(6)))
    push_told(dataset)
    write(dataset, "d4/f4", content=b"changed in silence")
    outcomes = [push_told(dataset) for _ in range(8)]
    assert [one.fallback is None for one in outcomes].count(False) == 1
    assert all(one.audit.looked <= 8 for one in outcomes if one.fallback is None)
    dataset.assert_restores()


def test_a_feed_that_breaks_off_becomes_a_walk_that_says_why(dataset: Dataset, told: Told) -> None:
    write(dataset, "a", "b", "c/d")
    push_told(dataset)
    write(dataset, "a", "b", "c/new", content=b"changed")
    told.error = "The stream ended in the middle."
    done = push_told(dataset, b"a")
    assert (done.fallback, done.complete) == (told.error, True)
    assert done.written == 3
    dataset.assert_restores()
    told.error = None
    assert push_told(dataset).changeset_id is None


def test_directories_that_took_the_place_of_others_are_looked_at_with_all_that_is_in_them(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a/one", "a/sub/two", "b/three", "b/sub/four", "c/five")
    push_told(dataset)
    (dataset.root / "a").rename(dataset.root / "t")
    (dataset.root / "b").rename(dataset.root / "a")
    (dataset.root / "t").rename(dataset.root / "b")
    write(dataset, "another/five", "another/six")  # has another inode for certain
    shutil.rmtree(dataset.root / "c")
    (dataset.root / "another").rename(dataset.root / "c")
    done = push_told(dataset, (b"", ENTRIES))
    assert done.fallback is None
    dataset.assert_restores()


def test_the_entries_of_a_directory_are_compared_when_the_feed_says_so(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a/one", "a/two", "a/sub/three", "b/four")
    push_told(dataset)
    (dataset.root / "a/one").unlink()
    write(dataset, "a/new", "a/fresh/deep/five")
    (dataset.root / "b/four").rename(dataset.root / "a/four")
    done = push_told(dataset, (b"a", ENTRIES), (b"b", ENTRIES))
    assert done.fallback is None
    dataset.assert_restores()


def test_what_moved_with_its_directory_is_stored_as_aliases_and_not_read(
    make_dataset: MakeDataset, told: Told
) -> None:
    dataset = make_dataset(share=True)
    write(dataset, *(f"a/sub/f{n}" for n in range(50)), "a/changed", "b/x", content=b"content")
    (dataset.root / "a/large").write_bytes(os.urandom(3 << 20))
    (dataset.root / "a/hole").touch()
    os.truncate(dataset.root / "a/hole", 5 << 20)
    (dataset.root / "a/other").hardlink_to(dataset.root / "a/sub/f1")
    (dataset.root / "a/name").hardlink_to(dataset.root / "b/x")
    age(dataset)
    push_told(dataset)
    push_told(
        dataset,
        *(
            one.relative_to(dataset.root).as_posix().encode()
            for one in sorted(dataset.root.rglob("*"))
        ),
    )
    (dataset.root / "a").rename(dataset.root / "b/moved")
    (dataset.root / "b/moved/changed").write_bytes(b"something else")
    done = push_told(dataset, (b"b/moved", SUBTREE), (b"a", SUBTREE))
    assert done.fallback is None
    assert done.bytes_read == len(b"something else")
    dataset.assert_restores()
    (dataset.root / "b/moved").rename(dataset.root / "a")
    assert push_told(dataset, (b"", ENTRIES), (b"b", ENTRIES)).bytes_read == 0
    dataset.assert_restores()


def test_without_sharing_every_path_of_a_moved_directory_has_its_own_blob(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, *(f"a/sub/f{n}" for n in range(5)), content=b"content")
    push_told(dataset)
    (dataset.root / "a").rename(dataset.root / "b")
    assert push_told(dataset, (b"a", SUBTREE), (b"b", SUBTREE)).bytes_read == 5 * len(b"content")
    dataset.assert_restores()


def test_with_doubted_links_every_name_and_every_listed_directory_is_looked_at(
    dataset: Dataset, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("n2s_core.flows.comparing.audited_span", lambda _live: 1)
    write(dataset, "a/one", "a/two", "b/three", "z")
    (dataset.root / "b/four").hardlink_to(dataset.root / "a/one")
    push_told(dataset)
    told.doubts_links = True
    (dataset.root / "a/one").write_bytes(b"changed in silence")
    (dataset.root / "b/five").hardlink_to(dataset.root / "z")
    (dataset.root / "b/three").unlink()
    done = push_told(dataset, b"b", b"z")
    assert done.fallback is None
    dataset.assert_restores()


def test_a_new_directory_that_only_a_listing_shows_is_stored_with_all_that_is_in_it(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a/one", "b")
    push_told(dataset)
    write(dataset, "a/new/deep/er", "a/new/two")
    told.doubts_links = True
    assert push_told(dataset, b"a").fallback is None
    dataset.assert_restores()


def age(dataset: Dataset) -> None:
    """Wait until the files are old enough for their times to be believed."""
    time.sleep(0.05)


def test_what_verify_found_lost_is_stored_again_though_no_feed_names_it(
    dataset: Dataset, told: Told
) -> None:
    write(dataset, "a", content=b"a" * 5000)
    (dataset.root / "b").hardlink_to(dataset.root / "a")
    age(dataset)
    push_told(dataset)
    for path in dataset.objects("data").values():
        path.unlink()
    assert dataset.verify().missing
    write(dataset, "new")
    done = push_told(dataset, b"new")
    assert done.fallback is None
    dataset.assert_restores()
    age(dataset)
    push_told(dataset)
    with dataset.space() as space:
        assert list(space.catalogue.audits.doubted(1)) == [[]]


def test_what_changed_within_the_grain_of_its_time_is_looked_at_again(
    dataset: Dataset, told: Told
) -> None:
    """A file may change once more right after it was read, with the same times and size."""
    write(dataset, "just written", "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("n2s_core.flows.seal.TIMESTAMP_GRAIN_NS", 10**18)
        push_told(dataset)
    write(dataset, "just written", content=b"2")
    age(dataset)
    done = push_told(dataset)
    assert told.asked == [None, b"mark-1"]
    assert (done.fallback, done.audit.missed) == (None, 0)
    dataset.assert_restores()
    with dataset.space() as space:
        assert list(space.catalogue.audits.doubted(1)) == [[]]


def test_other_excludes_are_a_walk(dataset: Dataset, told: Told) -> None:
    write(dataset, "a", "left.out")
    with dataset.space() as space:
        push(space, PushOrder(using="told", exclude=("*.out",)), quiet)
    done = push_told(dataset)
    assert done.fallback is not None
    assert told.asked == [None, None]
    dataset.assert_restores()


def many(dataset: Dataset, count: int) -> Path:
    folder = dataset.root / "many"
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"f{number}").write_bytes(b"%d" % (number % 7))
    return folder


def test_an_empty_mount_point_removes_nothing(dataset: Dataset) -> None:
    folder = many(dataset, 1500)
    first = dataset.push()
    folder.rename(dataset.base / "away")
    with pytest.raises(MassRemoval, match="1500 of 1500 files"):
        dataset.push()
    assert dataset.changesets()[0].changeset_id == first.changeset_id
    (dataset.base / "away").rename(folder)
    done = dataset.push()
    assert (done.written, done.removed, done.bytes_read) == (0, 0, 0)
    dataset.assert_restores()


def test_a_mass_removal_that_is_meant_is_done(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("n2s_core.flows.held.IN_MEMORY", 100)
    folder = many(dataset, 1234)
    dataset.push()
    shutil.rmtree(folder)
    with pytest.raises(MassRemoval):
        dataset.push(paths=[b"many"])
    with dataset.space() as space:
        done = push(space, PushOrder(allow_mass_removal=True), quiet)[0]
    assert done.removed == 1235
    dataset.assert_restores()


def test_moving_everything_is_no_mass_removal(dataset: Dataset) -> None:
    many(dataset, 1100).rename(dataset.root / "first")
    dataset.push()
    os.rename(dataset.root / "first", dataset.root / "second")
    done = dataset.push()
    assert done.removed == 1101
    dataset.assert_restores()


def test_what_was_modified_lately_is_all_that_newer_than_looks_at(dataset: Dataset) -> None:
    write(dataset, "old", "new", "gone")
    os.utime(dataset.root / "old", (1_000_000_000, 1_000_000_000))
    dataset.push()
    write(dataset, "old", "new", content=b"changed")
    os.utime(dataset.root / "old", (1_000_000_000, 1_000_000_000))
    (dataset.root / "gone").unlink()
    with dataset.space() as space:
        done = push(space, PushOrder(options={"newer-than": "1h"}), quiet)[0]
    assert (done.written, done.removed, done.fallback, done.complete) == (1, 0, None, False)
    assert dataset.push().removed == 1
    dataset.assert_restores()
