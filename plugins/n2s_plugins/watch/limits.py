"""The limits of the kernel on watches, and the sentences about them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from n2s_core.relpath import ROOT, RelPath, join, show

_LIMITS = Path("/proc/sys/fs/inotify")
_ROOM = 2  # other programs of the user watch too, and trees grow


def limit(name: str) -> int:
    """A limit of inotify as it is now; 0 when it cannot be read."""
    try:
        return int((_LIMITS / name).read_text("ascii"))
    except (OSError, ValueError):
        return 0


def too_few_watches(needed: int) -> str:
    """What to do when the watches do not suffice."""
    now = limit("max_user_watches")
    wanted = 1 << (_ROOM * max(needed, now)).bit_length()
    return (
        f"The tree has {needed} directories to watch, and this user may watch {now} in all;"
        f" run 'sysctl fs.inotify.max_user_watches={wanted}' as root, and put that into"
        " /etc/sysctl.d to keep it."
    )


def cannot_watch(path: RelPath, error: OSError) -> str:
    """Why a directory is not watched."""
    if error.errno == errno.EMFILE:
        now = limit("max_user_instances")
        return (
            f"This user has {now} queues of inotify in use, which is all that are allowed; run"
            f" 'sysctl fs.inotify.max_user_instances={_ROOM * now}' as root."
        )
    where = f"The directory {show(path)}" if path else "The root"
    return f"{where} cannot be watched: {error.strerror or error}."


def count_directories(
    root: bytes, leaves_out: Callable[[RelPath], bool], stopped: Callable[[], bool]
) -> int:
    """How many directories a tree has that are not left out."""
    count = 0
    stack = [ROOT]
    while stack and not stopped():
        path = stack.pop()
        count += 1
        stack.extend(below for below in subdirectories(root, path)[0] if not leaves_out(below))
    return count


def subdirectories(root: bytes, path: RelPath) -> tuple[list[RelPath], int]:
    """The directories in a directory, and how many entries it has.

    Of one that is gone or may not be listed there are none: nothing of it can be stored either.
    """
    found = []
    count = 0
    try:
        with os.scandir(root + b"/" + path if path else root) as entries:
            for entry in entries:
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    found.append(join(path, entry.name))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return [], 0
    return found, count
