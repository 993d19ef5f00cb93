"""A new catalogue is made beside the old one and put in its place at once."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress, files_of
from n2s_core.errors import CatalogueError, LeaseHeld


class Place(Protocol):
    """Where a catalogue is, or is to be."""

    @property
    def new(self) -> CatalogueAddress:
        """Where the new one is made."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """One rebuild at a time, also where there is no catalogue. Raises LeaseHeld.

        What a rebuild that died had made is removed.
        """

    def begin(self, made: Catalogue) -> None:
        """The new one is there, and empty."""

    def replace(self, old: Catalogue | None, guard: Callable[[], None]) -> None:
        """Put the new one in the place of the old one; `guard` raises when that must not be."""


def place_of(address: CatalogueAddress) -> Place:
    """By the kind of its address."""
    if isinstance(address, PostgresqlAddress):
        return SchemaPlace(address)
    return FilePlace(address)


class FilePlace:
    """A file, and one beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.new: CatalogueAddress = path.with_name(path.name + ".new")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The lock is on the folder, and ends with the process."""
        with alone(self._path):
            for path in files_of(self.new):
                path.unlink(missing_ok=True)
            yield

    def begin(self, made: Catalogue) -> None:
        """Nobody else looks for it."""

    def replace(self, old: Catalogue | None, guard: Callable[[], None]) -> None:
        """See Place."""
        if old is None:
            self._install()
            return
        old.db.settle()
        with old.db.transaction():  # nobody can take the lease in the last moment
            guard()
            self._install()

    def _install(self) -> None:
        """The write-ahead log of the old file goes first: it would be taken for the new one's."""
        assert isinstance(self.new, Path)
        fd = os.open(self.new, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        for path in files_of(self._path)[1:]:
            path.unlink(missing_ok=True)
        self.new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)


@contextlib.contextmanager
def alone(catalogue: Path) -> Iterator[None]:
    """One rebuild of a file at a time. Raises LeaseHeld."""
    catalogue.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(catalogue.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeaseHeld(_running(catalogue)) from None
        yield
    finally:
        os.close(folder)


class SchemaPlace:
    """A schema, and one beside it, in which a lease says that a rebuild is running."""

    def __init__(self, address: PostgresqlAddress) -> None:
        from n2s_core.catalogue import postgresql_schemas  # noqa: PLC0415 - psycopg is heavy

        self._schemas = postgresql_schemas
        self._address = address
        self.new: CatalogueAddress = postgresql_schemas.new_address(address)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See Place."""
        assert isinstance(self.new, PostgresqlAddress)
        try:
            with Catalogue(self.new) as other:
                other.pruning.acquire()
        except LeaseHeld:
            raise LeaseHeld(_running(self._address)) from None
        except CatalogueError:  # there is none, or one that was only begun
            pass
        self._schemas.remove(self.new)
        self._schemas.remove_replaced(self._address)
        yield

    def begin(self, made: Catalogue) -> None:
        """From now on another rebuild is refused; the lease goes with the exchange."""
        made.pruning.acquire()

    def replace(self, old: Catalogue | None, guard: Callable[[], None]) -> None:
        """See Place."""
        self._schemas.replace(self._address, None if old is None else old.db, guard)


@contextlib.contextmanager
def alone_in(catalogue: Catalogue) -> Iterator[Callable[[], None]]:
    """Nobody else pushes, prunes or rebuilds; what is given is to be called again and again.

    Raises LeaseHeld.
    """
    with contextlib.ExitStack() as stack:
        catalogue.pruning.acquire()
        stack.callback(catalogue.pruning.release)
        held = []
        for one in catalogue.datasets():
            held.append(catalogue.leases.acquire(one.dataset_no))
            stack.callback(catalogue.leases.release, held[-1])

        def keep() -> None:
            catalogue.pruning.renew()
            for lease in held:
                catalogue.leases.renew(lease)

        yield keep


def _running(address: CatalogueAddress) -> str:
    return f"Another rebuild of {address} is running. Wait for it, or stop it."
