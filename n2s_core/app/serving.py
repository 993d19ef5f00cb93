"""The work of `n2s worker`: batches that a push on another machine sends are sealed and stored.

A worker needs the configuration and the key (or a push credential), as every command does, and
no catalogue. Each batch is sealed by a process of its own, one at a time in each.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2s_core.app import secrets
from n2s_core.app.pool import WorkerDied, WorkerPool
from n2s_core.app.remote_terms import (
    Answer,
    Kind,
    Terms,
    Work,
    open_work,
    pack_answer,
    pack_told,
    unpack_call,
)
from n2s_core.app.sealing_call import SealingCall
from n2s_core.app.unlocking import tried
from n2s_core.app.witnessing import differing
from n2s_core.app.workspace import Workspace
from n2s_core.config import shown_url
from n2s_core.credentials import parse_credential
from n2s_core.errors import Missing, N2sError, UsageError
from n2s_core.jobs import BatchResult, SealSetting
from n2s_core.keypage import read_key
from n2s_core.keys import store_id
from n2s_core.reading import Directories, describe
from n2s_core.relpath import show
from n2s_core.version import __version__

if TYPE_CHECKING:
    from n2s_core.packs import Keyring

TELL_S = 0.2
POSTGRESQL = "postgresql"


def is_shared_catalogue(url: str) -> bool:
    """Whether several machines can ask the catalogue at this URL."""
    return url.startswith(POSTGRESQL)


def unlocked(space: Workspace) -> "tuple[bytes, Keyring]":
    """The id of the store, and what is needed to write into it, without a catalogue.

    Raises KeyProblem, StoreError.
    """
    from n2s_core.packs import Keyring  # noqa: PLC0415 - as in Workspace

    table = space.config.key
    where = f"the store {shown_url(space.store_url)}"
    if table.push_credential:
        credential = parse_credential(table.push_credential)
        return credential.store_id, Keyring(None, credential.store_public)
    if table.key_file:
        key = tried(read_key(Path(table.key_file).expanduser()), space.store, where)
    else:
        whole, damaged = secrets.key_objects(space.store)
        key = secrets.unlock(whole, damaged, secrets.passphrase(table), where=where)
    return store_id(key), Keyring(key)


class _Process:
    """One process that seals, and what it tells while it does."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pool = WorkerPool(1, self._told)

    def seal(self, call: SealingCall, work: Work, tell: Callable[[bytes], None]) -> BatchResult:
        """Raises N2sError; WorkerDied when the process is of no use any more."""
        future = self._pool.submit(call, work.batch)
        over = False
        while not over:
            over = bool(wait([future], TELL_S).done)
            while not self._told.empty():
                tell(pack_told(work.key, self._told.get()))
        result: BatchResult = future.result()
        return result

    def is_dead(self) -> bool:
        """Whether it has ended."""
        return not self._pool.pids()

    def stands(self) -> bool:
        """Whether somebody stopped it, with SIGSTOP or a debugger."""
        return any(_state(pid) in "tT" for pid in self._pool.pids())

    def close(self) -> None:
        """End it, also in the middle of a batch."""
        self._pool.kill()


def _state(pid: int) -> str:
    try:
        said = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "gone"
    return said.rpartition(b") ")[2][:1].decode("ascii")


