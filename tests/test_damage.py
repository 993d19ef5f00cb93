"""Damage of every kind, in every place: it is found and named, and nothing wrong is ever restored."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core import segments
from n2s_core.errors import CatalogueError, KeyProblem, N2sError
from n2s_core.packs import scan
from n2s_core.sealing import HEADER_SIZE
from tests.conftest import Dataset, MakeDataset
from tests.trees import Description, describe

Damage = Callable[[Path, Path], None]


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _last_record(path: Path) -> tuple[int, int]:
    """Offset and size of the last record of an object."""
    found = [one for one in scan(path.read_bytes(), 8) if isinstance(one, tuple)]
    return found[-1][0], found[-1][1].size


def _swap(path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


DAMAGES: dict[str, Damage] = {
    "deleted": lambda path, _: path.unlink(),
    "truncated": lambda path, _: os.truncate(path, path.stat().st_size * 2 // 3),
    "emptied": lambda path, _: os.truncate(path, 0),
    "lengthened": lambda path, _: _write(path, path.read_bytes() + b"more"),
    "zeroed": lambda path, _: _write(path, bytes(path.stat().st_size)),
    "flipped in the prelude": lambda path, _: _flip(path, 3),
    "flipped in the version": lambda path, _: _flip(path, 6),
    "flipped in a magic": lambda path, _: _flip(path, _last_record(path)[0] + 1),
    "flipped in a length": lambda path, _: _flip(path, _last_record(path)[0] + 9),
    "flipped in a siv": lambda path, _: _flip(path, _last_record(path)[0] + 20),
    "flipped in a checksum": lambda path, _: _flip(path, _last_record(path)[0] + 45),
    "flipped in a ciphertext": lambda path, _: _flip(path, _last_record(path)[0] + HEADER_SIZE),
    "flipped in a tag": lambda path, _: _flip(path, -1),
    "swapped": _swap,
}
SHAPES = ["deleted", "truncated", "emptied", "lengthened", "zeroed", "swapped"]


def content(number: int, size: int = 900) -> bytes:
    return random.Random(number).randbytes(size)


@pytest.fixture
def kept(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Two changesets, of which the older has a list of entries of its own; files in pieces."""
    monkeypatch.setattr(segments, "LARGE", 64 << 10)
    monkeypatch.setattr(segments, "SMALLEST", 4 << 10)
    monkeypatch.setattr(segments, "AVERAGE", 16 << 10)
    monkeypatch.setattr(segments, "LARGEST", 64 << 10)
    monkeypatch.setattr("n2s_core.flows.dispatch.MOST_ITEMS", 10)
    dataset = make_dataset(pack_size=20_000)
    (dataset.root / "folder").mkdir()
    for number in range(24):
        (dataset.root / "folder" / f"file-{number}").write_bytes(content(number))
    (dataset.root / "large").write_bytes(content(99, 150_000))
    (dataset.root / "link").symlink_to("target")
    dataset.push()
    (dataset.root / "folder" / "file-3").write_bytes(b"the second version")
    (dataset.root / "folder" / "file-4").unlink()
    dataset.push()
    return dataset


def two_objects(dataset: Dataset, shelf: str) -> tuple[str, Path, Path]:
    """The largest object on a shelf, and another one; of changesets the newest head."""
    found = dataset.objects(shelf)
    if shelf == "changesets":
        names = [f"changesets/{(one.head_digest or b'').hex()}" for one in dataset.changesets()]
    else:
        names = sorted(found, key=lambda name: (-found[name].stat().st_size, name))
    return names[0], found[names[0]], found[names[-1]]


def assert_nothing_wrong(wanted: Description, restored: Path, damaged: set[bytes]) -> None:
    """What is there is right; what is missing was named."""
    found = describe(restored)
    for path, about in wanted.items():
        if path not in found:
            assert path in damaged, f"{path!r} is missing and was not named"
        elif about[0] == 0o100000:
            assert found[path][6:8] == about[6:8], f"{path!r} is wrong"
    assert not found.keys() - wanted.keys()


