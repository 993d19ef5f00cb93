"""Leases: one push of a dataset at a time, without lock files; an expired one heals by itself.

Whether one has expired is judged by the clock that counts from the start of the machine, which
nobody can set, as long as the same machine asks; another one has only the time of day, that of the
server when the catalogue is on one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from n2s_core.catalogue.database import Database, open_database
from n2s_core.catalogue.repeating import Repeating
from n2s_core.catalogue_address import CatalogueAddress
from n2s_core.clock import SECOND_NS, boot_ns, iso, now_ns
from n2s_core.errors import CatalogueError, LeaseHeld
from n2s_core.facts import Lease

TERM_NS = 120 * SECOND_NS
RENEW_NS = 10 * SECOND_NS
UNKNOWN = "unknown"
_STATE, _START = 0, 19
_GONE = frozenset({"Z", "X"})


class _Owner(NamedTuple):
    """Who has a lease: what no other process ever is."""

    host: str
    boot: str
    namespace: str
    pid: str
    started: str

    @property
    def is_known(self) -> bool:
        """Whether the system said all of it."""
        return UNKNOWN not in self


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return UNKNOWN


def _namespace() -> str:
    """Within which process numbers mean the same: two containers may have one host name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return UNKNOWN


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; unknown when it does not run (any more).

    One that was killed and that its parent has not asked for yet does not run.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return UNKNOWN
    fields = stat.rpartition(b")")[2].decode().split()
    return UNKNOWN if fields[_STATE] in _GONE else fields[_START]


def _this() -> _Owner:
    pid = os.getpid()
    return _Owner(os.uname().nodename, _boot_id(), _namespace(), str(pid), _started(pid))


def this_process() -> str:
    """Host, boot, namespace, process and its start, in words."""
    return " ".join(_this())


def _owner(text: str) -> _Owner:
    parts = text.split()
    return _Owner(*parts) if len(parts) == len(_Owner._fields) else _Owner(*["?"] * 5)


def _is_dead(owner: _Owner, here: _Owner) -> bool:
    """Whether the owner surely does not run any more; never True for another machine."""
    if owner.host != here.host or not (owner.is_known and here.is_known):
        return False
    if owner.boot != here.boot:
        return True
    return owner.namespace == here.namespace and _started(int(owner.pid)) != owner.started


class _Held(NamedTuple):
    """A lease as it stands in the table."""

    owner: str
    expires_ns: int
    expires_boot_ns: int
    fencing: int

    def is_over(self, now: int) -> bool:
        """Whether anybody may take it at the time of day `now`.

        By the time of day it must end within two terms: one that is to last longer was written
        before a clock was set back, and its owner, if there is one, is stopped by the fencing
        number.
        """
        owner, here = _owner(self.owner), _this()
        if not self.owner or _is_dead(owner, here):
            return True
        if here.is_known and (owner.host, owner.boot) == (here.host, here.boot):
            return self.expires_boot_ns <= boot_ns()
        return not 0 < self.expires_ns - now <= 2 * TERM_NS


class Leases:
    """The table `leases`."""

    def __init__(self, db: Database, judge: Callable[[], None] = lambda: None) -> None:
        """`judge` raises when the catalogue is not what it was any more: upgraded, or moved."""
        self._db = db
        self._judge = judge
        self._renewed_ns: dict[int, int] = {}

    def acquire(self, dataset_no: int) -> Lease:
        """Take the lease. Raises LeaseHeld when a living process has it."""
        owner = this_process()
        with self._db.transaction():
            self._judge()
            row = self._db.one(
                "SELECT owner, expires_ns, expires_boot_ns, fencing FROM leases"
                " WHERE dataset_no = ?",
                (dataset_no,),
            )
            held = _Held("", 0, 0, 0) if row is None else _Held(*row)
            if not held.is_over(self._time_ns()):
                other = _owner(held.owner)
                message = (
                    f"Another push of this dataset is running (process {other.pid} on"
                    f" {other.host}, its lease lasts until {iso(held.expires_ns)}). Wait for it,"
                    " or stop it."
                )
                raise LeaseHeld(message)
            lease = Lease(dataset_no, owner, held.fencing + 1)
            self._db.execute(
                "INSERT INTO leases (dataset_no, owner, expires_ns, expires_boot_ns, fencing)"
                " VALUES (?, ?, 0, 0, ?) ON CONFLICT (dataset_no) DO UPDATE SET"
                " owner = excluded.owner, fencing = excluded.fencing",
                (dataset_no, owner, lease.fencing),
            )
            self.guard(lease)
        return lease

    def guard(self, lease: Lease) -> None:
        """Inside a transaction: go on only when the lease is still ours, and prolong it.

        Raises LeaseHeld when somebody else took it meanwhile.
        """
        now = boot_ns()
        changed = self._db.execute(
            "UPDATE leases SET expires_ns = ?, expires_boot_ns = ?"
            " WHERE dataset_no = ? AND fencing = ? AND owner = ?",
            (
                self._time_ns() + TERM_NS,
                now + TERM_NS,
                lease.dataset_no,
                lease.fencing,
                lease.owner,
            ),
        )
        if changed != 1:
            message = (
                "Another process took over the lease of this dataset while this one stood still;"
                " nothing more is written by this one."
            )
            raise LeaseHeld(message)
        self._renewed_ns[lease.dataset_no] = now

    def _time_ns(self) -> int:
        """The time of day, inside a transaction."""
        return self._db.server_ns or now_ns()

    def renew(self, lease: Lease) -> None:
        """Prolong the lease when it is time; cheap to call often."""
        if boot_ns() - self._renewed_ns.get(lease.dataset_no, 0) > RENEW_NS:
            with self._db.transaction():
                self.guard(lease)

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is not ours any more."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE leases SET owner = '', expires_ns = 0, expires_boot_ns = 0"
                " WHERE dataset_no = ? AND fencing = ? AND owner = ?",
                (lease.dataset_no, lease.fencing, lease.owner),
            )


def kept_lease(address: CatalogueAddress, lease: Lease) -> Repeating:
    """Prolongs a lease for as long as its process runs, whatever that is waiting for.

    A context manager around the work; nothing is opened before it is time to prolong. It stops by
    itself when somebody else took the lease; the next transaction of the work says so.
    """

    def prolong() -> bool:
        try:
            with open_database(address) as db, db.transaction():
                Leases(db).guard(lease)
        except LeaseHeld:
            return False
        except CatalogueError:  # the work itself meets it too, or it was busy for a moment
            return True
        return True

    return Repeating("lease", RENEW_NS / SECOND_NS, prolong)
