"""The store in a folder, and how a URL becomes a store."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from n2s_core.errors import Missing, Refused, Unavailable, UsageError
from n2s_core.ports import Store
from n2s_core.stores import StoreSpec, create_store, open_store
from n2s_core.stores.file import FileStore
from tests.contracts.store import CONTENT, FOLDER, NAME, Plant, StoreContract
from tests.fakes import MemoryStore


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


@pytest.fixture
def files(base: Path) -> FileStore:
    store = FileStore(base, url=f"file:{base}")
    store.create()
    return store


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, files: FileStore) -> Store:
        return files

    @pytest.fixture
    def plant(self, base: Path) -> Plant:
        return lambda path, content: void((base / path).write_bytes(content))


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def plant(self, store: MemoryStore) -> Plant:
        return store.objects.__setitem__


def void(_: object) -> None:
    """Drop a value."""


def put(store: Store) -> None:
    store.put(NAME, [CONTENT], len(CONTENT))


def leftovers(base: Path) -> list[Path]:
    return list(base.rglob(".tmp-*"))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_can_read_the_store_whatever_the_umask(base: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = FileStore(base, url="file:")
        store.create()
        put(store)
    finally:
        os.umask(before)
    paths = [base, *base.rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_creating_twice_keeps_what_is_there(files: FileStore) -> None:
    put(files)
    files.create()
    assert files.get(NAME) == CONTENT


@pytest.mark.parametrize("mount_point_stays", [True, False])
def test_an_unmounted_store_is_unavailable_and_not_made_anew(
    base: Path, files: FileStore, *, mount_point_stays: bool
) -> None:
    put(files)
    base.rename(base.parent / "elsewhere")
    if mount_point_stays:
        base.mkdir()
    for call in (
        lambda: put(files),
        lambda: files.get(NAME),
        lambda: files.stat(NAME),
        lambda: list(files.list(FOLDER)),
        lambda: files.delete(NAME),
    ):
        with pytest.raises(Unavailable, match="is it mounted"):
            call()
    assert list(base.parent.rglob("*/*/*")) == list((base.parent / "elsewhere").rglob("*/*"))
    if mount_point_stays:
        base.rmdir()
    (base.parent / "elsewhere").rename(base)
    assert files.get(NAME) == CONTENT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "n2s-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        pytest.fail(f"This test needs to mount a small tmpfs and may not: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=20)


def test_a_full_disk_is_refused_names_the_folder_and_leaves_nothing(small_disk: Path) -> None:
    store = FileStore(small_disk / "store", url="file:")
    store.create()
    with pytest.raises(Refused, match=f"The store {small_disk}/store is full: free space"):
        store.put(NAME, [CONTENT] * 200, 200 * len(CONTENT))
    assert leftovers(small_disk) == []
    put(store)
    assert store.get(NAME) == CONTENT


def use_up_inodes(folder: Path) -> None:
    for number in range(100):
        (folder / str(number)).touch()


def test_a_disk_without_inodes_is_refused(small_disk: Path) -> None:
    store = FileStore(small_disk, url="file:")
    store.create()
    with pytest.raises(OSError, match="No space"):
        use_up_inodes(small_disk)
    with pytest.raises(Refused, match="is full"):
        put(store)


def test_a_read_only_disk_is_refused(small_disk: Path) -> None:
    store = FileStore(small_disk, url="file:")
    store.create()
    put(store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=20)
    calls: list[Callable[[], object]] = [lambda: put(store), lambda: store.delete(NAME)]
    for call in calls:
        with pytest.raises(Refused, match="read-only"):
            call()
    assert store.get(NAME) == CONTENT


def test_a_file_in_place_of_a_folder_is_refused(base: Path, files: FileStore) -> None:
    (base / FOLDER).write_bytes(b"")
    for call in (lambda: put(files), lambda: files.get(NAME), lambda: list(files.list(FOLDER))):
        with pytest.raises(Refused, match="a file where a folder should be"):
            call()


def test_a_folder_in_place_of_an_object_is_refused_and_not_listed(
    base: Path, files: FileStore
) -> None:
    (base / NAME).mkdir(parents=True)
    for call in (lambda: put(files), lambda: files.get(NAME), lambda: files.stat(NAME)):
        with pytest.raises(Refused):
            call()
    assert list(files.list(FOLDER)) == []
    assert leftovers(base) == []


def test_a_store_that_this_user_may_not_enter_is_refused(base: Path, files: FileStore) -> None:
    put(files)
    base.parent.parent.chmod(0o711)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            try:
                files.get(NAME)
            except Refused as error:
                status = 0 if "does not let this user in" in str(error) else 2
            except Unavailable:
                status = 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_range_with_a_negative_offset_is_refused(files: FileStore) -> None:
    put(files)
    with pytest.raises(Refused):
        files.get(NAME, -5, 3)


CRASHING = """
import pathlib, sys
from n2s_core.stores.file import FileStore
from tests.contracts.store import CONTENT, NAME
FileStore(pathlib.Path(sys.argv[1]), url="file:").put(NAME, [CONTENT], len(CONTENT))
"""


def crash(base: Path, point: str) -> int:
    environment = {**os.environ, "N2S_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CRASHING, str(base)]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


def test_a_writer_killed_before_the_rename_leaves_no_object(base: Path, files: FileStore) -> None:
    assert crash(base, "store-put-written") == -signal.SIGKILL
    assert len(leftovers(base)) == 1
    assert list(files.list(FOLDER)) == []
    with pytest.raises(Missing):
        files.get(NAME)


def test_a_writer_killed_after_the_rename_leaves_a_whole_object(
    base: Path, files: FileStore
) -> None:
    assert crash(base, "store-put-renamed:1") == -signal.SIGKILL
    assert leftovers(base) == []
    assert files.get(NAME) == CONTENT


def test_a_crash_point_waits_for_its_passing(base: Path, files: FileStore) -> None:
    assert crash(base, "store-put-renamed:2") == 0
    assert files.get(NAME) == CONTENT


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "FILE:{}"])
def test_a_folder_has_many_urls_and_one_store(tmp_path: Path, form: str) -> None:
    spec = StoreSpec(form.format(tmp_path / "a:b"))
    create_store(spec)
    store = open_store(spec)
    put(store)
    assert store.url == f"file:{tmp_path}/a:b"
    assert (tmp_path / "a:b" / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://host/x", "ftp: is no kind of store; there are a folder"),
        ("nas:backup", "rclone:REMOTE:PATH"),
        ("file://host/x", "has no host"),
        ("file:", "names nothing"),
        ("", "names nothing"),
        ("rclone:nas", "write rclone:REMOTE:PATH"),
        ("rclone::local:/a]b", "alias"),
    ],
)
def test_a_url_that_is_no_store_is_explained(url: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_store(StoreSpec(url))


def test_a_store_in_a_folder_loads_no_http_client_and_no_subprocess(tmp_path: Path) -> None:
    code = (
        "import sys; from n2s_core.stores import *; from n2s_core import stores;"
        f"stores.open_store(stores.StoreSpec({str(tmp_path)!r}));"
        "print([m for m in ('http.client', 'subprocess', 'tempfile') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"[]"
