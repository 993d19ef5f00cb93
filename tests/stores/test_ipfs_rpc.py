"""Answers of an IPFS node that end early, late, or never."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from n2s_core.errors import Unavailable
from n2s_core.stores.ipfs import IpfsStore
from n2s_core.stores.ipfs_place import parse_place
from n2s_core.stores.ipfs_rpc import RpcClient
from tests.contracts.store import NAME


@contextmanager
def one_answer(head: bytes | None) -> Iterator[int]:
    """A server that says `head` to the first who asks and hangs up; None: it never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                if head is None:
                    ended.wait()
                else:
                    connection.sendall(head)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\r\n",
        b"",
    ],
)
def test_half_an_answer_is_unavailable(head: bytes) -> None:
    with one_answer(head) as port, pytest.raises(Unavailable, match="does not answer"):
        IpfsStore(f"ipfs://127.0.0.1:{port}/x").stat(NAME)


def test_a_silent_node_ends_the_call_at_its_limit() -> None:
    with one_answer(None) as port:
        client = RpcClient(parse_place(f"ipfs://127.0.0.1:{port}/x"))
        with pytest.raises(Unavailable, match="did not finish within"):
            client.call("version", limit_s=0.05)


def test_a_node_that_sends_byte_after_byte_ends_the_call_at_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection, suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
                for _ in range(300):
                    connection.sendall(b"x")
                    if ended.wait(0.01):
                        break

        thread = threading.Thread(target=dribble)
        thread.start()
        client = RpcClient(parse_place(f"ipfs://127.0.0.1:{listener.getsockname()[1]}/x"))
        with pytest.raises(Unavailable, match="did not finish within"):
            client.call("version", limit_s=0.1)
        ended.set()
        thread.join()


def test_a_node_that_takes_no_bytes_ends_the_upload_at_its_limit() -> None:
    with one_answer(None) as port:
        client = RpcClient(parse_place(f"ipfs://127.0.0.1:{port}/x"))
        block = bytes(1 << 20)
        with pytest.raises(Unavailable, match="did not finish within"):
            client.upload("add", [block] * 64, 64 << 20, {}, limit_s=0.2)


def test_who_is_refused_before_everything_was_sent_hears_why() -> None:
    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with one_answer(head) as port:
        client = RpcClient(parse_place(f"ipfs://127.0.0.1:{port}/x"))
        block = bytes(1 << 20)
        try:
            status = client.upload("add", [block] * 64, 64 << 20, {}, limit_s=60).status
        except Unavailable:
            status = 413  # the kernel may drop what was answered when it resets the connection
        assert status == 413
