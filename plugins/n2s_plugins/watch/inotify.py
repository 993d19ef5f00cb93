"""The system calls of inotify.

They are those of watchdog, and nothing else of it is used, because its observers promise less
than a backup needs: a directory that cannot be watched is passed over in silence, an overflow of
the queue is repaired without saying which changes were lost, nobody can ask whether all events up
to now have been read, and a directory that is renamed while it is being registered may lose its
watch. So the order of events and the state of the watches are kept here.
"""

import array
import ctypes
import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from typing import NamedTuple

from watchdog.observers.inotify_c import (
    InotifyConstants,
    Mask,
    inotify_add_watch,
    inotify_init,
    inotify_rm_watch,
)

CREATED = int(InotifyConstants.IN_CREATE)
DELETED = int(InotifyConstants.IN_DELETE)
MOVED = int(InotifyConstants.IN_MOVED_FROM | InotifyConstants.IN_MOVED_TO)
ATTRIBUTES = int(InotifyConstants.IN_ATTRIB)
SELF_GONE = int(InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF)
UNMOUNTED = int(InotifyConstants.IN_UNMOUNT)
OVERFLOW = int(InotifyConstants.IN_Q_OVERFLOW)
FORGOTTEN = int(InotifyConstants.IN_IGNORED)
DIRECTORY = int(InotifyConstants.IN_ISDIR)
_WRITTEN = int(InotifyConstants.IN_MODIFY | InotifyConstants.IN_CLOSE_WRITE)
_WANTED = Mask(
    CREATED | DELETED | MOVED | ATTRIBUTES | SELF_GONE | _WRITTEN
    | int(InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DONT_FOLLOW)
)  # fmt: skip
_HEAD = struct.Struct("iIII")
_READ_BYTES = 1 << 18


class Event(NamedTuple):
    """One event; `name` is empty when it is about the watched directory itself."""

    watch: int
    mask: int
    name: bytes


class Inotify:
    """One queue of events. Whoever opens it closes it, which removes all of its watches."""

    def __init__(self) -> None:
        """Raises OSError (EMFILE: the user has too many queues)."""
        fd = inotify_init()
        if fd < 0:
            raise _error(None)
        os.set_inheritable(fd, False)  # noqa: FBT003 - the signature of os
        os.set_blocking(fd, False)
        self.fd = fd

    def close(self) -> None:
        """Remove all watches."""
        os.close(self.fd)

    def add(self, directory: bytes) -> int:
        """Watch a directory; a directory that is watched already keeps its number.

        Raises OSError (ENOSPC: no watches are left; ENOENT, ENOTDIR: there is no directory).
        """
        watch = inotify_add_watch(self.fd, directory, _WANTED)
        if watch < 0:
            raise _error(directory)
        return watch

    def remove(self, watch: int) -> None:
        """End a watch; one that the kernel ended before is no error."""
        inotify_rm_watch(self.fd, watch)  # type: ignore[arg-type]  # a number with a name of its own

    def waiting(self) -> int:
        """How many bytes of events can be read now."""
        size = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.FIONREAD, size)
        return size[0]

    def read(self) -> bytes:
        """The events that are there now, as the kernel packs them; empty when there are none."""
        try:
            return os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return b""


def events(packed: bytes) -> Iterator[Event]:
    """What was read, one by one."""
    at = 0
    while at < len(packed):
        watch, mask, _cookie, length = _HEAD.unpack_from(packed, at)
        at += _HEAD.size + length
        yield Event(watch, mask, packed[at - length : at].rstrip(b"\0"))


def _error(path: bytes | None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
