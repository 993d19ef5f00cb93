"""The command line: a thin layer over the public functions."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from n2s_core.cli.pushing import shortcut
from n2s_core.cli.running import (
    INTERRUPTED,
    TERMINATED,
    Terminated,
    finish_output,
    say_error,
)
from n2s_core.hardening import harden

GC_THRESHOLD = 50_000  # a comparison makes millions of small tuples and no cycles


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code (docs/commands.md)."""
    harden()
    gc.set_threshold(GC_THRESHOLD)
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(given)
    except KeyboardInterrupt as stop:
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        say_error("Stopped before anything was done.", code)
    sys.exit(finish_output(code))


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _run(given: list[str]) -> int:
    completing = "_N2S_COMPLETE" in os.environ
    code = None if completing else shortcut(given)
    if code is not None:
        return code
    from n2s_core.cli.app import command_line  # noqa: PLC0415 - typer; not for the shortcut

    return command_line(given, completing=completing)


__all__ = ["main"]
