"""Promise: between two snapshots of a real btrfs, the feed names all that changed."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from n2s_core.app.preparing import InitOrder, init
from n2s_core.app.pushing import PushOrder, push
from n2s_core.errors import DiscoveryError, Refused
from n2s_core.flows.push import Outcome
from n2s_core.stores.file import FileStore
from tests.btrfs import btrfs, subvolume
from tests.conftest import Dataset, quiet
from tests.edits import Editor
from tests.trees import describe, differences

OWN = frozenset({b".n2s"})


def prepared(base: Path, root: Path) -> Dataset:
    """A dataset whose plugin is btrfs."""
    made = Dataset(
        base=base, root=root, store=base / "store", config=base / "config" / "config.toml"
    )
    order = InitOrder(root=root, store_url=str(made.store), config=made.config, using="btrfs")
    init(order, quiet)
    return made


@pytest.fixture
def volume(filesystem: Path, tmp_path: Path) -> Iterator[Dataset]:
    """A dataset whose root is a subvolume and whose plugin is btrfs."""
    with subvolume(filesystem, tmp_path.name) as root:
        yield prepared(tmp_path, root)


def push_with(volume: Dataset, **options: object) -> Outcome:
    with volume.space() as space:
        given = {key: str(value) for key, value in options.items()}
        return push(space, PushOrder(options=given), quiet)[0]


def assert_restores(volume: Dataset) -> None:
    wanted = describe(volume.root, ignore=OWN)
    assert differences(wanted, describe(volume.pull())) == []


def own_snapshots(volume: Dataset) -> list[Path]:
    return sorted((volume.root / ".n2s/snapshots").iterdir())


@pytest.mark.parametrize("seed", range(int(os.environ.get("N2S_TEST_SEEDS", "5"))))
def test_whatever_was_done_the_feed_names_it(volume: Dataset, seed: int) -> None:
    editor = Editor(volume.root, seed)
    editor.edit(60)
    assert push_with(volume).complete
    for times in (1, 5, 25, 60):
        editor.edit(times)
        done = push_with(volume)
        assert (done.fallback, done.audit.missed, done.failures) == (None, 0, [])
        assert_restores(volume)
    assert volume.push(full=False).changeset_id is None
    with volume.space() as space:
        walked = push(space, PushOrder(using="find"), quiet)[0]
    assert (walked.written, walked.removed) == (0, 0)


def test_a_push_looks_at_what_changed_and_not_at_the_tree(volume: Dataset) -> None:
    for number in range(3000):
        folder = volume.root / f"d{number % 30}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(b"%d" % number)
    push_with(volume)
    (volume.root / "d7/f7").write_bytes(b"changed")
    (volume.root / "d8").rename(volume.root / "moved")
    done = push_with(volume)
    assert (done.written, done.removed) == (1 + 101, 101)
    assert done.unchanged < 10
    assert_restores(volume)


def test_its_own_snapshots_are_kept_until_the_next_push_is_stored(volume: Dataset) -> None:
    (volume.root / "f").write_bytes(b"1")
    push_with(volume)
    first = own_snapshots(volume)
    assert len(first) == 1
    (volume.root / "f").write_bytes(b"2")
    with volume.space() as space:
        push(space, PushOrder(dry_run=True), quiet)
    assert own_snapshots(volume) == first
    assert push_with(volume).fallback is None
    second = own_snapshots(volume)
    assert len(second) == 1
    assert second != first
    assert_restores(volume)


def test_a_push_that_fails_keeps_the_base_and_the_next_one_goes_on(volume: Dataset) -> None:
    (volume.root / "f").write_bytes(b"1")
    push_with(volume)
    base = own_snapshots(volume)
    (volume.root / "f").write_bytes(b"22")
    volume.store.rename(volume.base / "away")
    with pytest.raises(Exception, match="store"):
        push_with(volume)
    assert base[0] in own_snapshots(volume)
    with pytest.raises(Exception, match="store"):
        push_with(volume)
    assert len(own_snapshots(volume)) <= 2
    (volume.base / "away").rename(volume.store)
    assert push_with(volume).fallback is None
    assert len(own_snapshots(volume)) == 1
    assert base[0] not in own_snapshots(volume)
    assert_restores(volume)


def test_a_push_that_fails_when_all_but_its_head_is_stored_is_the_base_of_the_next(
    volume: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume.root / "f").write_bytes(b"1")
    push_with(volume)
    (volume.root / "f").write_bytes(b"22")

    put = FileStore.put

    def refuse(store: FileStore, name: str, data: Iterable[bytes], size: int) -> None:
        if name.startswith("changesets/"):
            message = "The store is away."
            raise Refused(message)
        put(store, name, data, size)

    monkeypatch.setattr(FileStore, "put", refuse)
    with pytest.raises(Refused):
        push_with(volume)
    monkeypatch.setattr(FileStore, "put", put)
    (volume.root / "f").write_bytes(b"333")
    assert push_with(volume).fallback is None
    assert len(own_snapshots(volume)) == 1
    assert_restores(volume)


def test_datasets_that_keep_their_snapshots_in_one_folder_leave_each_other_alone(
    volume: Dataset, filesystem: Path, tmp_path: Path
) -> None:
    root, folder = filesystem / f"{tmp_path.name}-other", filesystem / f"{tmp_path.name}-snapshots"
    btrfs("subvolume", "create", root)
    other = Dataset(tmp_path / "other", root, volume.store, tmp_path / "other/config.toml")
    (tmp_path / "other").mkdir()
    init(InitOrder(root, str(other.store), dataset="b", config=other.config, using="btrfs"), quiet)
    for number in range(3):
        for one in (volume, other):
            (one.root / "f").write_bytes(b"%d" % number)
            assert push_with(one, snapshots=folder).fallback is None
    assert len(list(folder.iterdir())) == 2
    for path in (*folder.iterdir(), root):
        btrfs("subvolume", "delete", path)


def test_when_the_base_is_gone_the_snapshot_is_walked_and_the_push_says_so(
    volume: Dataset,
) -> None:
    (volume.root / "f").write_bytes(b"1")
    push_with(volume)
    btrfs("subvolume", "delete", own_snapshots(volume)[0])
    (volume.root / "f").write_bytes(b"22")
    done = push_with(volume)
    assert done.fallback is not None
    assert "gone" in done.fallback
    assert (done.complete, done.written) == (True, 1)
    assert_restores(volume)


def test_snapshots_that_others_took_are_pushed_and_never_removed(volume: Dataset) -> None:
    taken = [volume.root.parent / f"{volume.root.name}-{number}" for number in range(3)]
    for number, path in enumerate(taken):
        (volume.root / "f").write_bytes(b"%d" % number)
        (volume.root / f"g{number}").write_bytes(b"")
        btrfs("subvolume", "snapshot", "-r", volume.root, path)
    try:
        push_with(volume, snapshot=taken[0])
        done = push_with(volume, snapshot=taken[1])
        assert (done.fallback, done.written, done.removed) == (None, 2, 0)
        moved = taken[1].rename(f"{taken[1]}-renamed")
        taken[1] = moved
        assert push_with(volume, snapshot=taken[2]).fallback is not None
        (volume.root / "f").write_bytes(b"later, not in the snapshot")
        assert push_with(volume, snapshot=taken[2], since=taken[1]).changeset_id is None
        wanted = describe(taken[2], ignore=OWN)
        assert differences(wanted, describe(volume.pull())) == []
        assert all(path.is_dir() for path in taken)
    finally:
        for path in taken:
            btrfs("subvolume", "delete", path)


def test_a_subvolume_inside_is_named_unless_it_is_excluded(volume: Dataset) -> None:
    (volume.root / "f").write_bytes(b"1")
    btrfs("subvolume", "create", volume.root / "inner")
    done = push_with(volume)
    assert [(one.path, "subvolume" in one.error) for one in done.failures] == [(b"inner", True)]
    with volume.space() as space:
        done = push(space, PushOrder(exclude=("/inner",)), quiet)[0]
    assert done.failures == []


def test_names_that_no_text_can_hold(volume: Dataset) -> None:
    root = os.fsencode(volume.root)
    for name in (b"line\nbreak", b"\xff\xfe", b" lead", b"tab\t", b"o257-7-0", b"x" * 255):
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
        os.mkdir(root + b"/d" + name[:200])
    push_with(volume)
    for name in (b"line\nbreak", b"\xff\xfe", b"o257-7-0"):
        os.rename(root + b"/" + name, root + b"/d" + name + b"/moved")
    assert push_with(volume).fallback is None
    assert_restores(volume)


def test_what_is_no_subvolume_is_refused_with_a_sentence(volume: Dataset) -> None:
    with pytest.raises(DiscoveryError, match="not read-only"):
        push_with(volume, snapshot=volume.root)
    with pytest.raises(DiscoveryError, match="no option 'colour'"):
        push_with(volume, colour="red")
    with pytest.raises(DiscoveryError, match="needs -o snapshot"):
        push_with(volume, since="/x")
    (volume.root / "folder").mkdir()
    with pytest.raises(DiscoveryError, match="subvolume show"):
        push_with(volume, snapshot=volume.root / "folder")


def test_a_root_that_is_an_ordinary_folder_of_a_btrfs_is_refused_with_what_to_do(
    filesystem: Path, tmp_path: Path
) -> None:
    """Preparing asks no plugin, so that the first push says it, before it makes anything."""
    root = filesystem / f"{tmp_path.name}-folder"
    root.mkdir()
    folder = prepared(tmp_path, root)
    (root / "f").write_bytes(b"1")
    for options in ({}, {"snapshots": tmp_path / "snapshots"}):
        with pytest.raises(DiscoveryError, match=r"subvolume show .*Use a subvolume as root"):
            push_with(folder, **options)
    assert os.listdir(root) == ["f"]
    assert not (tmp_path / "snapshots").exists()
    assert folder.changesets() == []
    with folder.space() as space:
        assert push(space, PushOrder(using="find"), quiet)[0].complete
    assert_restores(folder)
