"""The store on an rclone remote: what its calls become when rclone or the remote refuses."""

import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from n2s_core.errors import Refused, StoreError, Unavailable
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_errors import describe, judge, scrub
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.spec import RcloneAddress
from tests.contracts.store import NAME
from tests.servers.rclone_s3 import KEY, SECRET, s3_remote
from tests.stores.calls import every_call


def test_a_remote_that_is_not_configured_is_refused(address: RcloneAddress) -> None:
    store = RcloneStore("not-configured:x", address)
    for call in every_call(store):
        with pytest.raises(Refused, match="not-configured:x refuses: it is not configured"):
            call()


def test_a_wrong_secret_is_refused_and_never_shown(address: RcloneAddress, s3_port: int) -> None:
    store = RcloneStore(s3_remote(s3_port, "bucket-x", "hunter2\"'"), address)
    for call in every_call(store):
        with pytest.raises(Refused) as caught:
            call()
        assert "hunter2" not in str(caught.value)
        assert KEY not in str(caught.value)
    store.close()


def test_an_unreachable_server_is_unavailable_and_nothing_of_the_remote_is_shown(
    address: RcloneAddress,
) -> None:
    store = RcloneStore(s3_remote(9, "bucket-x"), address)
    with pytest.raises(Unavailable) as caught:
        store.stat(NAME)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    store.close()


class CannotOpen(BaseHTTPRequestHandler):
    """rclone's answers for an object that it finds and cannot open."""

    def do_GET(self) -> None:
        self.answer(404, b"Not Found\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b'{"item": {"Size": 100}}')

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


def test_an_object_that_cannot_be_opened_is_not_called_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with UnixStreamServer(path, CannotOpen) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        store = RcloneStore(":local:/x", RcloneAddress(path, str(tmp_path), "u", "p"))
        with pytest.raises(Unavailable, match="could not open it"):
            store.get(NAME, 5)
        server.shutdown()
        thread.join()


def test_a_silent_rclone_ends_the_call_at_its_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        client = RcClient(RcloneAddress(path, str(tmp_path), "u", "p"))
        with pytest.raises(Unavailable, match="did not finish within"):
            client.call("core/version", {}, limit_s=0.05)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 2", b"", b"\0\0\r\n"]
)
def test_a_half_answer_is_unavailable(tmp_path: Path, head: bytes) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(head)

        thread = threading.Thread(target=answer)
        thread.start()
        store = RcloneStore(":local:/x", RcloneAddress(path, str(tmp_path), "u", "p"))
        with pytest.raises(Unavailable):
            store.get(NAME)
        thread.join()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("operation error S3: PutObject, https response error StatusCode: 403, x", Refused),
        ("SignatureDoesNotMatch: The request\n\tstatus code: 403, request id: ", Refused),
        ("NoSuchBucket: The specified bucket does not exist", Refused),
        ("write /mnt/x: no space left on device", Refused),
        ("googleapi: Error 403: The user's Drive storage quota has been exceeded", Refused),
        ("googleapi: Error 403: User Rate Limit Exceeded, userRateLimitExceeded", Unavailable),
        ("https response error StatusCode: 503, api error SlowDown: Please", Unavailable),
        ("dial tcp 10.0.0.1:22: i/o timeout", Unavailable),
        ("something that nobody has seen before", Unavailable),
    ],
)
def test_rclones_words_tell_who_must_act(text: str, kind: type[StoreError]) -> None:
    assert type(judge(text, "nas:backup")) is kind


def test_messages_show_no_option_no_password_and_no_signature() -> None:
    remote = ':sftp,host=h.example,pass="a,b:c""d",user=\'x\':dir/sub'
    assert describe(remote) == ":sftp,...:dir/sub"
    text = f'cannot reach {remote} with a,b:c"d at https://me:pw@h/p?X-Sig=1&b=2 "x"'
    assert scrub(text, remote) == (
        'cannot reach :sftp,...:dir/sub with *** at https://***@h/p?*** "***"'
    )
