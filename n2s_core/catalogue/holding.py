"""All leases of a catalogue at once: for what nobody may push, prune or rebuild beside."""

import contextlib

from n2s_core.catalogue.database import Database, open_database
from n2s_core.catalogue.leases import Leases
from n2s_core.catalogue.pruning import EVERYBODY
from n2s_core.errors import CatalogueError, LeaseHeld
from n2s_core.facts import Lease


class Held:
    """A context manager that has every lease while it is entered, and gives them back.

    It also works on a catalogue of an older version.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._leases = Leases(db)
        self._held: list[Lease] = []

    def __enter__(self) -> "Held":
        """Raises LeaseHeld when somebody else has one of them; then none is taken."""
        numbers = [int(row[0]) for row in self._db.all("SELECT dataset_no FROM datasets")]
        try:
            for number in (EVERYBODY, *numbers):
                self._acquire(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _acquire(self, number: int) -> None:
        try:
            self._held.append(self._leases.acquire(number))
        except LeaseHeld as error:
            if number != EVERYBODY:
                raise
            message = "A prune or a rebuild of this catalogue is running. Wait for it, or stop it."
            raise LeaseHeld(message) from error

    def __exit__(self, *_: object) -> None:
        """Give them back, over a connection of its own: this one may be lost."""
        held, self._held = self._held, []
        if held:
            with (
                contextlib.suppress(CatalogueError),  # they end with this process, or expire
                open_database(self._db.address) as db,
            ):
                for lease in held:
                    Leases(db).release(lease)

    def were_given_back(self) -> None:
        """By another connection, together with what it wrote."""
        self._held.clear()

    def guard(self) -> None:
        """Inside a transaction: all are still ours, and prolonged. Raises LeaseHeld."""
        for lease in self._held:
            self._leases.guard(lease)

    def require(self) -> None:
        """All are still ours; for who keeps all others from writing. Raises LeaseHeld."""
        for lease in self._held:
            row = self._db.one(
                "SELECT owner, fencing FROM leases WHERE dataset_no = ?", (lease.dataset_no,)
            )
            if row is None or (row[0], row[1]) != (lease.owner, lease.fencing):
                message = (
                    "Another process took over the catalogue while this one stood still; nothing"
                    " was changed."
                )
                raise LeaseHeld(message)
