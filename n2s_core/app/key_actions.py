"""`key`: what is done with the key objects of a store, and with the master key itself.

There is one master key. Each key object holds it under a passphrase of its own, so passphrases
come and go and nothing else in the store is written again.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from n2s_core import keys
from n2s_core.app import secrets
from n2s_core.app.costing import AIM_S, measured
from n2s_core.app.key_objects import NOT_IN_STORE, KeyAnswer, KeyObjects, KeyRow
from n2s_core.app.key_page import page_text, write_page, write_secret
from n2s_core.app.opening import opened
from n2s_core.app.unlocking import judged, tried
from n2s_core.app.workspace import Workspace
from n2s_core.config import absolute_url, shown_url
from n2s_core.credentials import PushCredential
from n2s_core.errors import UsageError
from n2s_core.keypage import key_file_text, read_key
from n2s_core.keys import store_id
from n2s_core.sealing import x25519_private
from n2s_core.stores import start
from n2s_core.stores.spec import StoreSpec


@dataclass(frozen=True, slots=True)
class NewKey:
    """How a new key object is made; `kdf_s` None: measured, or as expensive as the one before."""

    source: secrets.NewPassphrase
    label: str | None = None
    kdf_s: float | None = None


def list_keys(space: Workspace) -> KeyAnswer:
    """Every key object; nobody is asked for a passphrase. Raises StoreError, KeyProblem."""
    found = _objects(space)
    given = None if space.is_write_only else secrets.given_passphrase(space.config.key)
    opens = found.opened_by(given)
    rows = tuple(
        KeyRow(
            one,
            found.state(one),
            found.facts(one),
            None if given is None or not found.data(one) else one in opens,
        )
        for one in found.everything()
    )
    notes = [
        f"The store does not have key {row.digest.hex()[:16]}. If it was removed on another"
        " machine, remove it here too; if not, the next push may bring it back."
        for row in rows
        if row.state == NOT_IN_STORE and not space.is_write_only
    ]
    return KeyAnswer(_shown(space), rows, notes=tuple(notes))


def add_key(space: Workspace, new: NewKey) -> KeyAnswer:
    """One more passphrase. Raises KeyProblem."""
    master = space.master_key()
    cost = measured(AIM_S if new.kdf_s is None else new.kdf_s)
    secret = secrets.new_passphrase(new.source)
    added = _objects(space).add(master, secret, new.label or "", cost)
    return KeyAnswer(_shown(space), added=added)


def remove_key(space: Workspace, start: str) -> KeyAnswer:
    """A passphrase less. Raises UsageError for the last key, KeyProblem for who has none."""
    space.master_key()
    found = _objects(space)
    digest = found.find(start)
    left = found.opened_by(space.secret) - {digest}
    found.remove(digest)
    notes = []
    if not left and not space.config.key.key_file:
        notes.append("The passphrase of this machine opens no other key; give it another one.")
    return KeyAnswer(_shown(space), removed=(digest,), notes=tuple(notes))


def change_passphrase(space: Workspace, new: NewKey) -> KeyAnswer:
    """A new passphrase in the place of the one that was given. Raises KeyProblem.

    The old key objects are removed when the new one has been read back and opens.
    """
    if space.config.key.key_file:
        message = "This machine opens the store by a key file; use 'key add' and 'key remove'."
        raise UsageError(message)
    master = space.master_key()
    found = _objects(space)
    old = found.opened_by(space.secret)
    facts = [one for one in map(found.facts, sorted(old)) if one is not None]
    label = new.label if new.label is not None else next((one.label for one in facts), "")
    cost = next((one.cost for one in facts), keys.DEFAULT_COST)
    if new.kdf_s is not None:
        cost = measured(new.kdf_s)
    secret = secrets.new_passphrase(new.source)
    added = found.add(master, secret, label, cost)
    for digest in sorted(old):
        found.remove(digest)
    note = (
        "Wherever the old passphrase is kept, put the new one. Who had the old one and a copy of"
        " an old key object can still open the store."
    )
    return KeyAnswer(_shown(space), added=added, removed=tuple(sorted(old)), notes=(note,))


def export_key(space: Workspace, *, file: str | None, paper: str | None) -> KeyAnswer:
    """A key file, or a page to print (`-`: on stdout). Raises KeyProblem, UsageError."""
    master, store = space.master_key(), _shown(space)
    if paper == "-":
        return KeyAnswer(store, text=page_text(master, store))
    files = []
    if paper is not None:
        files += write_page(Path(paper), master, store)
    if file is not None:
        files.append(write_secret(Path(file), key_file_text(master)))
    return KeyAnswer(store, files=tuple(files))


def export_credential(space: Workspace, file: str) -> KeyAnswer:
    """A push credential for another machine. Raises KeyProblem, UsageError."""
    master = space.master_key()
    public = x25519_private(master).public_key().public_bytes_raw()
    text = PushCredential(store_id(master), public).text()
    return KeyAnswer(_shown(space), files=(write_secret(Path(file), text + "\n"),))


def import_key(space: Workspace, file: str, new: NewKey) -> KeyAnswer:
    """A key object made from a key file or a page, under a new passphrase. Raises KeyProblem.

    For a store whose key objects are lost, or whose passphrase is.
    """
    master = read_key(Path(file))
    judged(master, space.catalogue.store_id, f"the store {_shown(space)}")
    added = _imported(_objects(space), master, new)
    return KeyAnswer(_shown(space), added=added)


def import_key_into(url: str, file: str, new: NewKey) -> KeyAnswer:
    """The same of a store that no dataset of this machine belongs to."""
    url = absolute_url(url, Path.cwd())
    master = read_key(Path(file))
    with start(StoreSpec(url)) as spec, contextlib.closing(opened(spec)) as store:
        tried(master, store, f"the store {shown_url(url)}")
        added = _imported(KeyObjects(store, None), master, new)
    return KeyAnswer(shown_url(url), added=added)


def _imported(found: KeyObjects, master: bytes, new: NewKey) -> bytes:
    cost = measured(AIM_S if new.kdf_s is None else new.kdf_s)
    secret = secrets.new_passphrase(new.source)
    return found.add(master, secret, new.label or "", cost)


def _objects(space: Workspace) -> KeyObjects:
    return KeyObjects(space.store, space.catalogue)


def _shown(space: Workspace) -> str:
    return shown_url(space.store_url)
