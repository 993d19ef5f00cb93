"""What becomes of an object when rclone, the server, the disk or the network fails."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.ports import Store
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_process import NO_OPTIONS, RcloneProcess
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import TIMEOUT_S, RcloneOptions
from tests.conftest import Mount
from tests.contracts.store import CONTENT, FOLDER, NAME, name_of
from tests.servers import rclones
from tests.servers.proxy import proxy
from tests.servers.running import Server, await_that
from tests.stores.conftest import Servers, s3_settings

LARGE = hashlib.shake_256(b"an object that takes a while").digest(6 << 20)
LARGE_NAME = name_of(LARGE)
SLOWLY = RcloneOptions(bwlimit="2M")
AT_ONCE = RcloneOptions(flags=(("timeout", "1s"), ("contimeout", "1s"), ("low-level-retries", "1")))
CASES = [
    (age, kind) for age in ("newest", "old") for kind in ("disk", "crypt", "s3", "sftp", "dav")
]
cases = pytest.mark.parametrize(("age", "kind"), CASES)


@pytest.fixture(autouse=True)
def _configuration(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", str(servers.configuration))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(age: str) -> None:
        monkeypatch.setenv("N2S_RCLONE", rclones.newest() if age == "newest" else rclones.old())

    return use


@contextmanager
def opened(
    remote: str, options: RcloneOptions = NO_OPTIONS, *, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[Store, RcloneProcess]]:
    process = RcloneProcess(options, timeout_s=timeout_s)
    with process as address:
        store = RcloneStore(
            remote, address, storage_class=options.storage_class, timeout_s=timeout_s
        )
        yield store, process
        store.close()


def place(servers: Servers, kind: str, tmp_path: Path) -> str:
    folders = {"disk": f"{tmp_path}/", "sftp": f"{servers.sftp.files}/", "s3": "faults/"}
    return f"{kind}:{folders.get(kind, '')}{os.urandom(8).hex()}"


def put(store: Store, name: str = NAME, content: bytes = CONTENT) -> None:
    store.put(name, [content], len(content))


def patient(store: Store) -> Store:
    """As commands have it, with less of a wait."""
    return RetryingStore(store, attempts=400, base_s=0.01, sleep=lambda _: time.sleep(0.05))


Define = Callable[[str, Mapping[str, str]], None]


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Define:
    """Another remote, for the processes that are started from now on."""

    def define(name: str, settings: Mapping[str, str]) -> None:
        for key, value in settings.items():
            monkeypatch.setenv(f"RCLONE_CONFIG_{name}_{key}".upper(), value)

    return define


class PutUnderWay:
    """A put in a thread, which is somewhere in its middle when the context is entered."""

    def __init__(self, store: Store, process: RcloneProcess) -> None:
        self.error: BaseException | None = None
        self._store = store
        self._thread = threading.Thread(target=self._put)
        self._client = RcClient(process.address)

    def _put(self) -> None:
        try:
            put(self._store, LARGE_NAME, LARGE)
        except StoreError as error:
            self.error = error

    def _is_under_way(self) -> bool:
        stats = self._client.call("core/stats", {}, limit_s=9).json()
        moved: int = stats.get("bytes", 0)
        return moved > len(LARGE) // 4

    def __enter__(self) -> "PutUnderWay":
        self._thread.start()
        await_that(self._is_under_way, "an object is half stored")
        self._client.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def assert_whole_or_absent(store: Store, name: str, content: bytes) -> None:
    try:
        assert store.get(name) == content
    except Missing:
        assert list(store.list(name.rpartition("/")[0])) == []
    else:
        assert store.stat(name).size == len(content)


@cases
def test_an_rclone_killed_in_the_middle_of_a_put_leaves_no_part_of_an_object(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str, kind: str
) -> None:
    use(age)
    remote = place(servers, kind, tmp_path)
    with opened(remote, SLOWLY) as (slow, process), opened(remote) as (store, _):
        put(slow)  # the folder and the bucket are there
        with PutUnderWay(slow, process) as under_way:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        assert isinstance(under_way.error, Unavailable)
        assert_whole_or_absent(store, LARGE_NAME, LARGE)
        put(store, LARGE_NAME, LARGE)
        assert store.get(LARGE_NAME) == LARGE


@pytest.mark.parametrize(
    ("age", "kind"), [("newest", "sftp"), ("newest", "dav"), ("old", "disk"), ("old", "sftp")]
)
def test_an_rclone_that_is_told_to_end_leaves_no_part_of_an_object(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str, kind: str
) -> None:
    use(age)
    remote = place(servers, kind, tmp_path)
    with opened(remote, SLOWLY) as (slow, process), opened(remote) as (store, _):
        put(slow)
        with PutUnderWay(slow, process) as under_way:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
        assert isinstance(under_way.error, Unavailable)
        assert_whole_or_absent(store, LARGE_NAME, LARGE)


def server_of(servers: Servers, kind: str) -> Server:
    found = {"s3": servers.s3.server, "sftp": servers.sftp.server, "dav": servers.dav.server}
    return found[kind]


remote_cases = pytest.mark.parametrize(
    ("age", "kind"), [case for case in CASES if case[1] in {"s3", "sftp", "dav"}]
)


@remote_cases
def test_a_server_killed_in_the_middle_of_a_put_leaves_no_part_of_an_object(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str, kind: str
) -> None:
    use(age)
    remote = place(servers, kind, tmp_path)
    server = server_of(servers, kind)
    with opened(remote, SLOWLY) as (slow, process), opened(remote, AT_ONCE) as (store, _):
        put(store)
        with PutUnderWay(slow, process), server.gone(), pytest.raises(Unavailable):
            store.stat(NAME)
        assert_whole_or_absent(patient(store), LARGE_NAME, LARGE)
        put(patient(store), LARGE_NAME, LARGE)
        assert (store.get(LARGE_NAME), store.get(NAME)) == (LARGE, CONTENT)


@pytest.mark.parametrize(  # ten seconds each, most of them waiting
    ("age", "kind"), [("newest", "s3"), ("newest", "sftp"), ("newest", "dav"), ("old", "sftp")]
)
def test_a_server_that_is_gone_is_unavailable_and_serves_again_when_it_is_back(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str, kind: str
) -> None:
    use(age)
    server = server_of(servers, kind)
    with opened(place(servers, kind, tmp_path), AT_ONCE) as (store, _):
        put(store)
        calls: list[Callable[[], object]] = [
            lambda: put(store, LARGE_NAME, LARGE),
            lambda: store.get(NAME),
            lambda: store.stat(NAME),
            lambda: list(store.list(FOLDER)),
            lambda: store.delete(NAME),
        ]
        with server.gone():
            for call in calls:
                with pytest.raises(Unavailable):
                    call()
        assert patient(store).get(NAME) == CONTENT
        put(patient(store), LARGE_NAME, LARGE)
        assert store.get(LARGE_NAME) == LARGE


@pytest.mark.parametrize("age", ["newest", "old"])
def test_replacing_a_whole_object_where_a_name_cannot_be_taken_over_removes_nothing(
    servers: Servers,
    tmp_path: Path,
    use: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    age: str,
) -> None:
    """The sftp of an old rclone renames onto nothing only."""
    use(age)
    with opened(place(servers, "sftp", tmp_path)) as (store, _):
        put(store)
        monkeypatch.setattr(store, "delete", lambda _: pytest.fail("It was removed."))
        put(store)
        assert store.get(NAME) == CONTENT
        folder = store.url.removeprefix("rclone:sftp:")
        assert [path.name for path in (Path(folder) / FOLDER).iterdir()] == [NAME[-64:]]


@pytest.mark.parametrize("age", ["newest", "old"])
def test_a_bad_password_or_key_is_refused(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], define: Define, age: str
) -> None:
    use(age)
    other = tmp_path / "other"
    other.write_bytes((servers.sftp.folder / "host").read_bytes())
    other.chmod(0o600)
    define("wrongkey", servers.sftp.settings | {"key_file": str(other)})
    define("wrongpass", servers.dav.settings | {"pass": rclones.obscured("wrong")})
    for remote in ("stranger:faults/x", "wrongkey:x", "wrongpass:x"):
        with opened(remote, AT_ONCE) as (store, _):
            for call in (lambda: put(store), lambda: store.get(NAME), lambda: store.stat(NAME)):
                with pytest.raises(Refused, match="credentials"):
                    call()


@pytest.mark.parametrize("age", ["newest", "old"])
def test_an_sftp_server_with_another_key_is_not_spoken_to(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str
) -> None:
    use(age)
    hosts = tmp_path / "hosts"
    key = " ".join((servers.sftp.folder / "client.pub").read_text().split()[:2])
    hosts.write_text(f"[127.0.0.1]:{servers.sftp.port} {key}\n")
    remote = rclones.quoted(servers.sftp.settings | {"known_hosts_file": str(hosts)}, "/x")
    with opened(remote, AT_ONCE) as (store, _), pytest.raises(Refused, match="key of the server"):
        put(store)


@pytest.mark.parametrize("age", ["newest", "old"])
def test_an_identity_that_may_only_read_reads_and_is_refused_to_write(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], age: str
) -> None:
    use(age)
    remote = place(servers, "s3", tmp_path)
    with opened(remote) as (writer, _), opened(remote.replace("s3:", "reader:")) as (store, _):
        put(writer)
        assert store.get(NAME) == CONTENT
        with pytest.raises(Refused, match="access is denied"):
            put(store, LARGE_NAME, LARGE)
        with pytest.raises(Refused, match="access is denied"):
            store.delete(NAME)
        assert store.get(NAME) == CONTENT


@pytest.mark.parametrize("age", ["newest", "old"])
def test_a_bucket_that_is_not_there_and_cannot_be_made_is_refused(
    use: Callable[[str], None], age: str
) -> None:
    use(age)
    with opened(f"reader:no-such-bucket-{os.urandom(4).hex()}/x") as (store, _):
        with pytest.raises(Refused):
            put(store)
        with pytest.raises(Missing):
            store.get(NAME)


@pytest.mark.parametrize("age", ["newest", "old"])
@pytest.mark.parametrize("kind", ["disk", "crypt"])
def test_a_full_disk_is_refused_and_takes_objects_when_there_is_room_again(
    tmpfs: Mount, use: Callable[[str], None], age: str, kind: str
) -> None:
    use(age)
    folder = tmpfs("size=4m")
    remote = f"disk:{folder}"
    if kind == "crypt":
        settings = {"type": "crypt", "remote": str(folder), "password": rclones.obscured("x")}
        remote = rclones.quoted(settings, "")
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * (3 << 20))
    small, other = LARGE[: 2 << 20], LARGE[: 1 << 10]
    with opened(remote) as (store, _):
        put(store, name_of(other), other)
        with pytest.raises(Refused, match="it is full"):
            put(store, name_of(small), small)
        with pytest.raises(Missing):
            store.stat(name_of(small))
        ballast.unlink()
        put(store, name_of(small), small)
        assert store.get(name_of(small)) == small
        assert store.get(name_of(other)) == other


def test_a_full_disk_behind_a_server_takes_nothing(
    tmpfs: Mount, servers: Servers, use: Callable[[str], None]
) -> None:
    use("newest")
    folder = tmpfs("size=1m")
    with opened(f"sftp:{folder}") as (store, _):
        with pytest.raises(StoreError):
            put(store, LARGE_NAME, LARGE)
        with pytest.raises(Missing):
            store.stat(LARGE_NAME)


@pytest.mark.parametrize("age", ["newest", "old"])
def test_a_slow_network_takes_longer_and_nothing_else(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], define: Define, age: str
) -> None:
    use(age)
    content = LARGE[: 100 << 10]
    with proxy(servers.s3.port, wait_s=0.005) as slow:
        define("far", s3_settings(servers.s3) | {"endpoint": f"http://127.0.0.1:{slow.port}"})
        remote = place(servers, "s3", tmp_path).replace("s3:", "far:")
        with opened(remote) as (store, _):
            put(store, name_of(content), content)
            assert store.get(name_of(content)) == content
        assert slow.sent


@pytest.mark.parametrize("age", ["newest", "old"])
def test_a_network_that_falls_silent_is_unavailable_after_the_time_limit(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], define: Define, age: str
) -> None:
    use(age)
    with proxy(servers.s3.port) as network:
        define("far", s3_settings(servers.s3) | {"endpoint": f"http://127.0.0.1:{network.port}"})
        remote = place(servers, "s3", tmp_path).replace("s3:", "far:")
        with opened(remote, AT_ONCE) as (store, _):
            put(store)
            network.silent.set()
            for call in (lambda: put(store), lambda: store.get(NAME), lambda: store.stat(NAME)):
                with pytest.raises(Unavailable):
                    call()
            network.silent.clear()
            assert patient(store).get(NAME) == CONTENT


@pytest.mark.parametrize("age", ["newest", "old"])
def test_nobody_waits_longer_than_the_timeout_for_a_server_that_says_nothing(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], define: Define, age: str
) -> None:
    use(age)
    with proxy(servers.s3.port) as network:
        define("far", s3_settings(servers.s3) | {"endpoint": f"http://127.0.0.1:{network.port}"})
        remote = place(servers, "s3", tmp_path).replace("s3:", "far:")
        with opened(remote, timeout_s=2) as (store, _):
            put(store)
            network.silent.set()
            for call in (lambda: store.get(NAME), lambda: store.stat(NAME)):
                with pytest.raises(Unavailable, match="within 2 seconds"):
                    call()
            network.silent.clear()
            assert patient(store).get(NAME) == CONTENT


@pytest.mark.parametrize("age", ["newest", "old"])
def test_a_bit_that_flips_on_the_way_to_a_bucket_becomes_no_object(
    servers: Servers, tmp_path: Path, use: Callable[[str], None], define: Define, age: str
) -> None:
    use(age)
    mark = b"the bytes that the network will change"
    content = mark * 100
    remote = place(servers, "s3", tmp_path)
    with proxy(servers.s3.port) as network:
        network.change = lambda data: data.replace(mark, mark.upper())
        define("far", s3_settings(servers.s3) | {"endpoint": f"http://127.0.0.1:{network.port}"})
        with (
            opened(remote.replace("s3:", "far:"), AT_ONCE) as (store, _),
            pytest.raises(StoreError),
        ):
            put(store, name_of(content), content)
    with opened(remote) as (store, _), pytest.raises(Missing):
        store.stat(name_of(content))


@pytest.mark.parametrize("age", ["newest", "old"])
def test_an_object_that_the_store_loses_at_once_is_not_confirmed(
    servers: Servers,
    tmp_path: Path,
    use: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    age: str,
) -> None:
    use(age)
    remote = place(servers, "s3", tmp_path)
    bucket, _, folder = remote.removeprefix("s3:").partition("/")
    client = servers.s3.client()

    def lose(point: str) -> None:
        if point == "store-put-renamed":
            client.delete_object(Bucket=bucket, Key=f"{folder}/{NAME}")

    monkeypatch.setattr("n2s_core.stores.rclone.crash_point", lose)
    with opened(remote) as (store, _), pytest.raises(Unavailable, match="did not keep"):
        put(store)
