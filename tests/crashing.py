"""A program for tests to kill, crashing.py CONFIG here|pool|rebuild: a push in small batches.

With `here` the batches are sealed in this process, so that N2S_CRASH_AT kills all of it, and files
of some 100 KB count as large. It prints how many bytes it read. `rebuild` is no push but that.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from n2s_core import segments
from n2s_core.app import pushing, worker
from n2s_core.app.pool import WorkerDied, WorkerPool
from n2s_core.app.rebuilding import rebuild
from n2s_core.app.workspace import Workspace
from n2s_core.flows import dispatch

ITEMS = 20
EVERY_PUSH = (
    "changeset-begun", "batches-done", "head-sealed", "head-stored", "finish-uncommitted",
    "finished",
)  # fmt: skip
EVERY_BATCH = (
    "batch-sealed", "record-uncommitted", "batch-recorded", "object-confirmed",
    "store-put-written", "store-put-renamed",
)  # fmt: skip
PRUNE_POINTS = (
    "verdict-given", "verdict-stored", "prune-swept", "prune-forgot", "prune-marked",
    "prune-doomed", "prune-removed",
)  # fmt: skip
POINTS = (*EVERY_PUSH, *EVERY_BATCH, "entries-stored")


class Here(Executor):
    """Runs every call at once, in place of worker processes."""

    def __init__(self, _count: int, told: "SimpleQueue[Any]") -> None:
        worker.tell = told.put

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args))
        return future


class OnlyFirst(Here):
    """All calls but the first fail, later."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> "Future[Any]":
        self.calls += 1
        if self.calls == 1:
            return super().submit(fn, *args)
        future: Future[Any] = Future()
        threading.Timer(0.3, future.set_exception, [WorkerDied("killed")]).start()
        return future


class FirstIsLast(Here):
    """The first call comes back after the others."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> "Future[Any]":
        self.calls += 1
        if self.calls > 1:
            return super().submit(fn, *args)
        future: Future[Any] = Future()
        threading.Timer(0.3, lambda: future.set_result(fn(*args))).start()
        return future


class MortalPool(WorkerPool):
    """All its workers are killed when the third call comes."""

    calls = 0

    def submit(self, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.calls += 1
        if self.calls == 3:
            for process in self._processes:
                process.kill()
        return super().submit(*args, **kwargs)


def make_small(patch: Callable[[object, str, Any], None], *, items: int = ITEMS) -> None:
    """Small batches and small segments."""
    patch(dispatch, "MOST_ITEMS", items)
    patch(segments, "LARGE", 64 << 10)
    patch(segments, "SMALLEST", 4 << 10)
    patch(segments, "AVERAGE", 16 << 10)
    patch(segments, "LARGEST", 64 << 10)


def seal_here(patch: Callable[[object, str, Any], None], *, items: int = ITEMS) -> None:
    """Small batches and small segments, sealed in this process."""
    make_small(patch, items=items)
    patch(pushing, "WorkerPool", Here)


def act_once(patch: pytest.MonkeyPatch, module: Any, point: str, act: Callable[[], object]) -> None:
    """Act once when the point is passed."""
    left = [act]
    real = module.crash_point

    def acting(name: str) -> None:
        if name == point and left:
            left.pop()()
        real(name)

    patch.setattr(module, "crash_point", acting)


def main(config: str, how: str) -> None:
    if how == "here":
        seal_here(setattr)
    else:
        dispatch.MOST_ITEMS = ITEMS * 10
    with Workspace.find(Path(config)) as space:
        if how == "rebuild":
            rebuild(space, lambda _: None)
            return
        outcome = pushing.push(space, pushing.PushOrder(), lambda _: None)[0]
    print(outcome.bytes_read)  # noqa: T201 - a program


if __name__ == "__main__":
    main(*sys.argv[1:])
