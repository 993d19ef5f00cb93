"""Turns at a disk: no more than so many processes of one user and machine read a device at a time.

A turn is a lock of the kernel on one of so many small files, so it ends with its process. It is a
courtesy to disks with heads, and nothing depends on it.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from n2s_core.errors import UsageError

LOOK_S = 0.05


def _folder() -> str:
    """A folder of this user's own, which is empty again after a restart where the system can."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = os.path.join(base, f"n2s-turns-{os.geteuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            message = f"{path} belongs to somebody else; look at it, and move it away."
            raise UsageError(message) from None
    return path


@contextmanager
def turns(devices: Iterable[int], most: int) -> Iterator[None]:
    """Wait until fewer than `most` others read each of the devices (`st_dev`); 0 is no limit."""
    with ExitStack() as stack:
        for device in sorted(set(devices)) if most else ():  # in one order, so nobody is stuck
            stack.callback(os.close, _turn(device, most))
        yield


def _turn(device: int, most: int) -> int:
    """The descriptor of a file that is locked, or of one whose owner stands still."""
    folder = _folder()
    while True:
        for number in range(most):
            fd = os.open(
                os.path.join(folder, f"{os.major(device)}-{os.minor(device)}-{number}"),
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if _stands(os.pread(fd, 20, 0)):
                    return fd
                os.close(fd)
                continue
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d" % os.getpid(), 0)
            return fd
        time.sleep(LOOK_S)


def _stands(pid: bytes) -> bool:
    """Whether somebody stopped the process, which then reads nothing."""
    try:
        with open(b"/proc/%s/stat" % pid, "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in b"tT"
    except OSError:  # it has ended, so its turn is free
        return False