@pytest.mark.parametrize("shelf", ["data", "meta", "changesets"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_named_and_never_restored(kept: Dataset, shelf: str, damage: str) -> None:
    wanted = describe(kept.root)
    name, path, other = two_objects(kept, shelf)
    others = {name}
    if damage == "swapped":
        others.add(f"{shelf}/{other.name[:2]}/{other.name}" if shelf != "changesets" else f"{shelf}/{other.name}")
    DAMAGES[damage](path, other)
    findings = kept.verify()
    assert set(findings.missing) | set(findings.damaged) == others
    assert set(findings.missing) == ({name} if damage == "deleted" else set())
    target, result = kept.try_pull()
    assert_nothing_wrong(wanted, target, {one.path for one in result.failures})
    assert result.damaged == len(result.failures)
    if shelf == "data":
        affected = set(findings.affected_paths)
        assert {one.path for one in result.failures} <= affected
    else:
        assert result.failures == []
    recovered, done = kept.try_recover()
    assert_nothing_wrong(wanted, recovered, wanted.keys() if done.returncode == 3 else set())
    kept.forget_catalogue()
    problems = kept.rebuild().problems
    if shelf != "data":
        assert any(path.name[:16] in problem or "parent" in problem for problem in problems), problems


@pytest.mark.parametrize("damage", SHAPES)
def test_a_damaged_key_is_named_and_the_copy_in_the_catalogue_opens(
    make_dataset: MakeDataset, damage: str
) -> None:
    dataset, other = make_dataset("one"), make_dataset("two")
    (dataset.root / "file").write_bytes(b"x")
    dataset.push()
    ((name, path),) = dataset.objects("keys").items()
    ((_, foreign),) = other.objects("keys").items()
    DAMAGES[damage](path, foreign)
    findings = dataset.verify()
    assert list(findings.missing or findings.damaged) == [name]
    dataset.assert_restores()
    recovered, done = dataset.try_recover()
    assert done.returncode == 2
    assert "key object" in done.stderr
    assert os.listdir(recovered) == []
    dataset.forget_catalogue()
    with pytest.raises(KeyProblem, match="key objects|damaged"):
        dataset.rebuild()


def test_every_byte_of_an_object_is_guarded(dataset: Dataset) -> None:
    """One bit at a time: never another tree, and never a crash."""
    for number in range(3):
        (dataset.root / f"file-{number}").write_bytes(content(number, 50))
    dataset.push()
    ((name, path),) = dataset.objects("data").items()
    wanted = describe(dataset.root)
    whole = path.read_bytes()
    lost = 0
    dataset.master_key()
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert list(dataset.verify().damaged) == [name]
        if not at % 35:
            target, result = dataset.try_pull()
            assert_nothing_wrong(wanted, target, {one.path for one in result.failures})
            lost += len(result.failures)
            assert len(result.failures) <= 1, "one flip loses one record"
    assert lost
    path.write_bytes(whole)
    assert not dataset.verify().damaged
    dataset.assert_restores()


def test_a_flip_in_the_entries_of_a_head_loses_those_entries_and_not_the_chain(
    dataset: Dataset,
) -> None:
    """docs/format.md 6: a HEAD record that opens is valid even when the object's name does not fit."""
    (dataset.root / "first").write_bytes(b"1")
    dataset.push()
    (dataset.root / "second").write_bytes(b"2")
    dataset.push()
    (dataset.root / "third").write_bytes(b"3")
    dataset.push()
    wanted = describe(dataset.root)
    digest = dataset.changesets()[1].head_digest or b""
    _flip(dataset.store / "changesets" / digest.hex(), -1)
    dataset.forget_catalogue()
    problems = dataset.rebuild().problems
    assert any(digest.hex()[:16] in problem for problem in problems)
    assert [one.number for one in dataset.changesets()] == [3, 2, 1]
    restored = describe(dataset.pull())
    assert wanted.keys() - restored.keys() == {b"second"}
    assert dataset.push().failures == []
    dataset.assert_restores()


def test_an_object_that_is_damaged_is_stored_anew_by_a_fresh_dataset(kept: Dataset) -> None:
    """The way back: move the store away, and push."""
    _, path, _ = two_objects(kept, "data")
    path.unlink()
    kept.store.rename(kept.base / "lost")
    for found in kept.config.parent.iterdir():
        found.unlink()
    kept.init()
    assert kept.push().failures == []
    kept.assert_restores(kept.pull(), kept.recover_py())


def damage_catalogue(path: Path, how: str) -> None:
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    if how == "deleted":
        path.unlink()
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "text":
        path.write_text("this is not a database\n" * 1000)
    else:
        data = bytearray(path.read_bytes())
        for at in range(4096, len(data), 4096):
            data[at : at + 2000] = os.urandom(2000)
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["deleted", "emptied", "truncated", "text", "overwritten"])
def test_a_damaged_catalogue_is_told_and_healed_by_rebuild(dataset: Dataset, how: str) -> None:
    for number in range(300):
        (dataset.root / f"file-{number}").write_bytes(b"%d" % number)
    dataset.push()
    damage_catalogue(dataset.catalogue, how)
    with pytest.raises(CatalogueError, match="n2s rebuild"):
        dataset.push()
    with pytest.raises(CatalogueError, match="n2s rebuild"):
        dataset.try_pull()
    assert dataset.rebuild().problems == ()
    dataset.assert_restores()
    assert dataset.push().changeset_id is None


def test_a_store_of_which_everything_is_gone_is_no_empty_tree(kept: Dataset) -> None:
    for path in kept.objects("changesets").values():
        path.unlink()
    kept.forget_catalogue()
    try:
        problems = kept.rebuild().problems
    except N2sError as error:
        problems = (str(error),)
    assert problems
    recovered = kept.recover_py("--records-alone")
    wanted = describe(kept.root)
    found = describe(recovered)
    assert all(found[path][:4] == about[:4] for path, about in wanted.items())
