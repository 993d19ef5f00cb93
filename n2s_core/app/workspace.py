"""Everything that belongs to one configured dataset, opened when it is needed."""

import contextlib
import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from n2s_core import config as configuration
from n2s_core.app import secrets
from n2s_core.app.opening import OpenedStore, opened, spec_of
from n2s_core.app.unlocking import Unlocking, judged, tried, unlocking_of
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue_address import files_of
from n2s_core.config import Config
from n2s_core.errors import KeyProblem, Missing, Outgrown, Refused, StoreError
from n2s_core.excludes import Excludes
from n2s_core.facts import Dataset
from n2s_core.layout import Shelf, object_name
from n2s_core.model import Debt
from n2s_core.remotes import PREFIX
from n2s_core.stores import start
from n2s_core.stores.spec import StoreSpec

if TYPE_CHECKING:
    from n2s_core.app.traffic import Traffic
    from n2s_core.credentials import PushCredential
    from n2s_core.packs import Keyring


OWN_FOLDER = os.fsencode(configuration.FOLDER)


class Workspace:
    """A dataset with its catalogue, store and key. A context manager that closes them."""

    def __init__(self, config: Config, unlocking: Unlocking | None = None) -> None:
        """Nothing is opened yet; `unlocking` is the key when it is on its way already."""
        self.config = config
        self._stack = ExitStack()
        self._catalogue: Catalogue | None = None
        self._spec: StoreSpec | None = None
        self._store: OpenedStore | None = None
        self._unlocking = unlocking

    @classmethod
    def find(cls, wanted: Path | None = None) -> "Workspace":
        """By the rules of docs/configuration.md. Raises ConfigError."""
        return cls(configuration.chosen(wanted))

    def __enter__(self) -> "Workspace":
        """Itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """Close what was opened."""
        if self._unlocking is not None:
            self._unlocking.wait()
        self._stack.close()

    # -- the parts -----------------------------------------------------------------------------

    @property
    def root(self) -> bytes:
        """Absolute path of the tree."""
        return os.fsencode(self.config.root)

    @property
    def catalogue(self) -> Catalogue:
        """Raises CatalogueError."""
        if self._catalogue is None:
            self._catalogue = self._stack.enter_context(Catalogue(self.config.catalogue_address))
        return self._catalogue

    def upgrade_catalogue(self) -> bool:
        """Whether the file was a catalogue of an older version; it is of this one now.

        One on a server is left to who knows that all machines have this n2s (decision 0018).
        Raises CatalogueError, LeaseHeld.
        """
        try:
            _ = self.catalogue
        except Outgrown:
            if not isinstance(self.config.catalogue_address, Path):
                raise
            from n2s_core.app.cataloguing import upgrade_at  # noqa: PLC0415 - once in a year

            upgrade_at(self.config.catalogue_address)
            return True
        return False

    @property
    def dataset(self) -> Dataset:
        """As the catalogue has it now."""
        return self.catalogue.dataset(bytes.fromhex(self.config.dataset.id))

    @property
    def spec(self) -> StoreSpec:
        """How to reach the store from any process of this run."""
        if self._spec is None:
            self._spec = self._stack.enter_context(start(spec_of(self.config)))
        return self._spec

    @property
    def store_url(self) -> str:
        """The URL with relative folders made absolute, from where the configuration lies."""
        return self.config.store_url

    @property
    def store(self) -> OpenedStore:
        """Raises StoreError, UsageError. When a put returns the catalogue has what remotes owe."""
        if self._store is None:
            self._store = opened(self.spec)
            if self._store.several is not None:
                self._store.on_debts = self._note_debts
            self._stack.callback(self._store.close)
        return self._store

    def _note_debts(self, debts: list[Debt]) -> None:
        """The catalogue is opened when there are some, because a rebuild has none at first."""
        self.catalogue.debts.note(debts)

    @property
    def is_on_several_remotes(self) -> bool:
        """Whether the store is a set of remotes."""
        return self.store_url.startswith(PREFIX)

    def take_requests(self) -> "Counter[str]":
        """What was asked of the store by this process since this was called last."""
        return Counter() if self._store is None else self._store.take_requests()

    def traffic(self, more: "Counter[str] | None" = None) -> "Traffic":
        """What was asked of the store since it was asked last, by workers (`more`) too."""
        from n2s_core.app.traffic import Traffic  # noqa: PLC0415 - after what it counts

        return Traffic(self.take_requests() + (more or Counter()), self.config.prices)

    def store_address(self) -> str | None:
        """Where the state of the store that was used can be read, for `recover`; None if nowhere.

        What was stored is stored, also when the store cannot be asked for this any more.
        """
        if self._store is not None:
            with contextlib.suppress(StoreError):
                return self._store.address()
        return None

    def check_store(self) -> None:
        """Before anything is stored: the store must be the one that the key belongs to.

        A key object that it lost or damaged is put back from the catalogue's copy. Raises Refused
        when the store has other keys only, or of a credential, when it has none. Who has the key
        itself in a file cannot tell by the key objects whose store it is, so some of what is stored
        is opened.
        """
        where = configuration.shown_url(self.store_url)
        if self.is_write_only:
            if any(True for _ in self.store.list(Shelf.KEYS.value)):
                return
            message = (
                f"The store {where} has no key object, so nobody could read what is stored there;"
                " is it another store? Nothing was stored."
            )
            raise Refused(message)
        names = self.key_names()
        for name, data in names.items():
            with contextlib.suppress(Missing):
                if self.store.get(name) != data:
                    self.store.put(name, [data], len(data))
                return
        theirs, damaged = secrets.key_objects(self.store)
        if theirs and self.config.key.key_file:
            tried(self.master_key(), self.store, f"the store {where}")
            for digest, data in theirs:
                self.catalogue.remember_key(digest, data)
            return
        if theirs or damaged:
            message = (
                f"The store {where} holds other keys than those that this machine knows. If its"
                " passphrase was changed elsewhere, push with the new one; if not, is it another"
                " store? Nothing was stored."
            )
            raise Refused(message)
        for name, data in names.items():
            self.store.put(name, [data], len(data))

    def key_names(self) -> dict[str, bytes]:
        """The whole copies of key objects that the catalogue has, by name."""
        return {
            object_name(Shelf.KEYS, digest): data
            for digest, data in self.catalogue.key_objects()
            if blake3(data).digest() == digest
        }

    def excludes(self, extra: tuple[str, ...] = ()) -> Excludes:
        """The rules of the configuration, and what belongs to n2s itself."""
        table = self.config.dataset
        return Excludes(
            patterns=table.exclude + extra,
            markers=tuple(os.fsencode(name) for name in table.exclude_if_present),
            caches=table.exclude_caches,
            one_filesystem=table.one_file_system,
            hidden=self._own_paths(),
            own_folder=OWN_FOLDER,
            own_shown=frozenset({OWN_FOLDER + b"/" + os.fsencode(configuration.NAME)}),
        )

    def _own_paths(self) -> frozenset[bytes]:
        """Catalogue and store, where they lie below the root."""
        found = set()
        base = self.root.rstrip(b"/") + b"/"
        for own in map(os.fsencode, files_of(self.config.catalogue_address)):
            if own.startswith(base):
                found.add(own[len(base) :])
        for folder in map(os.fsencode, configuration.folders_of(self.store_url)):
            if folder.startswith(base):
                found.add(folder[len(base) :])
        return frozenset(found)

    # -- the key -------------------------------------------------------------------------------

    @property
    def is_write_only(self) -> bool:
        """Whether the dataset is pushed with a credential, so that it cannot be read here."""
        return bool(self.config.key.push_credential)

    def refuse_without_key(self) -> None:
        """Raises KeyProblem where there is a push credential in the place of the key."""
        if self.is_write_only:
            message = (
                "This machine has a push credential: it can store and not read. Where the"
                " passphrase is, 'n2s recover' restores, and 'n2s init' joins the store."
            )
            raise KeyProblem(message)

    def begin_unlock(self) -> None:
        """Start to derive the key beside what follows. Raises KeyProblem without a passphrase."""
        self.refuse_without_key()
        if self._unlocking is not None:
            return
        whole, damaged = self.catalogue.key_objects(), list[str]()
        if not whole and not self.config.key.key_file:
            whole, damaged = secrets.key_objects(self.store)
        self._unlocking = unlocking_of(self.config, whole, damaged, self.catalogue.store_id)

    def master_key(self) -> bytes:
        """Raises KeyProblem."""
        self.begin_unlock()
        assert self._unlocking is not None
        try:
            return self._unlocking.key()
        except KeyProblem:
            found = self._key_of_store(self._unlocking.secret)
            if found is None:
                raise
            self._unlocking.settle(found)
            return found

    @property
    def secret(self) -> str | None:
        """The passphrase that was given; None as long as there is none, and with a key file."""
        return None if self._unlocking is None else self._unlocking.secret

    def _key_of_store(self, secret: str | None) -> bytes | None:
        """The key by what the store has now: the passphrase may have been changed elsewhere.

        None when that does not help either. The catalogue then knows these key objects too.
        """
        if secret is None:
            return None
        where = f"the store {configuration.shown_url(self.store_url)}"
        try:
            whole, damaged = secrets.key_objects(self.store)
            key = secrets.unlock(whole, damaged, secret, where=where)
            judged(key, self.catalogue.store_id, where)
        except (KeyProblem, StoreError):
            return None
        for digest, data in whole:
            self.catalogue.remember_key(digest, data)
        return key

    def begin_keyring(self) -> None:
        """Start to get what writers need. Raises KeyProblem."""
        if not self.is_write_only:
            self.begin_unlock()

    def check_keyring(self) -> None:
        """What writers need is there. Raises KeyProblem."""
        if self.is_write_only:
            self.credential()
        else:
            self.master_key()

    def credential(self) -> "PushCredential":
        """The push credential. Raises KeyProblem when it is none, or that of another store."""
        from n2s_core.credentials import parse_credential  # noqa: PLC0415 - for few

        found = parse_credential(self.config.key.push_credential)
        if found.store_id != self.catalogue.store_id:
            where = configuration.shown_url(self.store_url)
            message = f"The push credential is that of another store than {where}."
            raise KeyProblem(message)
        return found

    def keyring(self) -> "Keyring":
        """What writers need. Raises KeyProblem."""
        from n2s_core.packs import Keyring  # noqa: PLC0415 - imported while the key is derived

        level = self.config.store.compression
        if self.is_write_only:
            return Keyring(None, self.credential().store_public, level=level)
        return Keyring(self.master_key(), level=level)
