"""The inside of a worker process: runs calls that come over its standard input."""

import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from n2s_core.app.pool import read_message, write_message
from n2s_core.errors import N2sError
from n2s_core.hardening import harden

GC_THRESHOLD = 50_000  # the hot path makes no cycles, and looking for them took a tenth of the time
tell: Callable[[Any], None] | None = None


def main() -> None:
    """Serve until the pipe ends."""
    global tell  # noqa: PLW0603 - one process, one pipe
    harden()
    gc.set_threshold(GC_THRESHOLD)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with lock:
            write_message(answers, (kind, value))

    tell = lambda value: send("told", value)  # noqa: E731 - the name is the module's
    try:
        while True:
            function, args = read_message(sys.stdin.buffer)
            try:
                value = function(*args)
            except N2sError as error:
                send("raised", error)
            except Exception:  # noqa: BLE001 - our bug; the parent shows it
                send("raised", RuntimeError(f"In a worker process:\n{traceback.format_exc()}"))
            else:
                send("returned", value)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
