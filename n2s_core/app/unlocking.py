"""The master key, derived in another thread while something else goes on.

Deriving it takes longer than anything else in a push of a few files. So it begins as soon as the
configuration is known, and this module imports no more than that needs.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from n2s_core.app import secrets
from n2s_core.catalogue import keeping
from n2s_core.catalogue.database import Database
from n2s_core.config import Config, shown_url
from n2s_core.errors import CatalogueError, KeyProblem
from n2s_core.keys import read_key_file, store_id


class Unlocking:
    """A key that is being derived."""

    def __init__(self, derive: Callable[[], bytes]) -> None:
        """Begins at once."""
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


def unlocking_of(
    config: Config, whole: list[tuple[bytes, bytes]], damaged: list[str], expected: bytes
) -> Unlocking:
    """Begin with these key objects. Raises KeyProblem when there is no passphrase to try."""
    where = f"the store {shown_url(config.store_url)}"
    if config.key.key_file:
        key = read_key_file(Path(config.key.key_file).expanduser())
        return Unlocking(lambda: _judge(key, expected, where))
    secret = secrets.passphrase(config.key)
    return Unlocking(
        lambda: _judge(secrets.unlock(whole, damaged, secret, where=where), expected, where)
    )


def begin_early(config: Config) -> Unlocking | None:
    """Begin with what the catalogue has, None when it cannot be read or has no key objects."""
    try:
        with Database(config.catalogue_path, read_only=True) as database:
            whole, expected = keeping.key_objects(database), keeping.store_id(database)
    except CatalogueError:  # whoever opens it next says what is wrong
        return None
    if not whole or not expected:
        return None
    return unlocking_of(config, whole, [], expected)


def _judge(key: bytes, expected: bytes, where: str) -> bytes:
    if store_id(key) != expected:
        message = f"This is the key of another store than {where}."
        raise KeyProblem(message)
    return key
