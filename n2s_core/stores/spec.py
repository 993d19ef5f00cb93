"""Which store, and how a process reaches it: small facts that travel to worker processes."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RcloneAddress:
    """Where a running `rclone rcd` listens.

    `socket` is a unix socket in a folder that only this user can enter; `spool` a folder in it
    for objects on their way. The password is not shown by repr().
    """

    socket: str
    spool: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store by its URL; `rclone_address` is set by `start()` for stores that need rclone."""

    url: str
    rclone_address: RcloneAddress | None = None
