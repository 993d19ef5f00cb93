"""The key objects of a store: which there are, what they say, one more, one less."""

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from n2s_core import keys
from n2s_core.app import secrets
from n2s_core.app.answers import Json
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.clock import iso, now_ns
from n2s_core.errors import DamageError, FormatError, KeyProblem, Missing, UsageError
from n2s_core.faults import crash_point
from n2s_core.keys import KdfCost, KeyFacts
from n2s_core.layout import Shelf, object_name
from n2s_core.ports import Store

SHORTEST_ID = 4
WHOLE, DAMAGED = "whole", "damaged"
NOT_IN_STORE, NOT_IN_CATALOGUE = "not in the store", "not in the catalogue"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key object. `opens`: with what is configured; None when nothing could be tried."""

    digest: bytes
    state: str
    facts: KeyFacts | None
    opens: bool | None

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        facts = self.facts
        created_ns = None if facts is None else facts.created_ns
        return {
            "key_id": self.digest.hex(),
            "state": self.state,
            "label": None if facts is None else facts.label,
            "created_at": None if created_ns is None else iso(created_ns),
            "memory_kib": None if facts is None else facts.cost.memory_kib,
            "iterations": None if facts is None else facts.cost.iterations,
            "lanes": None if facts is None else facts.cost.lanes,
            "opens": self.opens,
        }


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What was done. `text` is a page for stdout, which is a secret and in no document."""

    store: str
    rows: tuple[KeyRow, ...] = ()
    added: bytes | None = None
    removed: tuple[bytes, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    text: str | None = None

    @property
    def exit_code(self) -> int:
        """3 when a key object is damaged, or was lost by the store."""
        return 3 if any(one.state in {DAMAGED, NOT_IN_STORE} for one in self.rows) else 0

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "store": self.store,
            "keys": [one.to_json() for one in self.rows],
            "added": None if self.added is None else self.added.hex(),
            "removed": [one.hex() for one in self.removed],
            "files": [str(one) for one in self.files],
            "notes": list(self.notes),
        }


class KeyObjects:
    """The key objects of a store, and the copies that a catalogue has, if there is one."""

    def __init__(self, store: Store, catalogue: Catalogue | None) -> None:
        """Reads all of them; both stay the caller's. Raises StoreError."""
        self._store = store
        self._catalogue = catalogue
        whole, damaged = secrets.key_objects(store)
        self.in_store = dict(whole)
        self.damaged = {bytes.fromhex(name.rpartition("/")[2]) for name in damaged}
        self.kept = dict(catalogue.key_objects()) if catalogue is not None else {}

    def everything(self) -> list[bytes]:
        """Their ids, oldest first; what does not say when it was made comes last."""
        return sorted(
            {*self.in_store, *self.damaged, *self.kept},
            key=lambda one: (self.facts(one) is None, self.created_ns(one), one),
        )

    def data(self, digest: bytes) -> bytes:
        """The bytes of one, empty when nobody has them whole."""
        found = self.in_store.get(digest) or self.kept.get(digest, b"")
        return found if blake3(found).digest() == digest else b""

    def facts(self, digest: bytes) -> KeyFacts | None:
        """What it says of itself, None when it cannot be read."""
        try:
            return keys.describe(self.data(digest))
        except FormatError:
            return None

    def created_ns(self, digest: bytes) -> int:
        """When it was made; 0 when it does not say."""
        facts = self.facts(digest)
        return facts.created_ns or 0 if facts is not None else 0

    def usable(self) -> set[bytes]:
        """Those that the store has, whole and of this version."""
        return {digest for digest in self.in_store if self.facts(digest) is not None}

    def state(self, digest: bytes) -> str:
        """One of the words above."""
        if digest in self.in_store:
            if self.facts(digest) is None:
                return DAMAGED
            return WHOLE if digest in self.kept else NOT_IN_CATALOGUE
        return DAMAGED if digest in self.damaged else NOT_IN_STORE

    def opened_by(self, secret: str | None) -> set[bytes]:
        """Those that the passphrase opens."""
        found = set()
        for digest in self.everything() if secret is not None else ():
            try:
                master = keys.unwrap(self.data(digest), secret or "")
            except FormatError:  # the list of keys says that it is damaged
                continue
            if master is not None:
                found.add(digest)
        return found

    def find(self, start: str) -> bytes:
        """The one whose id begins so. Raises UsageError."""
        found = [one for one in self.everything() if one.hex().startswith(start.lower())]
        if len(start) < SHORTEST_ID:
            message = f"{start!r} is too short: give at least {SHORTEST_ID} digits of a key's id."
        elif not found:
            message = f"There is no key {start!r}; 'n2s key list' shows those that there are."
        elif len(found) > 1:
            message = f"{start!r} stands for {len(found)} keys; give more digits."
        else:
            return found[0]
        raise UsageError(message)

    def add(self, master_key: bytes, secret: str, label: str, cost: KdfCost) -> bytes:
        """Store a new one, and read it back; its id. Raises KeyProblem when it does not open."""
        data = keys.wrap(master_key, secret, created_ns=now_ns(), label=label, cost=cost)
        digest = blake3(data).digest()
        name = object_name(Shelf.KEYS, digest)
        self._store.put(name, [data], len(data))
        crash_point("key-stored")
        try:
            opened = keys.unwrap(self._store.get(name), secret)
        except (Missing, DamageError):
            opened = None
        if opened != master_key:
            self._store.delete(name)
            message = f"The new key object {name} does not open as the store gives it back."
            raise KeyProblem(message)
        if self._catalogue is not None:
            self._catalogue.remember_key(digest, data)
        crash_point("key-added")
        self.in_store[digest] = self.kept[digest] = data
        return digest

    def remove(self, digest: bytes) -> None:
        """From the store, then from the catalogue. Raises UsageError for the last one."""
        if not self.usable() - {digest}:
            message = (
                "That is the last key that could open the store; without it nothing can be read"
                " any more. Add another one first: 'n2s key add'."
            )
            raise UsageError(message)
        self._store.delete(object_name(Shelf.KEYS, digest))
        crash_point("key-deleted")
        if self._catalogue is not None:
            self._catalogue.forget_key(digest)
        self.in_store.pop(digest, None)
        self.kept.pop(digest, None)
        self.damaged.discard(digest)
