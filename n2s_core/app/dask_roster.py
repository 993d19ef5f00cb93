"""Which workers of a dataset a scheduler knows, and which of them can be used."""

import time
from collections.abc import Iterator
from typing import Any

from n2s_core.app.dask_tries import RemoteWorker
from n2s_core.app.remote_terms import PLUGIN
from n2s_core.workers import WorkersTable

SHOWN = 5


class Roster:
    """The workers of one dataset, as one push sees them. `notes` gets sentences for the user."""

    def __init__(self, table: WorkersTable, dataset_id: str, notes: list[str]) -> None:
        self._table = table
        self._dataset_id = dataset_id
        self._notes = notes
        self._workers: dict[str, RemoteWorker] = {}
        self._others: set[str] = set()
        self._refused: list[str] = []

    def meet(self, there: dict[str, dict[str, Any]]) -> Iterator[RemoteWorker]:
        """What the scheduler says now, by address; gives those that have to be greeted."""
        for address, about in there.items():
            facts = about.get(PLUGIN)
            if facts is None:
                continue
            if facts["dataset_id"] != self._dataset_id:
                self._others.add(facts["dataset"])
                continue
            worker = self._workers.get(address)
            if worker is None:
                name = f"{about['name']} ({facts['host']})"
                worker = RemoteWorker(address, name, about["nthreads"], time.monotonic())
                self._workers[address] = worker
            state = about["metrics"].get(PLUGIN, {})
            worker.leaves = state.get("leaves", False)
            if about["last_seen"] != worker.last_seen and not state.get("stands", False):
                worker.last_seen = about["last_seen"]
                worker.heard_s = time.monotonic()
                if worker.accepted is None and not worker.tries:
                    yield worker

    def lost(self, there: dict[str, dict[str, Any]]) -> Iterator[tuple[RemoteWorker, str]]:
        """Those that went away or stand still with work, each with a sentence."""
        since_s = time.monotonic() - self._table.patience_s
        for worker in list(self._workers.values()):
            if worker.address not in there:
                del self._workers[worker.address]
                yield worker, f"The worker {worker.name} went away."
            elif worker.heard_s < since_s and worker.tries:
                why = f"The worker {worker.name} has said nothing for {self._table.patience}."
                self._notes.append(f"{why} Its batch was given to another one.")
                yield worker, why

    def clear(self) -> list[RemoteWorker]:
        """There are none any more; those that there were."""
        before, self._workers = self._workers, {}
        return list(before.values())

    def refuse(self, worker: RemoteWorker, why: str) -> None:
        """Give it nothing more in this push."""
        if worker.accepted is not False:
            self._refused.append(f"{worker.name}: {why}")
            self._notes.append(f"The worker {worker.name} was refused: {why}")
        worker.accepted = False

    def alive(self) -> list[RemoteWorker]:
        """Those that were heard of within the patience, and stay."""
        since_s = time.monotonic() - self._table.patience_s
        return [one for one in self._workers.values() if not one.leaves and one.heard_s >= since_s]

    def fittest(self) -> RemoteWorker | None:
        """Who gets the next batch, None when all have enough."""
        best = max(self.alive(), key=RemoteWorker.fitness, default=None)
        return best if best is not None and best.room() > 0 else None

    def is_empty(self) -> bool:
        """Whether nobody can be used, nor is being asked."""
        return all(one.accepted is False for one in self.alive())

    def width(self) -> int:
        """How many batches they work on at once. May be called from another thread."""
        workers = list(self._workers.values())
        return sum(one.threads for one in workers if one.accepted and not one.leaves)

    def why_empty(self) -> str:
        """That no worker could be used, and what is known of those that there are."""
        table = self._table
        why = f"No worker of this dataset could be used at {table.scheduler} for {table.patience}"
        if self._refused:
            return f"{why} (refused: {'; '.join(self._refused[:SHOWN])})."
        if self._others:
            return f"{why} (there are some of {', '.join(sorted(self._others)[:SHOWN])})."
        return f"{why}."
