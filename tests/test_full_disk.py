"""A disk that fills up is told in a sentence, and once there is room everything goes on."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from n2s_core.errors import CatalogueError, StoreError
from n2s_core.flows import dispatch
from tests.conftest import Dataset, MakeDataset, Mount


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def grow(dataset: Dataset, count: int, size: int) -> None:
    for number in range(count):
        path = dataset.root / f"file-{number}"
        path.write_bytes(random.Random(number).randbytes(size))


@pytest.mark.parametrize("batches", ["one", "many"])
def test_a_store_that_fills_up_is_told_and_the_next_push_goes_on(
    make_dataset: MakeDataset, tmpfs: Mount, monkeypatch: pytest.MonkeyPatch, batches: str
) -> None:
    if batches == "many":
        monkeypatch.setattr(dispatch, "MOST_ITEMS", 10)
    disk = tmpfs("size=4m")
    dataset = make_dataset(store=disk / "store", pack_size=300_000)
    grow(dataset, 60, 100_000)
    with pytest.raises(StoreError, match="full"):
        dataset.push()
    assert [name for name in dataset.objects() if ".tmp-" in name] == []
    with pytest.raises(StoreError, match="full"):
        dataset.push()
    recorded = sum(1 for _ in dataset.objects("data"))
    enlarge(disk)
    outcome = dataset.push()
    assert outcome.failures == []
    if batches == "many":
        assert recorded > 0
        assert outcome.unchanged > 0, "what was confirmed is not read again"
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    assert dataset.push().changeset_id is None
    findings = dataset.verify()
    assert (findings.missing, findings.damaged) == ({}, {})


def test_a_store_without_room_for_the_head_is_told_and_gets_it_later(
    make_dataset: MakeDataset, tmpfs: Mount
) -> None:
    disk = tmpfs("size=4m")
    dataset = make_dataset(store=disk / "store")
    grow(dataset, 1, 1000)
    dataset.push()
    stuffing = disk / "stuffing"
    with pytest.raises(OSError, match="No space"):
        fill(stuffing)
    grow(dataset, 3, 900)
    with pytest.raises(StoreError, match="full"):
        dataset.push()
    stuffing.unlink()
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_catalogue_that_fills_up_is_told_and_the_next_push_goes_on(
    tmp_path: Path, tmpfs: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 200)
    disk = tmpfs("size=600k")
    (tmp_path / "root").mkdir()
    dataset = Dataset(tmp_path, tmp_path / "root", tmp_path / "store", disk / "config.toml")
    dataset.init()
    for number in range(3000):
        (dataset.root / f"file-{number}").write_bytes(b"%d" % number)
    with pytest.raises(CatalogueError, match="full"):
        dataset.push()
    enlarge(disk)
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    dataset.rebuild_from_store()
    assert dataset.push().changeset_id is None


def test_a_target_that_fills_up_is_told_file_by_file(dataset: Dataset, tmpfs: Mount) -> None:
    grow(dataset, 30, 100_000)
    dataset.push()
    disk = tmpfs("size=2m")
    target, result = dataset.try_pull(target=disk / "target")
    assert result.failures
    assert result.damaged == 0
    assert all("space" in one.error.lower() for one in result.failures)
    for path in target.iterdir():
        assert path.read_bytes() == (dataset.root / path.name).read_bytes()
    enlarge(disk)
    assert dataset.try_pull(target=disk / "target")[1].failures == []
    assert os.listdir(target)
    dataset.assert_restores(target)
