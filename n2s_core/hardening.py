"""What a process that holds keys does first: nobody else looks into it."""

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4
PRIVATE = 0o077


def harden() -> None:
    """New files are for their owner alone, and memory is neither dumped nor shown.

    After it no other process of this user can trace this one or read its environment, and it
    leaves no core dump. Root still can, for debuggers. It does not pass on to programs that are
    started: each process of n2s calls it for itself. A failure is an OSError.
    """
    os.umask(PRIVATE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
