"""What is under way at workers of Dask, and how it ends."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from n2s_core.errors import Unsealed
from n2s_core.jobs import Batch, BatchResult


@dataclass(eq=False, slots=True)
class Call:
    """A batch that is to be sealed, and how often a worker saw its tree differently."""

    future: "Future[BatchResult]"
    batch: Batch
    doubts: int = 0


@dataclass(eq=False, slots=True)
class RemoteWorker:
    """A worker of this dataset. `accepted` is None until it has said whether it takes the terms."""

    address: str
    name: str
    threads: int
    heard_s: float
    last_seen: float = 0.0
    accepted: bool | None = None
    leaves: bool = False
    proven: bool = False
    deaths: int = 0
    proving: asyncio.Lock = field(default_factory=asyncio.Lock)
    tries: "set[Try]" = field(default_factory=set)

    def room(self) -> int:
        """How many more batches it can work on at once."""
        return self.threads - len(self.tries) if self.accepted else 0

    def fitness(self) -> tuple[bool, int, int]:
        """The highest is asked first: with room, whose processes do not die, with most room."""
        room = self.room()
        return room > 0, -self.deaths, room


@dataclass(eq=False, slots=True)
class Try:
    """One batch at one worker."""

    key: str
    worker: RemoteWorker
    lost: "asyncio.Future[str]"
    told: "list[asyncio.Task[None]]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Home:
    """The processes of the machine that pushes; `seal` starts them when it is called first."""

    seal: Callable[[Batch], "Future[BatchResult]"]
    width: int


def copy(future: "Future[BatchResult]", done: "Future[BatchResult]") -> None:
    """The end of one future is the end of the other."""
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


def bytes_of(result: "asyncio.Future[bytes]") -> bytes:
    """The bytes that a task gave back. Raises Unsealed when Dask lost it, else our bug's error."""
    if result.cancelled():
        message = "Dask dropped the batch."
        raise Unsealed(message)
    error = result.exception()
    if error is None:
        return result.result()
    message = f"Dask could not have it sealed: {type(error).__name__}: {error}"
    raise Unsealed(message) from error
