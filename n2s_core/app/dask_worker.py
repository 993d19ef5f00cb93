"""`n2s worker`: a worker of Dask that serves one dataset, for as long as it is wanted."""

import asyncio
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Worker, WorkerPlugin

from n2s_core.app.dask_parts import exposure, security_of
from n2s_core.app.remote_terms import PLUGIN, TOPIC
from n2s_core.app.serving import Serving
from n2s_core.errors import UsageError
from n2s_core.workers import WorkersTable

FINISH_S = 20.0
AGAIN_S = 1.0
LOOK_S = 0.2
SAY_S = 10.0


class ServingPlugin(WorkerPlugin):
    """Holds what a worker has unlocked; tasks find it by its name."""

    name = PLUGIN

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._worker: Any = None

    def setup(self, worker: Any) -> None:
        """Dask gives the worker."""
        self._worker = worker

    def answer(self, call: bytes) -> bytes:
        """In a thread of the worker: seal a batch."""
        return self._serving.answer(call, self._tell)

    def _tell(self, told: bytes) -> None:
        self._worker.log_event(TOPIC, told)


@dataclass(slots=True)
class DaskServing:
    """Connects to the scheduler, again and again, until a signal ends it.

    On SIGTERM or SIGINT it takes no more work, and has a while to finish what it has.
    """

    serving: Serving
    scheduler: str
    table: WorkersTable
    name: str | None
    say: Callable[[str, str], None]

    def run(self) -> None:
        """Until it is told to stop. Raises UsageError when the scheduler does not take it."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        warning = exposure(self.scheduler)
        if warning:
            self.say("warning", warning)
        with tempfile.TemporaryDirectory(prefix="n2s-worker-") as folder:
            while not stop.is_set():
                await self._serve(stop, folder)

    async def _serve(self, stop: asyncio.Event, folder: str) -> None:
        """Until the scheduler goes away or somebody stops it."""
        self.say("waiting", f"Looking for the scheduler {self.scheduler}.")
        worker: Any = Worker(
            self.scheduler,
            nthreads=self.serving.processes,
            name=self.name,
            memory_limit=0,
            local_directory=folder,
            security=security_of(self.table),
            dashboard_address="127.0.0.1:0",
            plugins=(ServingPlugin(self.serving),),
            metrics={"n2s": lambda _: self._state(stop)},
            startup_information={"n2s": lambda _: self.serving.facts()},
        )
        starting = asyncio.ensure_future(worker)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            if not await self._started(starting, stopping):
                return
            facts = self.serving.facts()
            self.say(
                "ready",
                f"Serving {facts['dataset']!r} at {facts['root']} with {self.serving.processes}"
                f" process(es), as {worker.name}.",
            )
            ended = asyncio.ensure_future(worker.finished())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await self._finish(worker)
            else:
                self.say("lost", f"The scheduler {self.scheduler} is gone.")
                await asyncio.sleep(AGAIN_S)
        finally:
            stopping.cancel()
            await worker.close(executor_wait=False, timeout=1)

    async def _started(
        self, starting: "asyncio.Future[Any]", stopping: "asyncio.Future[Any]"
    ) -> bool:
        """Whether the scheduler has the worker, for which Dask asks it again and again.

        Raises UsageError when it never will.
        """
        both = {starting, stopping}
        done, _ = await asyncio.wait(both, timeout=SAY_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            why = f"The scheduler {self.scheduler} does not answer, or does not let this worker in."
            self.say("warning", f"{why} It is asked on and on.")
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return False
        error = starting.exception()
        if error is None:
            return True
        error = error.__cause__ or error  # Dask says only that it failed
        if isinstance(error, OSError):
            self.say("lost", f"The scheduler {self.scheduler} cannot be used: {error}.")
            await asyncio.wait({stopping}, timeout=AGAIN_S)
            return False
        message = f"The scheduler {self.scheduler} does not take this worker: {error}."
        raise UsageError(message) from error

    async def _finish(self, worker: Any) -> None:
        """Let what is under way come to its end, and be fetched."""
        self.say("stopping", "Stopping; what is under way has a while to finish.")
        deadline = asyncio.get_running_loop().time() + FINISH_S
        while asyncio.get_running_loop().time() < deadline:
            if not self.serving.busy and not worker.data:
                return
            await asyncio.sleep(LOOK_S)

    def _state(self, stop: asyncio.Event) -> dict[str, bool]:
        return {"stands": self.serving.stands(), "leaves": stop.is_set()}