class Serving:
    """Answers calls; safe for use from several threads. A context manager.

    `say(event, sentence)` is for whoever looks after this machine.
    """

    def __init__(
        self, space: Workspace, *, root: bytes, processes: int, say: Callable[[str, str], None]
    ) -> None:
        """Takes the key, and starts the processes. Raises N2sError."""
        if not os.path.isdir(root):
            message = f"The root {show(root)} is not there; is it mounted?"
            raise UsageError(message)
        self.processes = processes
        self._space = space
        self._root = root
        self._say = say
        self._store_id, self._keyring = unlocked(space)
        _ = space.spec, space.store  # opened by this thread
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._all = [_Process() for _ in range(processes)]
        for process in self._all:
            self._free.put(process)
        self._known_keys: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        self.busy = 0

    def __enter__(self) -> "Serving":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        for process in self._all:
            process.close()

    def facts(self) -> dict[str, Any]:
        """What the scheduler tells everybody about this worker; nothing secret."""
        table = self._space.config.dataset
        return {
            "version": __version__,
            "host": os.uname().nodename,
            "root": show(self._root),
            "dataset": table.name,
            "dataset_id": table.id,
            "store_id": self._store_id.hex(),
        }

    def stands(self) -> bool:
        """Whether one of the processes was stopped, so that its batch would never end."""
        return any(process.stands() for process in self._all)

    def answer(self, call: bytes, tell: Callable[[bytes], None]) -> bytes:
        """Seal the batch of a call. `tell` hears of segments of large files on the way.

        Whatever goes wrong is in the answer.
        """
        terms, body = unpack_call(call)
        refusal = self._refusal(terms)
        if refusal:
            self._say("refused", f"Refused work from {terms.host}: {refusal}")
            return pack_answer(Answer(Kind.REFUSED, refusal))
        if body is None:
            self._say("accepted", f"Ready for the pushes of {terms.dataset!r} from {terms.host}.")
            return pack_answer(Answer(Kind.READY, ""))
        with self._lock:
            self.busy += 1
        try:
            return pack_answer(self._work(terms, open_work(body), tell))
        finally:
            with self._lock:
                self.busy -= 1

    # -- the terms -----------------------------------------------------------------------------

    def _refusal(self, terms: Terms) -> str:
        """Why this is no work for this worker; empty when it is."""
        here, there = os.uname().nodename, terms.host
        if terms.version != __version__:
            return (
                f"n2s {__version__} is installed on {here}, and n2s {terms.version} on"
                f" {there}; install the same version."
            )
        table = self._space.config.dataset
        if terms.dataset_id != table.id:
            return f"{here} serves the dataset {table.name!r}, and this is {terms.dataset!r}."
        where = shown_url(self._space.store_url)
        if terms.store_id != self._store_id.hex():
            return f"the store {where}, as {here} sees it, is not that of {there}."
        if not self._has_a_key(terms.keys):
            return (
                f"the store {where}, as {here} sees it, has none of the key objects that it has"
                f" for {there}; is it another place?"
            )
        return ""

    def _has_a_key(self, names: tuple[str, ...]) -> bool:
        """Whether the store as this worker reaches it has one of these; asked once."""
        if names not in self._known_keys:
            for name in names:
                with contextlib.suppress(Missing):
                    self._space.store.stat(name)
                    self._known_keys.add(names)
                    break
        return names in self._known_keys

    # -- the work ------------------------------------------------------------------------------

    def _work(self, terms: Terms, work: Work, tell: Callable[[bytes], None]) -> Answer:
        root = os.path.join(self._root, work.below) if work.below else self._root
        if work.share and not is_shared_catalogue(self._space.config.catalogue.url):
            here = os.uname().nodename
            why = (
                f"with share = true a worker asks the catalogue, and that in the configuration of"
                f" {here} is a file of one machine."
            )
            return Answer(Kind.REFUSED, why)
        try:
            with Directories(root) as source:
                differences = differing(source, work.witnesses)
        except OSError as error:
            return Answer(Kind.REFUSED, f"{show(root)} cannot be read: {describe(error)}.")
        if differences:
            first = differences[0]
            self._say(
                "refused",
                f"Refused a batch from {terms.host}: of {show(first.witness.path)} below"
                f" {show(root)} this machine says that {first.how}.",
            )
            return Answer(Kind.ANOTHER_TREE, differences)
        setting = SealSetting(
            root=root,
            dataset_id=bytes.fromhex(terms.dataset_id),
            dataset=work.dataset,
            number=work.number,
            keyring=replace(self._keyring, level=work.level),
            pack_size=work.pack_size,
            share=work.share,
            frozen=work.frozen,
            transfers=work.transfers,
            readers=self._space.config.workers.readers_per_device,
        )
        call = SealingCall(setting, self._space.spec, self._space.config.catalogue_address)
        with self._process() as process:
            try:
                return Answer(Kind.SEALED, process.seal(call, work, tell))
            except WorkerDied as error:
                self._say("warning", f"{error} Another one takes its place.")
                return Answer(Kind.DIED, str(error))
            except N2sError as error:
                return Answer(Kind.FAILED, error)

    @contextlib.contextmanager
    def _process(self) -> Iterator[_Process]:
        """One that is free; a new one takes the place of one that is dead."""
        process = self._free.get()
        try:
            yield process
        finally:
            if process.is_dead():
                process = self._replaced(process)
            self._free.put(process)

    def _replaced(self, dead: _Process) -> _Process:
        fresh = _Process()
        with self._lock:
            self._all[self._all.index(dead)] = fresh
        dead.close()
        return fresh
