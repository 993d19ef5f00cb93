"""Leases: one push of a dataset at a time, without lock files; an expired one heals by itself."""

import os
from pathlib import Path

from n2s_core.catalogue.database import Database
from n2s_core.clock import SECOND_NS, iso, now_ns
from n2s_core.errors import LeaseHeld
from n2s_core.facts import Lease

TERM_NS = 120 * SECOND_NS
RENEW_NS = 10 * SECOND_NS


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def _started(pid: int) -> str | None:
    """When a process started, in ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return stat.rpartition(b")")[2].split()[19].decode()


def this_process() -> str:
    """Host, boot, process and its start: what no other process ever has."""
    pid = os.getpid()
    return f"{os.uname().nodename} {_boot_id()} {pid} {_started(pid)}"


def _is_dead(owner: str) -> bool:
    """Whether the owner surely does not run any more; never True for another machine."""
    parts = owner.split()
    if len(parts) != 4 or parts[0] != os.uname().nodename:  # noqa: PLR2004 - as this_process writes it
        return False
    if parts[1] != _boot_id():
        return True
    return _started(int(parts[2])) != parts[3]


class Leases:
    """The table `leases`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._renewed_ns = 0

    def acquire(self, dataset_no: int) -> Lease:
        """Take the lease. Raises LeaseHeld when a living process has it."""
        owner, now = this_process(), now_ns()
        with self._db.transaction():
            held = self._db.one(
                "SELECT owner, expires_ns, fencing FROM leases WHERE dataset_no = ?", (dataset_no,)
            )
            fencing = 1
            if held is not None:
                other, expires_ns, fencing = str(held[0]), held[1], held[2] + 1
                if other and expires_ns > now and not _is_dead(other):
                    host, _, pid = (*other.split(), "?", "?", "?")[:3]
                    message = (
                        f"Another push of this dataset is running (process {pid} on {host}, its"
                        f" lease lasts until {iso(expires_ns)}). Wait for it, or stop it."
                    )
                    raise LeaseHeld(message)
            self._db.execute(
                "INSERT INTO leases (dataset_no, owner, expires_ns, fencing) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (dataset_no) DO UPDATE SET owner = excluded.owner,"
                " expires_ns = excluded.expires_ns, fencing = excluded.fencing",
                (dataset_no, owner, now + TERM_NS, fencing),
            )
        self._renewed_ns = now
        return Lease(dataset_no, owner, fencing)

    def guard(self, lease: Lease) -> None:
        """Inside a transaction: go on only when the lease is still ours, and prolong it.

        Raises LeaseHeld when somebody else took it meanwhile.
        """
        now = now_ns()
        changed = self._db.execute(
            "UPDATE leases SET expires_ns = ? WHERE dataset_no = ? AND fencing = ? AND owner = ?",
            (now + TERM_NS, lease.dataset_no, lease.fencing, lease.owner),
        )
        if changed != 1:
            message = (
                "Another process took over the lease of this dataset while this one stood still;"
                " nothing more is written by this one."
            )
            raise LeaseHeld(message)
        self._renewed_ns = now

    def renew(self, lease: Lease) -> None:
        """Prolong the lease when it is time; cheap to call often."""
        if now_ns() - self._renewed_ns > RENEW_NS:
            with self._db.transaction():
                self.guard(lease)

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens when it is not ours any more."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE leases SET owner = '', expires_ns = 0"
                " WHERE dataset_no = ? AND fencing = ? AND owner = ?",
                (lease.dataset_no, lease.fencing, lease.owner),
            )
