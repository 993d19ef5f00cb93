"""HTTP connections that are kept: one for each thread of each process."""

import http.client
import json
import math
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

READ_BYTES = 256 << 10


class _Kept:
    """A connection and the process that opened it; hangs up when its thread ends."""

    __slots__ = ("connection", "owner_pid")

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.owner_pid = os.getpid()

    def __del__(self) -> None:
        self.connection.close()

    def is_stale(self) -> bool:
        """Whether the other side hung up, or another process shares the socket (we forked)."""
        if self.owner_pid != os.getpid():
            return True
        if self.connection.sock is None:
            return False
        poll = select.poll()
        poll.register(self.connection.sock, select.POLLIN)
        return bool(poll.poll(0))


class Connections:
    """Safe for threads and for processes that fork; `new()` makes a connection, not yet open.

    `new` must not refer to who owns this: the connections are hung up when the owner is dropped.
    """

    def __init__(self, new: Callable[[], http.client.HTTPConnection]) -> None:
        self._new = new
        self._threads = threading.local()

    def ready(self, limit_s: float) -> http.client.HTTPConnection:
        """The connection of this thread; each operation of its socket ends within the limit."""
        kept: _Kept | None = getattr(self._threads, "kept", None)
        if kept is not None and kept.is_stale():
            self.close()
            kept = None
        if kept is None:
            kept = self._threads.kept = _Kept(self._new())
        kept.connection.timeout = limit_s
        if kept.connection.sock is not None:
            kept.connection.sock.settimeout(limit_s)
        return kept.connection

    def close(self) -> None:
        """Close the connection of this thread; those of others close with their threads."""
        kept: _Kept | None = getattr(self._threads, "kept", None)
        if kept is not None:
            kept.connection.close()
            del self._threads.kept


def allow(
    connection: http.client.HTTPConnection, deadline: float, *, silence_s: float = math.inf
) -> None:
    """Let the next operation of the socket take what is left of the time. Raises TimeoutError."""
    left = min(deadline - time.monotonic(), silence_s)
    if left <= 0:
        raise TimeoutError
    if connection.sock is not None:
        connection.sock.settimeout(left)


def read_body(
    response: http.client.HTTPResponse,
    connection: http.client.HTTPConnection,
    deadline: float,
    *,
    silence_s: float = math.inf,
) -> bytes:
    """All of the body; raises IncompleteRead for a shorter one than announced, and TimeoutError.

    No part of it is waited for longer than `silence_s`.
    """
    expected = response.length
    parts: list[bytes] = []
    while True:
        allow(connection, deadline, silence_s=silence_s)
        part = response.read1(READ_BYTES)
        if not part:
            break
        parts.append(part)
    data = b"".join(parts)
    if expected is not None and len(data) != expected:
        raise http.client.IncompleteRead(data, expected - len(data))
    return data


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object that the bytes are; None when they are none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
