"""A push that is killed is finished by the next, and nothing that was confirmed goes twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from n2s_core.app import pushing
from n2s_core.app.pool import WorkerDied
from n2s_core.flows import dispatch
from tests import crashing
from tests.conftest import Dataset, environment
from tests.crashing import EVERY_BATCH, EVERY_PUSH
from tests.edits import Editor
from tests.stored import confirmed, records, start


def crash(dataset: Dataset, crash_at: str) -> None:
    """A push that dies at a point."""
    process = start(dataset, "here", crash_at)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"{crash_at} was not reached"


def grow(dataset: Dataset) -> None:
    """A tree of several batches, with files in pieces, links, and packs that end amid a batch."""
    for folder in range(4):
        (dataset.root / f"folder-{folder}").mkdir()
        for number in range(15):
            path = dataset.root / f"folder-{folder}" / f"file-{number}"
            path.write_bytes(random.Random(folder * 100 + number).randbytes(3000))
    os.link(path, dataset.root / "link")
    (dataset.root / "folder-1" / "large").write_bytes(random.Random(7).randbytes(400_000))


def change(dataset: Dataset, seed: int) -> None:
    """New files, edits, removals by the batch, and a new piece in the middle of a large file."""
    Editor(dataset.root, seed).edit(20)
    shutil.rmtree(dataset.root / f"folder-{seed}", ignore_errors=True)
    large = dataset.root / "large"
    data = large.read_bytes() if large.is_file() else random.Random(seed).randbytes(400_000)
    large.write_bytes(data[:200_000] + b"%d" % seed + data[200_000:])
    for number in range(30):
        (dataset.root / f"new-{seed}-{number}").write_bytes(b"%d %d" % (seed, number))


def assert_recovered(dataset: Dataset) -> None:
    """The next push does the rest, and everything is as if nothing had happened."""
    kept = confirmed(dataset)
    before = records(dataset)
    assert dataset.push().failures == []
    after = records(dataset)
    assert {one for one in kept if after[one] != before[one]} == set()
    with dataset.space() as space:
        assert space.catalogue.pushes.pending(space.dataset.dataset_no) is None
        assert space.catalogue.db.all("SELECT * FROM pending_entries") == []
    for name, path in dataset.objects().items():
        if not path.name.startswith(".tmp-"):
            assert blake3(path.read_bytes()).hexdigest() == path.name, name
    dataset.assert_restores()


@pytest.fixture
def small(make_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Many objects, batches and segments, in this process as in those that are killed."""
    crashing.seal_here(monkeypatch.setattr)
    dataset: Dataset = make_dataset(pack_size=20_000)
    grow(dataset)
    return dataset


@pytest.mark.parametrize("point", EVERY_PUSH + EVERY_BATCH)
def test_a_push_that_is_killed_is_finished_by_the_next(small: Dataset, point: str) -> None:
    for passing in (1, 3) if point in EVERY_BATCH else (1, 1):
        crash(small, f"{point}:{passing}")
        assert_recovered(small)
        change(small, passing)
    small.push()
    small.assert_restores(small.recover_py())
    small.rebuild_from_store()
    small.assert_restores()
    assert small.push().objects_stored == 0


def test_a_push_that_is_killed_again_and_again_is_finished_in_the_end(small: Dataset) -> None:
    """Each time the tree has changed, and the entries of all the dead ones are told in order."""
    small.push()
    for number, point in enumerate(
        ["batches-done", "batch-recorded", "entries-stored", "head-sealed"]
    ):
        change(small, number)
        crash(small, f"{point}:1")
    assert_recovered(small)
    small.rebuild_from_store()
    small.assert_restores(small.pull(), small.recover_py())
    assert small.push().objects_stored == 0


@pytest.mark.parametrize(
    "point", ["entries-stored", "head-sealed", "head-stored", "finish-uncommitted"]
)
def test_a_checkpoint_that_is_killed_is_whole_in_the_end(small: Dataset, point: str) -> None:
    for number in range(15):
        (small.root / "counter").write_bytes(b"%d" % number)
        small.push()
    (small.root / "counter").write_bytes(b"the sixteenth")
    crash(small, f"{point}:1")
    assert_recovered(small)
    heads = small.changesets()
    for older in heads[1:]:
        assert older.head_digest is not None
        (small.store / "changesets" / older.head_digest.hex()).unlink()
    small.forget_catalogue()
    small.rebuild()
    small.assert_restores()


