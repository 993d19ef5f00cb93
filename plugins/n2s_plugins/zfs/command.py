"""The zfs command: run with an argument list, read as bytes, within a time limit."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sh

from n2s_core.errors import DiscoveryError

Take = Callable[[bytes], bool]
"""Takes a piece of the output, of any size; False stops the command."""

LONGEST_WAIT_S = 120.0
_CHUNK_BYTES = 1 << 16
_MOST_STDERR_BYTES = 1 << 16
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
        """See `Runner`. Pipes, no terminal; the language is C, so that messages can be read."""
        command = _command(arguments[0])
        stderr = bytearray()
        failure: list[BaseException] = []
        full: list[bool] = []

        def read(text: str | bytes, _stdin: object, process: Any) -> bool:
            try:
                wants_more = take(text.encode("latin-1") if isinstance(text, str) else text)
            except Exception as error:  # noqa: BLE001 - raised below, in the caller's own thread
                failure.append(error)
                wants_more = False
            if not wants_more:
                full.append(True)
                process.kill()
            return not wants_more

        def complain(text: str | bytes) -> None:
            if len(stderr) < _MOST_STDERR_BYTES:
                stderr.extend(text.encode("latin-1") if isinstance(text, str) else text)

        exit_code, stopped = 0, None
        try:
            command(
                *arguments[1:],
                _out=read,
                _err=complain,
                _out_bufsize=_CHUNK_BYTES,
                _encoding="latin-1",  # any byte is a character and comes back as it was
                _env={**os.environ, "LC_ALL": "C"},
                _timeout=wait_s,
                _tty_out=False,
                _no_pipe=True,
                _return_cmd=True,
            )
        except sh.TimeoutException:
            stopped = f"it took longer than {wait_s:.0f} s"
            exit_code = -9
        except sh.ErrorReturnCode as error:
            exit_code = error.exit_code
        if failure:
            raise failure[0]
        if full:
            stopped = "it printed more than was wanted"
        return Ran(exit_code, bytes(stderr), stopped)


def _command(name: str) -> sh.Command:
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)
    if path is None:
        message = (
            f"The command {name} is not on this machine; install the tools of OpenZFS"
            " (zfsutils-linux on Debian), or use the plugin find."
        )
        raise DiscoveryError(message)
    return sh.Command(path)
