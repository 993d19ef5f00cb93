"""The zfs command: run with an argument list, read as bytes, within a time limit."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sh

from n2s_core.errors import DiscoveryError

Take = Callable[[bytes], bool]
"""Takes a piece of the output, of any size; False stops the command."""

LONGEST_WAIT_S = 120.0
_CHUNK_BYTES = 1 << 20
_TIMED_OUT = 124
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `stopped` says that the reader had enough, or why it was killed."""

    exit_code: int
    stderr: bytes
    stopped: str | None = None


class Runner(Protocol):
    """Runs commands of the ZFS family; a recording can stand in its place."""

    def run(self, arguments: Sequence[str], *, take: Take, wait_s: float) -> Ran:
        """Run `arguments` to its end and hand over what it prints, in order.

        Raises DiscoveryError when there is no such command; a failure of it is in what comes back.
        """


class ShRunner:
    """Runs the commands of this machine."""

    def run(self, arguments: Sequence[str], *, take: Take, wait_s: float) -> Ran:
        """See `Runner`. Pipes, no terminal; the language is C, so that messages can be read.

        The time limit is that of coreutils: with one of its own `sh` looks ten times a second only.
        """
        limited = ["--kill-after=10", f"{wait_s:.3f}", _program(arguments[0]), *arguments[1:]]
        reading, writing = os.pipe()
        full = False
        with open(reading, "rb", buffering=0) as output:
            with open(writing, "wb", buffering=0) as end:
                process = sh.Command("timeout")(
                    *limited,
                    _out=end,
                    _env={**os.environ, "LC_ALL": "C"},
                    _encoding="latin-1",  # any byte is a character and comes back as it was
                    _bg=True,
                    _bg_exc=False,
                )
            try:
                while not full and (data := output.read(_CHUNK_BYTES)):
                    full = not take(data)
            except BaseException:
                process.terminate()
                raise
            if full:
                process.terminate()
        exit_code, stderr = 0, b""
        try:
            process.wait()
            stderr = process.stderr
        except sh.ErrorReturnCode as error:
            exit_code, stderr = error.exit_code, error.stderr
        if full:
            return Ran(exit_code, stderr, "it printed more than was wanted")
        if exit_code == _TIMED_OUT:
            return Ran(exit_code, stderr, f"it took longer than {wait_s:.0f} s")
        return Ran(exit_code, stderr)


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)
    if path is None:
        message = (
            f"The command {name} is not on this machine; install the tools of OpenZFS"
            " (zfsutils-linux on Debian), or use the plugin find."
        )
        raise DiscoveryError(message)
    return path
