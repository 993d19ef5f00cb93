"""An rclone without safe unix sockets listens on a port, where other users can knock."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from n2s_core.errors import Unavailable, UsageError
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_certificate import write_certificate
from n2s_core.stores.rclone_process import RcloneProcess
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import RcloneAddress
from tests.contracts.store import CONTENT, NAME
from tests.servers import rclones
from tests.servers.running import await_that
from tests.stores.conftest import Servers

NOBODY = 65534


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[RcloneProcess]:
    monkeypatch.setenv("N2S_RCLONE", rclones.old())
    process = RcloneProcess()
    with process:
        yield process


KNOCKS = """
import base64, http.client, os, ssl, sys
port, folder = int(sys.argv[1]), sys.argv[2]
trust = ssl._create_unverified_context()
found = []
for verb, path in [("POST", "/core/version"), ("POST", "/rc/noop"), ("POST", "/core/quit"),
                   ("POST", "/operations/list"), ("GET", "/[:local:/]/etc/hostname"), ("GET", "/")]:
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"n2s:guess").decode()}):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trust)
        connection.request(verb, path, b"{}", headers)
        found.append(connection.getresponse().status)
        connection.close()
try:
    found += os.listdir(folder)
except PermissionError:
    found.append("closed")
print(*sorted(set(map(str, found))))
"""


def test_another_user_is_told_nothing(old: RcloneProcess, as_root: None) -> None:
    address = old.address
    folder = Path(address.socket).parent
    command = [sys.executable, "-c", KNOCKS, str(address.port), str(folder)]
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["401", "closed"], done.stderr


def test_it_listens_for_this_machine_alone_and_no_argument_shows_the_password(
    old: RcloneProcess,
) -> None:
    address = old.address
    assert address.port > 0
    assert address.password.encode() not in Path(f"/proc/{old.pid}/cmdline").read_bytes()
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert f"0100007F:{address.port:04X}" in listening
    assert f"00000000:{address.port:04X}" not in listening


def test_whoever_takes_the_port_of_an_rclone_that_died_learns_nothing(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    certificate = write_certificate(str(tmp_path / "own"))
    write_certificate(str(tmp_path / "other"))
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(tmp_path / "other/cert.pem", tmp_path / "other/key.pem")
    heard: list[bytes] = []

    def impostor(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                with trust.wrap_socket(connection, server_side=True) as secure:
                    heard.append(secure.recv(1 << 16))
            except (ssl.SSLError, ConnectionError):
                heard.append(b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=impostor, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        address = RcloneAddress("", str(tmp_path), "n2s", "the password", port, certificate)
        with pytest.raises(Unavailable):
            RcClient(address).call("core/version", {}, limit_s=9)
        thread.join()
    assert heard == [b""]


def test_a_wrong_password_is_not_let_in(old: RcloneProcess) -> None:
    wrong = replace(old.address, password="wrong")
    assert RcClient(wrong).call("core/version", {}, limit_s=9).status == 401
    assert RcClient(old.address).call("core/version", {}, limit_s=9).status == 200


def test_a_killed_one_is_started_again_at_the_same_port(old: RcloneProcess, tmp_path: Path) -> None:
    store = RcloneStore(f":local:{tmp_path}", old.address)
    store.put(NAME, [CONTENT], len(CONTENT))
    first = old.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await_that(lambda: old.pid != first, "rclone is started again")
    patient = RetryingStore(store, attempts=400, base_s=0.01, sleep=lambda _: time.sleep(0.01))
    assert patient.get(NAME) == CONTENT


def test_a_bundle_of_authorities_in_the_environment_does_no_harm(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", str(servers.configuration))
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent.pem")
    monkeypatch.setenv("N2S_RCLONE", rclones.old())
    with RcloneProcess() as address:
        store = RcloneStore(f"s3:old-rclone/{os.urandom(8).hex()}", address)
        store.put(NAME, [CONTENT], len(CONTENT))
        assert store.get(NAME) == CONTENT


@pytest.mark.parametrize(
    "remote", [':s3,endpoint="http://127.0.0.1:1":b', ":local:/a/../b", ":local:/a//b"]
)
def test_a_remote_that_an_old_one_could_not_read_from_is_refused(
    old: RcloneProcess, remote: str
) -> None:
    with pytest.raises(UsageError, match="too old to read"):
        RcloneStore(remote, old.address)


def test_a_redirect_is_not_taken_for_the_content(old: RcloneProcess, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(CONTENT)
    answer = RcClient(old.address).read(f":local:{tmp_path}//", "a/x", None, limit_s=9)
    assert 300 <= answer.status < 400
    assert answer.body != CONTENT
