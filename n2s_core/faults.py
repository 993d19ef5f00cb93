"""Points where a process can be told to die; they exist for the crash tests and do nothing else.

`N2S_CRASH_AT=NAME:K` kills the process with SIGKILL when it passes the point NAME for the K-th
time (K is 1 when it is left out); with `N2S_CRASH_WITH=SIGSTOP` it stands still there instead.
Every process counts for itself.
"""

import itertools
import os
import signal

_NAME, _, _TIMES = os.environ.get("N2S_CRASH_AT", "").partition(":")
_SIGNAL = signal.Signals[os.environ.get("N2S_CRASH_WITH", "SIGKILL")]
_PASSINGS = itertools.count(1)


def crash_point(name: str) -> None:
    """Die here when the environment says so; otherwise cost next to nothing."""
    if _NAME and name == _NAME and next(_PASSINGS) == int(_TIMES or 1):
        os.kill(os.getpid(), _SIGNAL)