def test_a_catalogue_lost_after_a_crash_is_rebuilt_and_the_push_finished(small: Dataset) -> None:
    small.push()
    change(small, 1)
    crash(small, "batch-recorded:2")
    small.rebuild_from_store()
    assert_recovered(small)


def test_a_preparation_that_is_killed_can_be_repeated(tmp_path: Path) -> None:
    for point in ("store-put-written", "store-put-renamed"):
        base = tmp_path / point
        (base / "root").mkdir(parents=True)
        (base / "root" / "file").write_bytes(b"x")
        made = Dataset(base, base / "root", base / "store", base / "config" / "config.toml")
        program = (
            "import sys; from pathlib import Path; from tests.conftest import Dataset\n"
            "base = Path(sys.argv[1])\n"
            "Dataset(base, base / 'root', base / 'store', base / 'config' / 'config.toml').init()"
        )
        command = [sys.executable, "-c", program, str(base)]
        done = subprocess.run(command, env=environment(N2S_CRASH_AT=point), check=False)
        assert done.returncode == -signal.SIGKILL
        made.init()
        assert made.push().failures == []
        made.assert_restores(made.pull(), made.recover_py())


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_push_that_is_killed_at_any_moment_is_finished_by_the_next(dataset: Dataset) -> None:
    dice = random.Random(12)
    for number in range(3000):
        folder = dataset.root / f"folder-{number % 40}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number}").write_bytes(b"%d" % number * 50)
    (dataset.root / "large").write_bytes(random.Random(1).randbytes(18 << 20))
    for number in range(12):
        process = start(dataset, "pool")
        time.sleep(dice.uniform(0.2, 1.4))
        workers = children(process.pid) if number % 2 else []
        os.killpg(process.pid, signal.SIGKILL)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        process.communicate()
        Editor(dataset.root, number).edit(3)
    assert_recovered(dataset)
    dataset.rebuild_from_store()
    dataset.assert_restores()
    assert dataset.push().objects_stored == 0


def test_workers_that_are_killed_end_the_push_with_a_sentence(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(dataset)
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 5)
    with monkeypatch.context() as patch:
        patch.setattr(pushing, "WorkerPool", crashing.MortalPool)
        with pytest.raises(WorkerDied, match="push again"):
            dataset.push()
    assert_recovered(dataset)


@pytest.mark.parametrize("point", ["object-confirmed", "store-put-written", "store-put-renamed"])
def test_a_worker_that_dies_between_two_calls_of_the_store_loses_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    grow(dataset)
    monkeypatch.setattr(dispatch, "MOST_ITEMS", 10)
    with monkeypatch.context() as patch:
        patch.setenv("N2S_CRASH_AT", f"{point}:3")
        with pytest.raises(WorkerDied):
            dataset.push()
    assert_recovered(dataset)


def test_a_deletion_that_died_is_finished_by_the_next_push(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directories are done already; what is left are removals alone, in two batches."""
    (dataset.root / "directory").mkdir()
    for number in range(crashing.ITEMS * 2 + 3):
        (dataset.root / "directory" / f"{number}").touch()
    dataset.push()
    shutil.rmtree(dataset.root / "directory")
    monkeypatch.setattr(dispatch, "MOST_ITEMS", crashing.ITEMS)
    monkeypatch.setattr(pushing, "WorkerPool", crashing.OnlyFirst)
    with pytest.raises(WorkerDied):
        dataset.push()
    monkeypatch.setattr(pushing, "WorkerPool", crashing.FirstIsLast)
    assert_recovered(dataset)
    dataset.rebuild_from_store()
    dataset.assert_restores()


def test_pieces_of_a_small_file_with_holes_are_not_stored_twice(small: Dataset) -> None:
    with (small.root / "folder-0" / "a").open("wb") as file:
        file.write(os.urandom(5000))
        file.seek(16 << 10)
        file.write(os.urandom(5000))
    crash(small, "record-uncommitted:1")
    kept, before = confirmed(small), records(small)
    assert b"folder-0/a" in {one[1] for one in kept}
    assert small.push().failures == []
    after = records(small)
    assert [one for one in kept if after[one] > before[one]] == []
    small.assert_restores()
