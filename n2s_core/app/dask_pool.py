"""Workers of Dask as a `concurrent.futures.Executor`: which of them there are, and what each does.

This process chooses the worker of each batch, and gives none more batches than it has processes.
So nothing piles up anywhere, no batch waits behind a worker that stands still, and a worker that
was refused gets nothing. What Dask does is to find workers, and to carry calls and answers.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from distributed import Client

from n2s_core.app.dask_parts import security_of
from n2s_core.app.dask_roster import Roster
from n2s_core.app.dask_seal import n2s_seal
from n2s_core.app.dask_tries import Call, Home, RemoteWorker, Try, bytes_of, copy
from n2s_core.app.remote_terms import TOPIC, Answer, Kind, open_answer, open_told
from n2s_core.app.remote_work import RemoteWork
from n2s_core.errors import N2sError, Unsealed, WorkersError
from n2s_core.jobs import BatchResult, StoredSegments
from n2s_core.workers import WorkersTable

LOOK_S = 0.5
CLOSE_S = 5.0
MOST_DOUBTS = 5
MOST_DEATHS = 3


class DaskPool(Executor):
    """Gives batches to workers until it is shut down. `told` gets segments of large files.

    `notes` gets sentences for the user. `home` is who seals when there is no worker for as long as
    the patience lasts, None: nobody, and the push ends.
    """

    def __init__(
        self,
        table: WorkersTable,
        work: RemoteWork,
        told: "queue.SimpleQueue[StoredSegments]",
        notes: list[str],
        home: Home | None,
    ) -> None:
        """Connects; returns when it is known which workers there are. Raises WorkersError."""
        self._table = table
        self._work = work
        self._told = told
        self._notes = notes
        self._home = home
        self._waiting: deque[Call] = deque()
        self._roster = Roster(table, work.terms.dataset_id, notes)
        self._tries: dict[str, Try] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._without_since: float | None = None
        self._over: N2sError | None = None
        self._at_home = False
        self._client: Any = None
        self._ready = threading.Event()
        self._door = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="dask-pool", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._over is not None and self._home is None:
            self.shutdown()
            raise self._over

    # -- for the dispatcher ----------------------------------------------------------------------

    def width(self) -> int:
        """How many batches can be worked on at once, now; at least one."""
        home = self._home.width if self._home is not None and self._at_home else 0
        return max(1, self._roster.width(), home)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have the batch sealed by a worker; what `fn` would do, they do."""
        del fn, kwargs
        (batch,) = args
        future: Future[BatchResult] = Future()
        with self._door:
            if self._closed:
                future.set_exception(self._over or WorkersError("The push has ended."))
            else:
                self._loop.call_soon_threadsafe(self._take, Call(future, batch))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """Let go of everything; workers that are at work end their batch, which nobody records."""
        del wait, cancel_futures
        with self._door:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except Exception as error:  # noqa: BLE001 - whoever waits for a batch hears of it
            self._end(WorkersError(f"The connection to the workers broke: {error!r}."))
        finally:
            with self._door:
                self._closed = True
            self._loop.run_until_complete(asyncio.sleep(0))  # batches that came a moment ago
            self._ready.set()
            self._loop.close()

    async def _main(self) -> None:
        try:
            await self._connected()
        except (OSError, ValueError, TypeError) as error:
            scheduler, reason = self._table.scheduler, str(error) or type(error).__name__
            message = (
                f"The scheduler {scheduler} cannot be used: {reason}. Is it running, as"
                " 'dask scheduler'? What was recorded is kept; push again."
            )
            self._end(WorkersError(message))
        if self._home is not None:
            await self._stop.wait()
        self._end(WorkersError("The push has ended."))

    async def _connected(self) -> None:
        """Until it is stopped. Raises OSError when the scheduler does not answer any more."""
        client: Any = Client(  # type: ignore[no-untyped-call]
            self._table.scheduler,
            asynchronous=True,
            set_as_default=False,
            timeout=self._table.patience_s,
            security=security_of(self._table),
        )
        try:
            self._client = await client
            self._client.subscribe_topic(TOPIC, self._hear)
            while not self._stop.is_set():
                await self._look()
                self._ready.set()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LOOK_S)
        finally:
            self._client = None
            for task in list(self._tasks):
                task.cancel()
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(client.close(CLOSE_S), 2 * CLOSE_S)

    def _end(self, error: N2sError) -> None:
        """From here on nobody on another machine seals."""
        self._over = error = self._over or error
        for worker in self._roster.clear():
            self._lose(worker, str(error))
        if self._home is not None and not self._stop.is_set():
            self._go_home(str(error))
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.future.set_exception(error)

    # -- which workers there are -------------------------------------------------------------------

    async def _look(self) -> None:
        """Compare what the scheduler says with what is known. Raises OSError."""
        found = await asyncio.wait_for(self._client.scheduler.identity(), self._table.patience_s)
        there = found["workers"]
        for worker in self._roster.meet(there):
            self._spawn(self._greet(worker))
        for worker, why in self._roster.lost(there):
            self._lose(worker, why)
        self._assign()
        self._judge_patience(time.monotonic())

    async def _greet(self, worker: RemoteWorker) -> None:
        """Ask whether it takes the terms."""
        attempt = self._try(worker, self._work.new_key())
        try:
            answer = await self._asked(attempt, self._work.greeting())
        except N2sError as error:
            if attempt.lost.done():  # greeted again when it comes back
                return
            answer = Answer(Kind.REFUSED, str(error))
        finally:
            self._forget(attempt)
        if answer.kind is Kind.READY:
            worker.accepted = True
            self._assign()
        else:
            self._roster.refuse(worker, str(answer.value))

    def _lose(self, worker: RemoteWorker, why: str) -> None:
        for attempt in list(worker.tries):
            if not attempt.lost.done():
                attempt.lost.set_result(why)

    def _judge_patience(self, now_s: float) -> None:
        """Without any worker: wait, then go home or give up."""
        if not self._roster.is_empty():
            self._at_home = False
        if not self._waiting or not self._roster.is_empty():
            self._without_since = None
            return
        if self._without_since is None:
            self._without_since = now_s
        if now_s - self._without_since <= self._table.patience_s:
            return
        why = self._roster.why_empty()
        if self._home is not None:
            self._go_home(why)
            return
        error = WorkersError(
            f"{why} Start 'n2s worker' there, or set fallback = true under [workers]."
        )
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.future.set_exception(error)

    # -- batches -----------------------------------------------------------------------------------

    def _take(self, call: Call) -> None:
        self._waiting.append(call)
        if self._over is not None:
            self._end(self._over)
        elif self._at_home and self._roster.is_empty():
            self._go_home("")
        else:
            self._assign()

    def _assign(self) -> None:
        """Give what waits to who has most room."""
        while self._waiting and self._client is not None:
            best = self._roster.fittest()
            if best is None:
                return
            call = self._waiting.popleft()
            self._spawn(self._seal(call, self._try(best, self._work.new_key())))

    def _go_home(self, why: str) -> None:
        """Have what waits sealed by this machine, because of `why`, which is said once."""
        assert self._home is not None
        if not self._at_home:
            self._notes.append(f"{why} This machine sealed by itself.")
            self._at_home = True
        seal = self._home.seal
        while self._waiting:
            call = self._waiting.popleft()
            seal(call.batch).add_done_callback(partial(copy, call.future))

    def _try(self, worker: RemoteWorker, key: str) -> Try:
        attempt = Try(key, worker, self._loop.create_future())
        worker.tries.add(attempt)
        self._tries[key] = attempt
        return attempt

    def _forget(self, attempt: Try) -> None:
        attempt.worker.tries.discard(attempt)
        self._tries.pop(attempt.key, None)

    async def _seal(self, call: Call, attempt: Try) -> None:
        try:
            packed = await asyncio.to_thread(self._work.call, attempt.key, call.batch)
            answer = await self._asked(attempt, packed)
            await self._judge(call, attempt, answer)
        except asyncio.CancelledError:
            call.future.set_exception(Unsealed("The connection to the scheduler was lost."))
            raise
        except Exception as error:  # noqa: BLE001 - the future hands it to who waits
            call.future.set_exception(error)
        finally:
            self._forget(attempt)
            self._assign()

    async def _asked(self, attempt: Try, packed: bytes) -> Answer:
        """The answer of its worker. Raises Unsealed when there will be none."""
        task = self._client.submit(
            n2s_seal,
            packed,
            key=attempt.key,
            workers=[attempt.worker.address],
            allow_other_workers=False,
            pure=False,
        )
        result = asyncio.ensure_future(task.result())
        try:
            await asyncio.wait({result, attempt.lost}, return_when=asyncio.FIRST_COMPLETED)
            if attempt.lost.done():
                raise Unsealed(attempt.lost.result())
            return open_answer(bytes_of(result))
        finally:
            result.cancel()
            task.release()

    async def _judge(self, call: Call, attempt: Try, answer: Answer) -> None:
        """What an answer means for the batch and for the worker."""
        worker = attempt.worker
        if answer.kind is Kind.SEALED:
            assert isinstance(answer.value, BatchResult)
            await asyncio.gather(*attempt.told)
            if await self._proves(worker, answer.value.objects):
                call.future.set_result(answer.value)
            else:
                call.future.set_exception(Unsealed(f"{worker.name} stores elsewhere."))
        elif answer.kind is Kind.FAILED:
            assert isinstance(answer.value, N2sError)
            call.future.set_exception(answer.value)
        elif answer.kind is Kind.DIED:
            self._notes.append(f"On {worker.name}: {answer.value}")
            worker.deaths += 1
            if worker.deaths == MOST_DEATHS:
                self._roster.refuse(worker, f"its processes died {MOST_DEATHS} times.")
            call.future.set_exception(Unsealed(str(answer.value)))
        else:
            await self._doubted(call, worker, answer)

    async def _doubted(self, call: Call, worker: RemoteWorker, answer: Answer) -> None:
        """It did not begin: if its view of the tree is wrong, it gets nothing more."""
        why = str(answer.value)
        if answer.kind is Kind.ANOTHER_TREE:
            assert isinstance(answer.value, list)
            why = await asyncio.to_thread(self._work.another_tree, answer.value)
        if why:
            self._roster.refuse(worker, why)
        else:
            call.doubts += 1
        if call.doubts > MOST_DOUBTS:
            call.future.set_exception(Unsealed("The tree changes faster than it can be compared."))
        else:
            self._waiting.appendleft(call)

    async def _proves(self, worker: RemoteWorker, objects: list[Any]) -> bool:
        """Whether what it says that it stored is in our store; asked until that was shown once."""
        async with worker.proving:
            if worker.proven or not objects:
                return True
            why = await asyncio.to_thread(self._work.lacks, objects)
            worker.proven = not why
        if why:
            self._roster.refuse(worker, why)
        return worker.proven

    # -- segments ----------------------------------------------------------------------------------

    def _hear(self, event: tuple[float, bytes]) -> None:
        """Of segments of a large file; what a worker that was given up tells is not ours."""
        key, told = open_told(event[1])
        attempt = self._tries.get(key)
        if attempt is not None and not attempt.lost.done():
            attempt.told.append(self._spawn(self._pass_on(attempt.worker, told)))

    async def _pass_on(self, worker: RemoteWorker, told: StoredSegments) -> None:
        with contextlib.suppress(N2sError):  # the batch asks again, and says so
            if await self._proves(worker, [told.stored]):
                self._told.put(told)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
