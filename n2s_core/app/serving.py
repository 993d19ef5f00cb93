"""The work of `n2s worker`: batches that a push on another machine sends are sealed and stored.

A worker needs the configuration and the key (or a push credential), as every command does, and
no catalogue. Each batch is sealed by a process of its own, one at a time in each.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from n2s_core.app import secrets
from n2s_core.app.pool import WorkerDied
from n2s_core.app.remote_terms import (
    Answer,
    Kind,
    Terms,
    Work,
    open_work,
    pack_answer,
    unpack_call,
)
from n2s_core.app.sealing_call import SealingCall
from n2s_core.app.serving_gear import Gear
from n2s_core.app.witnessing import differing
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress
from n2s_core.config import Config, shown_url
from n2s_core.credentials import parse_credential
from n2s_core.errors import N2sError, UsageError
from n2s_core.jobs import SealSetting
from n2s_core.keypage import read_key
from n2s_core.keys import store_id
from n2s_core.ports import Store
from n2s_core.reading import Directories, describe
from n2s_core.relpath import show
from n2s_core.version import __version__

if TYPE_CHECKING:
    from n2s_core.packs import Keyring


def is_shared_catalogue(address: CatalogueAddress) -> bool:
    """Whether several machines can ask the catalogue there."""
    return isinstance(address, PostgresqlAddress)


def unlocked(config: Config, store: Store) -> "tuple[bytes, Keyring]":
    """The id of the store, and what is needed to write into it, without a catalogue.

    Raises KeyProblem, StoreError.
    """
    from n2s_core.packs import Keyring  # noqa: PLC0415 - as in Workspace

    table = config.key
    if table.push_credential:
        credential = parse_credential(table.push_credential)
        return credential.store_id, Keyring(None, credential.store_public)
    if table.key_file:
        key = read_key(Path(table.key_file).expanduser())
    else:
        whole, damaged = secrets.key_objects(store)
        where = f"the store {shown_url(config.store_url)}"
        key = secrets.unlock(whole, damaged, secrets.passphrase(table), where=where)
    return store_id(key), Keyring(key)


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
        self._gear = Gear(space.config, processes)
        try:
            self._store_id, self._keyring = unlocked(space.config, self._gear.store)
        except BaseException:
            self._gear.close()
            raise
        self._lock = threading.Lock()
        self.busy = 0

    def __enter__(self) -> "Serving":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._gear.close()

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
        return self._gear.stands()

    def answer(self, call: bytes, tell: Callable[[bytes], None]) -> bytes:
        """Seal the batch of a call. `tell` hears of segments of large files on the way.

        Whatever goes wrong is in the answer.
        """
        terms, body = unpack_call(call)
        try:
            if body is None:
                self._renew()
            refusal = self._refusal(terms)
        except N2sError as error:
            refusal = str(error)
        if refusal:
            self._say("refused", f"Refused work from {terms.host}: {refusal}")
            return pack_answer(Answer(Kind.REFUSED, refusal))
        if body is None:
            self._say("accepted", f"Ready for the pushes of {terms.dataset!r} from {terms.host}.")
            return pack_answer(Answer(Kind.READY, ""))
        with self._lock:
            self.busy += 1
            gear = self._gear
        try:
            return pack_answer(self._work(terms, open_work(body), gear, tell))
        finally:
            with self._lock:
                self.busy -= 1

    def _renew(self) -> None:
        """A push begins: what earlier ones learned of the store, or broke, is not kept for it.

        As long as a batch of an earlier one goes on, nothing is touched.
        """
        with self._lock:
            old = self._gear
            if self.busy or not old.is_used:
                return
            self._gear = Gear(self._space.config, self.processes)
        old.close()

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
        if not self._gear.has_a_key(terms.keys):
            return (
                f"the store {where}, as {here} sees it, has none of the key objects that it has"
                f" for {there}; is it another place?"
            )
        return ""

    # -- the work ------------------------------------------------------------------------------

    def _work(self, terms: Terms, work: Work, gear: Gear, tell: Callable[[bytes], None]) -> Answer:
        root = os.path.join(self._root, work.below) if work.below else self._root
        if work.share and not is_shared_catalogue(self._space.config.catalogue_address):
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
        call = SealingCall(setting, gear.spec, self._space.config.catalogue_address)
        with gear.process() as process:
            try:
                return Answer(Kind.SEALED, process.seal(call, work, tell))
            except WorkerDied as error:
                self._say("warning", f"{error} Another one takes its place.")
                return Answer(Kind.DIED, str(error))
            except N2sError as error:
                return Answer(Kind.FAILED, error)
