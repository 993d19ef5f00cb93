"""Which store, and how a process reaches it: small facts that travel to worker processes."""

from dataclasses import dataclass, field

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class RcloneAddress:
    """Where a running `rclone rcd` listens.

    `socket` is a unix socket in a folder that only this user can enter; `spool` a folder in it
    for objects on their way. An rclone that has no safe unix sockets listens on `port` of
    127.0.0.1 instead (0: it does not), and proves itself by `certificate` (PEM). The password
    is not shown by repr().
    """

    socket: str
    spool: str
    user: str
    password: str = field(repr=False)
    port: int = 0
    certificate: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RcloneOptions:
    """What the user wishes of rclone; `flags` are its own options without the dashes."""

    bwlimit: str = ""
    storage_class: str = ""
    flags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store by its URL; `rclone_address` is set by `start()` for stores that need rclone.

    Nobody waits longer than `timeout_s` for a remote that says nothing.
    """

    url: str
    rclone_address: RcloneAddress | None = None
    rclone_options: RcloneOptions = RcloneOptions()
    timeout_s: float = TIMEOUT_S
