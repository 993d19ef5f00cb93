"""A network that is slow, falls silent, or changes what it carries: a proxy before a server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer

_PIECE = 4096


def _unchanged(data: bytes) -> bytes:
    return data


@dataclass
class Proxy:
    """Carries bytes between `port` and `target`.

    `wait_s`: before each piece of 4 KiB. `silent`: nothing passes while it is set. `change` sees
    what the client sends, `sent` keeps it.
    """

    target: int
    wait_s: float = 0.0
    change: Callable[[bytes], bytes] = _unchanged
    silent: threading.Event = field(default_factory=threading.Event)
    sent: list[bytes] = field(default_factory=list)
    port: int = 0

    def carry(self, here: socket.socket, there: socket.socket, *, upwards: bool) -> None:
        """One direction of one connection, to its end."""
        with suppress(OSError):
            while data := here.recv(_PIECE):
                while self.silent.is_set():
                    time.sleep(0.01)
                time.sleep(self.wait_s)
                if upwards:
                    self.sent.append(data)
                there.sendall(self.change(data) if upwards else data)
        with suppress(OSError):
            there.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(target: int, **settings: float) -> Iterator[Proxy]:
    """Runs until the context ends."""
    made = Proxy(target, **settings)  # type: ignore[arg-type]

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", made.target)) as server:
                other = threading.Thread(
                    target=made.carry, args=(server, self.request), kwargs={"upwards": False}
                )
                other.start()
                made.carry(self.request, server, upwards=True)
                other.join()

    class Listener(ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A server that is gone refuses connections; the client sees the end of its own."""

    with Listener(("127.0.0.1", 0), Handler) as listener:
        made.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.silent.clear()
            listener.shutdown()
            thread.join()
