"""How a push asks the recorder: a socket beside the journal, one JSON line each way.

The folder belongs to the user alone. The socket is named through a descriptor of the folder,
because the address of a socket may be no longer than 107 bytes and paths may.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from n2s_core.errors import DiscoveryError
from n2s_plugins.watch.journal import Point

_NAME = "socket"
_REQUEST_S = 5.0
_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What the recorder says: where the journal is now, and why not to use it, or None.

    `now` is None when nothing is recorded; `entries` is how many paths the tree had.
    """

    now: Point | None
    why: str | None
    entries: int = 0


class Desk:
    """Where the recorder is asked. Whoever opens it closes it."""

    def __init__(self, folder: bytes) -> None:
        """Raises OSError."""
        with _address(folder) as address:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.bind(address)
        self.socket.listen()
        self.fd = self.socket.fileno()
        self._folder = folder

    def close(self) -> None:
        """Nobody can ask any more."""
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, os.fsencode(_NAME)))

    def receive(self) -> "list[Question]":
        """The question of whoever called; none when they hung up."""
        connection, _ = self.socket.accept()
        connection.settimeout(_REQUEST_S)
        try:
            since = _point(_line(connection))
        except (OSError, ValueError, TypeError, KeyError):
            connection.close()
            return []
        return [Question(connection, since)]


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody waits to hear what changed since a point."""

    connection: socket.socket
    since: Point | None

    def answer(self, answer: Answer) -> None:
        """Say it; whoever does not wait any more misses nothing."""
        now = None if answer.now is None else [answer.now.session, answer.now.position]
        said = {"now": now, "why": answer.why, "entries": answer.entries}
        with self.connection, contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(said).encode() + b"\n")


def ask(folder: bytes, since: Point | None) -> Answer | None:
    """What the recorder says once it has read all events up to now; None when none is running.

    Raises DiscoveryError when it ends before it answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _address(folder) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            message = f"The recorder of changes cannot be asked: {error.strerror or error}."
            raise DiscoveryError(message) from error
        wanted = None if since is None else [since.session, since.position]
        try:
            connection.sendall(json.dumps({"now": wanted}).encode() + b"\n")
            said = _line(connection)
            return Answer(_point(said), said["why"], int(said["entries"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = "The recorder of changes ended before it answered."
            raise DiscoveryError(message) from error


@contextlib.contextmanager
def _address(folder: bytes) -> Iterator[str]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{_NAME}"
    finally:
        os.close(fd)


def _line(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        found = json.loads(lines.readline(_LINE_BYTES))
    if not isinstance(found, dict):
        message = "not an object"
        raise TypeError(message)
    return found


def _point(said: dict[str, Any]) -> Point | None:
    if said["now"] is None:
        return None
    session, position = said["now"]
    return Point(str(session), int(position))
