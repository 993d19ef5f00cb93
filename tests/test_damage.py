"""Damage of every kind, in every place, is found and named, and nothing wrong is restored."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from n2s_core.errors import CatalogueError, KeyProblem, N2sError
from n2s_core.packs import scan
from n2s_core.sealing import HEADER_SIZE
from tests.conftest import Dataset, MakeDataset
from tests.made_once import made_once, make_whole
from tests.trees import Description, describe, differences

Damage = Callable[[Path, Path], object]
_set = Path.write_bytes


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
    "lengthened": lambda path, _: _set(path, path.read_bytes() + b"more"),
    "zeroed": lambda path, _: _set(path, bytes(path.stat().st_size)),
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two changesets, of which the older has a list of entries of its own; files in pieces."""
    return made_once(tmp_path_factory.mktemp("damage"), _push_twice)


def _push_twice(dataset: Dataset) -> None:
    (dataset.root / "folder").mkdir()
    for number in range(24):
        (dataset.root / "folder" / f"file-{number}").write_bytes(content(number))
    (dataset.root / "large").write_bytes(content(99, 150_000))
    (dataset.root / "link").symlink_to("target")
    dataset.push()
    (dataset.root / "folder" / "file-3").write_bytes(b"the second version")
    (dataset.root / "folder" / "file-4").unlink()
    dataset.push()


@pytest.fixture
def kept(made: Dataset) -> Iterator[Dataset]:
    """The same for every test: what a test damages is made whole behind it."""
    yield made
    make_whole(made)


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


def rebuild(dataset: Dataset) -> tuple[str, ...]:
    """What a rebuild complains of."""
    try:
        return dataset.rebuild().problems
    except N2sError as error:
        return (str(error),)


def assert_recovers_versions(dataset: Dataset, wanted: Description, *, whole: bool) -> None:
    """All that recover.py gives back was stored so once; what is not as it should be, it says."""
    recovered, done = dataset.try_recover()
    found = describe(recovered)
    older = {b"folder/file-3": content(3), b"folder/file-4": content(4)}
    same = True
    for path, about in found.items():
        if about[0] != 0o100000:
            continue
        if path not in wanted or about[6:8] != wanted[path][6:8]:
            same = False
            assert (recovered / os.fsdecode(path)).read_bytes() == older[path]
    assert done.returncode == 3 or whole or (same and found.keys() == wanted.keys())


@pytest.mark.parametrize("shelf", ["data", "meta", "changesets"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_named_and_never_restored(kept: Dataset, shelf: str, damage: str) -> None:
    wanted = describe(kept.root)
    name, path, other = two_objects(kept, shelf)
    others = {name}
    if damage == "swapped":
        others.add(str(other.relative_to(kept.store)))
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
    assert_recovers_versions(kept, wanted, whole=damage == "deleted" and shelf == "changesets")
    kept.forget_catalogue()
    problems = rebuild(kept)
    if shelf == "meta" or (shelf == "changesets" and damage != "deleted"):
        assert any(path.name in problem for problem in problems), problems


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
    with pytest.raises(KeyProblem, match=r"key objects|damaged"):
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


def test_after_a_flip_in_the_entries_of_a_head_the_records_give_what_it_said(
    dataset: Dataset,
) -> None:
    """docs/format.md 6: a HEAD record that opens is valid even when the name does not fit."""
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
    assert differences(wanted, describe(dataset.pull())) == []
    assert dataset.push().failures == []
    dataset.assert_restores()


def test_an_object_that_is_damaged_is_stored_anew_by_a_fresh_dataset(kept: Dataset) -> None:
    """The way back: move the store away, and push."""
    _, path, _ = two_objects(kept, "data")
    path.unlink()
    shutil.rmtree(kept.store)
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
    assert rebuild(kept)
    recovered = kept.recover_py("--records-alone")
    wanted = describe(kept.root)
    found = describe(recovered)
    assert all(found[path][:4] == about[:4] for path, about in wanted.items())
