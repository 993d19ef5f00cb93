"""A rebuild of a store at any damage: what is lost is named, everything else is restored exactly.

What heads and entries are lost is made good by the records alone; a rebuilt catalogue pushes on
without storing contents again, and its next changeset makes the store whole for those after it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from n2s_core.packs import ObjectReader
from n2s_core.sealing import Kind
from tests.conftest import Dataset, MakeDataset
from tests.made_once import made_once, make_whole
from tests.trees import describe, differences

Harm = Callable[[Path], object]


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


HARMS: dict[str, Harm] = {
    "deleted": Path.unlink,
    "truncated": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "flipped": flip,
    "emptied": lambda path: os.truncate(path, 0),
}


def contents(dataset: Dataset) -> int:
    """How many contents of files lie in the store."""
    key = dataset.master_key()
    return sum(
        record.kind in (Kind.BLOB, Kind.SEGMENT)
        for path in dataset.objects("data").values()
        for _, _, record in ObjectReader(path.read_bytes(), key).records(lambda _: None)
    )


def head_of(dataset: Dataset, number: int) -> Path:
    (found,) = [one for one in dataset.changesets() if one.number == number]
    return dataset.store / "changesets" / (found.head_digest or b"").hex()


def write_versions(dataset: Dataset) -> None:
    """Five changesets: files in pieces, links, edits, moves, removals, odd names."""
    root = dataset.root
    (root / "docs").mkdir()
    for number in range(12):
        (root / "docs" / f"{number}").write_bytes(b"%d " % number * 400)
    (root / "large").write_bytes(os.urandom(200_000))
    os.link(root / "docs" / "1", root / "also 1")
    (root / "link").symlink_to("docs/1")
    (root / os.fsdecode(b"odd \xff\n")).write_bytes(b"odd")
    dataset.push()
    (root / "docs" / "2").write_text("second")
    (root / "docs" / "3").unlink()
    dataset.push()
    (root / "more").mkdir()
    (root / "more" / "new").write_text("third")
    (root / "docs" / "4").chmod(0o600)
    dataset.push()
    (root / "docs" / "2").write_text("fourth")
    (root / "more" / "newer").write_text("fourth")
    dataset.push()
    (root / "last").write_text("fifth")
    dataset.push()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made_once(tmp_path_factory.mktemp("rebuild"), write_versions, also=("root",))


@pytest.fixture
def kept(made: Dataset) -> Iterator[Dataset]:
    """The same for every test; store and catalogue are made whole behind it."""
    yield made
    make_whole(made)


def assert_pushes_on(dataset: Dataset, *, made_again: bool) -> None:
    """Nothing changed, so no content is stored; later, without a catalogue, all is right."""
    before = contents(dataset)
    done = dataset.push()
    assert done.failures == []
    assert (done.changeset_id is not None) == made_again
    assert contents(dataset) == before
    dataset.assert_restores()
    dataset.forget_catalogue()
    dataset.rebuild()
    dataset.assert_restores()
    assert dataset.push().changeset_id is None


def test_a_whole_store_gives_a_catalogue_that_stores_nothing_again(kept: Dataset) -> None:
    kept.forget_catalogue()
    assert kept.rebuild().problems == ()
    done = kept.push()
    assert (done.changeset_id, done.bytes_stored, done.objects_stored) == (None, 0, 0)


def test_after_a_rebuild_only_what_changed_is_stored(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    for number in range(50):
        (dataset.root / f"{number}").write_bytes(os.urandom(2000))
    dataset.push()
    dataset.rebuild_from_store()
    (dataset.root / "7").write_bytes(os.urandom(2000))
    before = contents(dataset)
    done = dataset.push()
    assert contents(dataset) == before + 1
    assert done.bytes_read == 2000
    dataset.assert_restores()


def test_shared_contents_are_known_after_a_rebuild(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(share=True)
    (dataset.root / "one").write_bytes(os.urandom(5000))
    (dataset.root / "large").write_bytes(os.urandom(17 << 20))
    dataset.push()
    dataset.rebuild_from_store()
    before = contents(dataset)
    (dataset.root / "one").rename(dataset.root / "two")
    shutil.copy(dataset.root / "large", dataset.root / "large copy")
    dataset.push()
    assert contents(dataset) == before
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


@pytest.mark.parametrize("harm", HARMS)
def test_each_object_in_turn(kept: Dataset, harm: str) -> None:
    """What is lost is said, everything else is exactly as it was."""
    wanted = describe(kept.root)
    newest = str(head_of(kept, 5).relative_to(kept.store))
    for name, path in sorted(kept.objects().items()):
        if name.startswith("keys/"):
            continue
        data = path.read_bytes()
        HARMS[harm](path)
        kept.forget_catalogue()
        problems = kept.rebuild().problems
        named = kept.verify()
        target, result = kept.try_pull()
        found = describe(target)
        failed = {one.path for one in result.failures}
        lost = {
            one
            for one, about in wanted.items()
            if one not in found or (about[0] == 0o100000 and found[one][6:8] != about[6:8])
        }
        if name == newest:  # who has no catalogue cannot know that there was one more
            assert lost <= {b"last"}
            lost.clear()
        assert lost <= failed, (name, lost - failed)
        assert not result.damaged or not name.startswith(("meta/", "changesets/")), name
        assert failed <= set(named.affected_paths), name
        older = {b"docs/3"}  # removed by the second changeset; records do not say so
        assert found.keys() - wanted.keys() <= older, name
        silent = name == newest and harm == "deleted"
        assert silent or problems or named.missing or named.damaged, name
        shutil.rmtree(target)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("harm", ["deleted", "flipped", "emptied"])
def test_a_broken_chain_is_named_and_bridged_by_the_records(
    kept: Dataset, number: int, harm: str
) -> None:
    (lost,) = [one for one in kept.changesets() if one.number == number]
    path = head_of(kept, number)
    if harm == "flipped":
        flip(path, 0.01)
    else:
        HARMS[harm](path)
    kept.forget_catalogue()
    problems = " ".join(kept.rebuild().problems)
    assert (lost.changeset_id or b"").hex()[:16] in problems
    found = kept.changesets()
    assert [one.number for one in found] == [5, 4, 3, 2, 1]
    assert [one.changeset_id for one in found if one.number == number] == [lost.changeset_id]
    wanted, got = describe(kept.root), describe(kept.pull())
    back = {b"docs/3"} if number == 2 else set()
    assert got.keys() - wanted.keys() == back
    changed = differences(wanted, {one: got[one] for one in wanted})
    assert all("docs" in one for one in changed), changed  # the time of the folder at most
    assert_pushes_on(kept, made_again=True)


def test_lists_of_entries_that_are_lost_are_made_good_by_the_records(kept: Dataset) -> None:
    lists = kept.objects("meta")
    assert lists
    for path in lists.values():
        path.unlink()
    kept.forget_catalogue()
    problems = " ".join(kept.rebuild().problems)
    assert all(name in problems for name in lists)
    wanted, got = describe(kept.root), describe(kept.pull())
    assert wanted.keys() <= got.keys()
    assert_pushes_on(kept, made_again=True)


@pytest.mark.parametrize("harm", ["deleted", "flipped", "emptied"])
def test_all_changesets_gone_the_records_alone_give_the_tree(kept: Dataset, harm: str) -> None:
    for path in [*kept.objects("changesets").values(), *kept.objects("meta").values()]:
        flip(path, 0.01) if harm == "flipped" else HARMS[harm](path)
    kept.forget_catalogue()
    problems = " ".join(kept.rebuild().problems)
    assert "No changeset" in problems
    wanted, got = describe(kept.root), describe(kept.pull())
    assert got.keys() - wanted.keys() == {b"docs/3"}
    for one, about in wanted.items():
        assert got[one][6:8] == about[6:8], one
    assert not any(name.startswith("data/") for name in kept.verify().damaged)
    assert_pushes_on(kept, made_again=True)
    assert max(one.number for one in kept.changesets()) == 6


def test_what_only_looks_as_if_it_were_below_a_file_stays(dataset: Dataset) -> None:
    """Names between a path and what is below it, in the order of bytes."""
    for name in ("a", "a-b", "a.d", "ab"):
        (dataset.root / name).write_text(name)
    for name in ("a-c", "a!"):
        (dataset.root / name).mkdir()
        (dataset.root / name / "a").write_text(name)
    dataset.push()
    for path in dataset.objects("changesets").values():
        path.unlink()
    dataset.forget_catalogue()
    assert "left out" not in " ".join(dataset.rebuild().problems)
    dataset.assert_restores()


def test_a_file_below_what_became_a_file_is_left_out(dataset: Dataset) -> None:
    (dataset.root / "a").mkdir()
    (dataset.root / "a" / "below").write_text("below")
    dataset.push()
    shutil.rmtree(dataset.root / "a")
    (dataset.root / "a").write_text("a file now")
    dataset.push()
    for path in dataset.objects("changesets").values():
        path.unlink()
    dataset.forget_catalogue()
    assert "a/below" in " ".join(dataset.rebuild().problems)
    dataset.assert_restores()


def test_of_several_datasets_each_gets_its_own(make_dataset: MakeDataset) -> None:
    one = make_dataset("one")
    two = make_dataset("two", store=one.store)
    for number, dataset in enumerate((one, two)):
        for name in ("same", f"own {number}"):
            (dataset.root / name).write_text(f"of {number}")
        dataset.push()
    for dataset in (one, two):
        dataset.rebuild_from_store()
        dataset.assert_restores()
    for path in one.objects("changesets").values():
        path.unlink()
    for dataset in (one, two):
        dataset.forget_catalogue()
        assert "No changeset" in " ".join(dataset.rebuild().problems)
        dataset.assert_restores()
    two.push()
    one.forget_catalogue()
    assert one.rebuild().problems  # the other has a head by now
    one.assert_restores()


def test_records_with_a_damaged_beginning_count_when_there_is_one_dataset(
    dataset: Dataset,
) -> None:
    (dataset.root / "file").write_text("content")
    dataset.push()
    for path in dataset.objects("changesets").values():
        path.unlink()
    (path,) = dataset.objects("data").values()
    data = bytearray(path.read_bytes())
    data[60] ^= 1  # in the PACK record
    path.write_bytes(data)
    dataset.forget_catalogue()
    assert dataset.rebuild().problems
    assert (dataset.pull() / "file").read_text() == "content"


def test_pieces_of_a_push_that_died_are_not_taken_for_a_changeset(
    dataset: Dataset, tmp_path: Path
) -> None:
    (dataset.root / "file").write_text("stored")
    dataset.push()
    shutil.copytree(dataset.store / "changesets", tmp_path / "kept")
    (dataset.root / "file").write_text("of the push that died")
    dataset.push()
    shutil.rmtree(dataset.store / "changesets")
    shutil.copytree(tmp_path / "kept", dataset.store / "changesets")
    dataset.forget_catalogue()
    dataset.rebuild()
    assert (dataset.pull() / "file").read_text() == "stored"
