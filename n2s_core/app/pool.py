"""Worker processes that run pickled calls, as a `concurrent.futures.Executor`.

Each worker is a fresh interpreter on two pipes. It imports nothing of the program that uses n2s,
so that program needs no `if __name__ == "__main__"`, may have threads, and may be killed: its
workers then read the end of their pipe and stop.
"""

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import IO, Any

from n2s_core.errors import N2sError

LENGTH = struct.Struct("<Q")
STOP_S = 20
_PACKAGE_FOLDER = str(Path(__file__).parents[2])
_START = (
    f"import sys; sys.path.insert(0, {_PACKAGE_FOLDER!r});"
    " from n2s_core.app.worker import main; main()"
)
_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class WorkerDied(N2sError):
    """A worker process ended in the middle of a call; killed by somebody, or out of memory."""


def _without_secrets() -> dict[str, str]:
    """The environment for a worker, which gets the key that it needs over its pipe."""
    return {name: value for name, value in os.environ.items() if name != "N2S_PASSPHRASE"}


def read_message(pipe: IO[bytes]) -> Any:
    """The next pickled message. Raises EOFError when the other side is gone."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return pickle.loads(body)  # noqa: S301 - from our own child or parent, over our own pipe


def write_message(pipe: IO[bytes], message: Any) -> None:
    """Send one pickled message."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


class WorkerPool(Executor):
    """`count` worker processes. What a call tells on the way goes into the queue `told`.

    A context manager; leaving it ends the workers after the calls that are under way.
    """

    def __init__(self, count: int, told: "queue.SimpleQueue[Any]") -> None:
        """The processes start at once and import side by side."""
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._told = told
        self._processes = [self._start() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._serve, args=(process,), daemon=True)
            for process in self._processes
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_without_secrets(), **_MEMORY},
            start_new_session=True,
        )

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call `fn(*args)` in the next free worker; both must be picklable."""
        if kwargs:
            message = "Workers take positional arguments only."
            raise TypeError(message)
        future: Future[Any] = Future()
        self._calls.put((future, fn, args))
        return future

    def _serve(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        while True:
            call = self._calls.get()
            if call is None:
                return
            future, function, args = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                write_message(process.stdin, (function, args))
                future.set_result(self._answer(process.stdout))
            except (EOFError, BrokenPipeError):
                status = process.wait()
                message = (
                    f"A worker process died (status {status}); was it killed, or is memory short?"
                    " What was confirmed is kept; push again."
                )
                future.set_exception(WorkerDied(message))
                self._refuse_rest(message)
                return
            except BaseException as error:  # noqa: BLE001 - the future hands it to who waits
                future.set_exception(error)

    def _answer(self, pipe: IO[bytes]) -> Any:
        while True:
            kind, value = read_message(pipe)
            if kind == "told":
                self._told.put(value)
            elif kind == "raised":
                raise value
            else:
                return value

    def _refuse_rest(self, message: str) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None and call[0].set_running_or_notify_cancel():
                call[0].set_exception(WorkerDied(message))

    def pids(self) -> list[int]:
        """The numbers of the processes that live."""
        return [process.pid for process in self._processes if process.poll() is None]

    def kill(self) -> None:
        """End the workers at once; calls that are under way fail with WorkerDied."""
        for process in self._processes:
            process.kill()
        self.shutdown(cancel_futures=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End the workers; with `cancel_futures` also calls that nobody works on yet."""
        if cancel_futures:
            self._refuse_rest("The push ended early.")
        for _ in self._threads:
            self._calls.put(None)
        for thread, process in zip(self._threads, self._processes, strict=True):
            if wait:
                thread.join(STOP_S)
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # a dead worker; its call said so
                    process.stdin.close()
        for process in self._processes:
            try:
                process.wait(STOP_S if wait else 0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
