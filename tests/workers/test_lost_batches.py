"""Batches that come back unsealed, and workers that see less of the tree than the push does."""

import os
import random
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app import pushing
from n2s_core.app import worker as worker_module
from n2s_core.errors import Unsealed
from n2s_core.flows import dispatch
from n2s_core.jobs import Batch, BatchResult
from tests import crashing
from tests.conftest import Dataset, MakeDataset
from tests.crashing import Here
from tests.stored import records


def write(root: Path, files: int, seed: int = 1) -> None:
    chance = random.Random(seed)
    for number in range(files):
        (root / f"file-{number:03}").write_bytes(chance.randbytes(500))


@pytest.fixture
def filled(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Two hundred files that were stored, and have changed since."""
    crashing.make_small(monkeypatch.setattr)
    monkeypatch.setattr(pushing, "WorkerPool", Here)
    dataset = make_dataset()
    write(dataset.root, 200)
    os.link(dataset.root / "file-000", dataset.root / "link")
    dataset.push()
    write(dataset.root, 200, seed=2)
    return dataset


def use(monkeypatch: pytest.MonkeyPatch, executor: type[Here]) -> None:
    monkeypatch.setattr(pushing, "WorkerPool", executor)


class Blind(Here):
    """Does not find every third path."""

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> "Future[Any]":
        (batch,) = args
        unseen = [one.path for one in batch.items if one.path.endswith((b"0", b"3", b"6", b"9"))]
        seen = [one for one in batch.items if one.path not in unseen]
        result: BatchResult = fn(Batch(batch.changeset_no, batch.object_base, seen))
        result.vanished += unseen
        future: Future[Any] = Future()
        future.set_result(result)
        return future


def test_what_only_a_worker_does_not_find_is_not_removed(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Blind)
    outcome = filled.push()
    assert (outcome.removed, outcome.failures) == (0, [])
    filled.assert_restores()
    assert filled.push().changeset_id is None


def test_what_is_gone_for_the_push_too_is_removed(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Removing(Here):
        def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
            for item in args[0].items:
                if item.path.endswith(b"7"):
                    (filled.root / os.fsdecode(item.path)).unlink()
            return super().submit(fn, *args, **how)

    use(monkeypatch, Removing)
    outcome = filled.push()
    assert (outcome.removed, outcome.failures) == (20, [])
    use(monkeypatch, Here)
    filled.push()  # the root has another time now
    filled.assert_restores()


def test_a_tree_that_is_removed_while_it_is_read_is_removed(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every result brings a batch of removals, while other results wait."""

    class Emptying(Here):
        def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
            for item in args[0].items:
                (filled.root / os.fsdecode(item.path)).unlink(missing_ok=True)
            return super().submit(fn, *args, **how)

    use(monkeypatch, Emptying)
    outcome = filled.push()
    assert (outcome.removed, outcome.failures) == (201, [])
    use(monkeypatch, Here)
    filled.push()  # the root has another time now
    filled.assert_restores()


def test_a_path_that_comes_and_goes_is_named(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Blind)
    monkeypatch.setattr(dispatch.Mounts, "is_there", lambda _self, _path: True)
    (filled.root / "file-100").unlink()
    monkeypatch.setattr(dispatch.Dispatcher, "_remove", pytest.fail)

    class Late(Blind):
        def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
            for item in args[0].items:
                if item.path == b"file-103":
                    (filled.root / "file-103").unlink()
            return super().submit(fn, *args, **how)

    (filled.root / "file-100").write_bytes(b"again")
    use(monkeypatch, Late)
    (failure,) = filled.push().failures
    assert failure.path == b"file-103"
    assert "not when it is read" in failure.error


class Losing(Here):
    """The worker of the first and third batch is gone before it has begun."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
        self.calls += 1
        if self.calls not in (1, 3):
            return super().submit(fn, *args, **how)
        future: Future[Any] = Future()
        future.set_exception(Unsealed("gone"))
        return future


def test_a_batch_that_came_back_is_sealed_by_another_worker(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Losing)
    outcome = filled.push()
    assert (outcome.written, outcome.failures) == (201, [])
    filled.assert_restores()
    assert filled.push().changeset_id is None


def test_a_batch_that_nobody_can_seal_ends_the_push(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(Losing):
        def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
            self.calls = 0
            return super().submit(fn, *args, **how)

    use(monkeypatch, Never)
    with pytest.raises(Unsealed, match="gone"):
        filled.push()
    use(monkeypatch, Here)
    assert filled.push().failures == []
    filled.assert_restores()


def test_pieces_that_a_lost_worker_told_of_are_not_stored_again(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do the numbers of its objects belong to those of the next one."""
    (filled.root / "file-050").write_bytes(random.Random(9).randbytes(40 << 20))
    monkeypatch.setattr(dispatch, "MOST_BYTES", 1 << 20)

    class Dying(Here):
        died = False

        def submit(self, fn: Any, /, *args: Any, **how: Any) -> "Future[Any]":
            if self.died or all(one.path != b"file-050" for one in args[0].items):
                return super().submit(fn, *args, **how)
            self.died = True
            tell = worker_module.tell
            assert tell is not None
            heard: list[Any] = []
            monkeypatch.setattr(worker_module, "tell", heard.append)
            super().submit(fn, *args, **how)
            monkeypatch.setattr(worker_module, "tell", tell)
            assert len(heard) > 1
            tell(heard[0])
            told.extend(digest for digest, *_ in heard[0].segments)
            future: Future[Any] = Future()
            future.set_exception(Unsealed("gone"))
            return future

    told: list[bytes] = []
    use(monkeypatch, Dying)
    assert filled.push().failures == []
    filled.assert_restores()
    found = {digest: count for (_, path, digest), count in records(filled).items()}
    assert {found[digest] for digest in told} == {1}
    assert 2 in found.values()  # of what it had stored and not told
