"""The master key, derived in another thread while something else goes on.

Deriving it takes longer than anything else in a push of a few files. So it begins as soon as the
configuration is known, and this module imports no more than that needs.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

from n2s_core.app import secrets
from n2s_core.catalogue import keeping
from n2s_core.catalogue.database import open_database
from n2s_core.config import Config, shown_url
from n2s_core.errors import CatalogueError, DamageError, KeyProblem, Missing
from n2s_core.keys import store_id
from n2s_core.layout import FOLDERS, Shelf
from n2s_core.ports import Store

TRIED_OF_A_FOLDER = 4
MOST_TRIED = 32


class Unlocking:
    """A key that is being derived, from the passphrase `secret` if that is where it comes from."""

    def __init__(self, derive: Callable[[], bytes], secret: str | None = None) -> None:
        """Begins at once."""
        self.secret = secret
        self._derive = derive
        self._key: bytes | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="unlock", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._key = self._derive()
        except BaseException as error:  # noqa: BLE001 - raised again in key
            self._error = error

    def wait(self) -> None:
        """Until it is over, however it ends."""
        self._thread.join()

    def key(self) -> bytes:
        """Waits for it. Raises KeyProblem."""
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._key is not None
        return self._key

    def settle(self, key: bytes) -> None:
        """The key was found in another way."""
        self.wait()
        self._key, self._error = key, None


def unlocking_of(
    config: Config, whole: list[tuple[bytes, bytes]], damaged: list[str], expected: bytes
) -> Unlocking:
    """Begin with these key objects. Raises KeyProblem when there is no passphrase to try."""
    where = f"the store {shown_url(config.store_url)}"
    if config.key.key_file:
        from n2s_core.keypage import read_key  # noqa: PLC0415 - not for those with a passphrase

        key = read_key(Path(config.key.key_file).expanduser())
        return Unlocking(lambda: judged(key, expected, where))
    secret = secrets.passphrase(config.key)
    return Unlocking(
        lambda: judged(secrets.unlock(whole, damaged, secret, where=where), expected, where),
        secret,
    )


def begin_early(config: Config) -> Unlocking | None:
    """Begin with what the catalogue has, None when it cannot be read or has no key objects.

    None too for a dataset that is pushed with a credential and needs no key.
    """
    if config.key.push_credential:
        return None
    try:
        with open_database(config.catalogue_address, read_only=True) as database:
            whole, expected = keeping.key_objects(database), keeping.store_id(database)
    except CatalogueError:  # whoever opens it next says what is wrong
        return None
    if not whole or not expected:
        return None
    return unlocking_of(config, whole, [], expected)


def judged(key: bytes, expected: bytes, where: str) -> bytes:
    """The key, if it is that of the store with the id `expected`. Raises KeyProblem."""
    if store_id(key) != expected:
        message = f"This is the key of another store than {where}."
        raise KeyProblem(message)
    return key


def tried(key: bytes, store: Store, where: str) -> bytes:
    """The key, if it opens an object of the store. Raises KeyProblem when it opens none.

    A few of each shelf are tried, because one may be damaged.
    """
    from n2s_core.packs import ObjectReader  # noqa: PLC0415 - not needed where a key is derived

    seen = 0
    folders = (f"{shelf.value}/{one}" for shelf in (Shelf.META, Shelf.DATA) for one in FOLDERS)
    for folder in (Shelf.CHANGESETS.value, *folders):
        for found in itertools.islice(store.list(folder), TRIED_OF_A_FOLDER):
            seen += 1
            with contextlib.suppress(DamageError, Missing):
                reader = ObjectReader(store.get(found.name), key)
                if any(True for _ in reader.records(lambda _problem: None)):
                    return key
        if seen >= MOST_TRIED:
            break
    message = (
        f"This key opens none of the objects of {where}: it is the key of another store."
        if seen
        else f"There is nothing in {where} that a key could be tried with."
    )
    raise KeyProblem(message)
