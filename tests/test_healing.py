"""What a verify found to be lost is stored again by the next push, as long as the source has it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Dataset, MakeDataset

Harm = Callable[[Path], None]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def fill(root: Path) -> None:
    (root / "docs").mkdir()
    for number in range(20):
        (root / "docs" / f"{number}.txt").write_text(f"text {number} " * 100)
    (root / "large").write_bytes(os.urandom(17 << 20))
    (root / "link").symlink_to("docs/1.txt")
    os.link(root / "docs" / "2.txt", root / "another name")
    (root / "empty").touch()


@pytest.mark.parametrize("harm", [Path.unlink, truncate, flip], ids=["gone", "short", "flipped"])
@pytest.mark.parametrize("shelf", ["data", "meta", "changesets", "keys"])
def test_after_a_verify_a_push_makes_the_store_whole_again(
    make_dataset: MakeDataset, shelf: str, harm: Harm
) -> None:
    dataset = make_dataset()
    fill(dataset.root)
    dataset.push()
    (dataset.root / "docs" / "0.txt").write_text("changed")
    dataset.push()
    harmed = sorted(dataset.objects(shelf).items())
    for _, path in harmed:
        harm(path)
    found = dataset.verify()
    assert len(found.missing) + len(found.damaged) == len(harmed)
    (dataset.root / "new").write_text("so that there is a changeset")
    dataset.push()
    dataset.assert_restores()
    dataset.forget_catalogue()
    dataset.rebuild()
    dataset.assert_restores()


def test_a_rebuild_takes_the_newest_copy_of_a_large_file(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    (dataset.root / "large").write_bytes(os.urandom(17 << 20))
    dataset.push()
    largest = max(dataset.objects("data").values(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[1 << 20] ^= 1  # inside of a segment; the list of segments stays readable
    largest.write_bytes(data)
    assert dataset.verify().damaged
    dataset.push()
    dataset.forget_catalogue()
    dataset.rebuild()
    dataset.assert_restores()


def test_nothing_is_stored_twice_when_nothing_was_lost(make_dataset: MakeDataset) -> None:
    dataset: Dataset = make_dataset()
    fill(dataset.root)
    dataset.push()
    assert not dataset.verify().damaged
    assert dataset.push().changeset_id is None


def test_a_hard_link_whose_record_is_lost_gets_a_new_one(make_dataset: MakeDataset) -> None:
    """Though another name of the same file, which is stored again first, has the content."""
    dataset = make_dataset()
    (dataset.root / "the file").write_text("the content")
    dataset.push()
    before = set(dataset.objects("data"))
    os.link(dataset.root / "the file", dataset.root / "a link")
    time.sleep(0.05)  # what changed a moment ago is looked at again by every push
    dataset.push(paths=[b"a link"])
    dataset.push()
    lost = [path for name, path in dataset.objects("data").items() if name not in before]
    for path in lost:
        path.unlink()
    dataset.verify()
    dataset.push()
    alone = dataset.pull(paths=(b"the file",))
    assert (alone / "the file").read_text() == "the content"
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_name_is_restored_from_its_own_record_when_that_of_the_first_name_is_lost(
    make_dataset: MakeDataset,
) -> None:
    dataset = make_dataset()
    (dataset.root / "the file").write_text("the content")
    dataset.push()
    before = set(dataset.objects("data"))
    os.link(dataset.root / "the file", dataset.root / "a link")
    os.link(dataset.root / "the file", dataset.root / "z")
    dataset.push(paths=[b"a link"])
    for name, path in dataset.objects("data").items():
        if name not in before:
            path.unlink()
    target, result = dataset.try_pull()
    assert [one.path for one in result.failures] == [b"a link"]
    assert (target / "the file").read_text() == "the content"
