"""A tree that changes while it is read, or cannot be read: nothing wrong, nothing forgotten."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from n2s_core.flows import seal
from n2s_core.model import Change
from n2s_core.reading import read_whole
from n2s_core.walking import walk
from tests.conftest import Dataset, environment, missing
from tests.trees import describe, differences

Act = Callable[[], object]
Meddle = Callable[..., None]


@pytest.fixture
def while_reading(monkeypatch: pytest.MonkeyPatch) -> Meddle:
    """`while_reading(act, times)`: after each of the first reads of a file, act."""

    def meddle(act: Act, times: int = 1) -> None:
        calls = iter(range(times))

        def read_and_meddle(fd: int, size: int) -> bytes:
            data = read_whole(fd, size)
            if next(calls, None) is not None:
                act()
            return data

        monkeypatch.setattr(seal, "read_whole", read_and_meddle)

    return meddle


@pytest.fixture
def after_looking(monkeypatch: pytest.MonkeyPatch) -> Meddle:
    """`after_looking(act)`: act when the whole tree was looked at and nothing was read yet."""

    def meddle(act: Act) -> None:
        def walk_and_meddle(*args: Any, **more: Any) -> Iterator[Change]:
            yield from walk(*args, **more)
            act()

        monkeypatch.setattr("n2s_core.app.pushing.Walk", walk_and_meddle)

    return meddle


def test_a_file_that_changes_while_it_is_read_is_read_again(
    dataset: Dataset, while_reading: Meddle
) -> None:
    path = dataset.root / "file"
    path.write_bytes(b"before")
    while_reading(lambda: path.write_bytes(b"afterwards"))
    assert dataset.push().failures == []
    dataset.assert_restores()
    assert dataset.push().changeset_id is None


def test_a_file_that_never_stands_still_is_named_and_stored_next_time(
    dataset: Dataset, while_reading: Meddle
) -> None:
    path = dataset.root / "log"
    path.write_bytes(b"line\n")
    (dataset.root / "other").write_bytes(b"quiet")

    def append() -> None:
        with path.open("ab") as file:
            file.write(b"line\n")

    while_reading(append, times=100)
    outcome = dataset.push()
    assert [one.path for one in outcome.failures] == [b"log"]
    assert outcome.failed == 1
    restored = dataset.pull()
    assert set((restored / "log").read_bytes().split(b"\n")) == {b"line", b""}
    assert (restored / "other").read_bytes() == b"quiet"
    while_reading(lambda: None)
    outcome = dataset.push()
    assert outcome.failures == []
    dataset.assert_restores()
    with dataset.space() as space:
        assert space.catalogue.queries.failures(space.dataset.dataset_no) == []


def test_an_edit_within_the_grain_of_the_clock_is_seen_next_time(dataset: Dataset) -> None:
    """Same size, same time of modification, right behind the reading."""
    path = dataset.root / "file"
    for number in range(6):
        path.write_bytes(b"%08d" % number)
        dataset.push()
        about = path.stat()
        path.write_bytes(b"%08d" % (number + 1000))
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        dataset.push()
        assert (dataset.pull() / "file").read_bytes() == b"%08d" % (number + 1000)


def replace(path: Path, what: str) -> None:
    path.unlink()
    if what == "symlink":
        path.symlink_to("/etc/passwd")
    elif what == "dangling symlink":
        path.symlink_to("nowhere")
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()


@pytest.mark.parametrize("what", ["symlink", "dangling symlink", "fifo", "directory", "nothing"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_what_takes_the_place_of_a_file_is_never_read_as_the_file(
    dataset: Dataset, after_looking: Meddle, what: str, known: bool
) -> None:
    path = dataset.root / "file"
    path.write_bytes(b"a file")
    if known:
        dataset.push()
        path.write_bytes(b"a file that was changed")
    after_looking(lambda: replace(path, what))
    outcome = dataset.push()
    if what == "nothing":
        assert outcome.failures == []
    else:
        assert [one.path for one in outcome.failures] == [b"file"]
        assert "replaced" in outcome.failures[0].error
    restored = dataset.pull() / "file"
    assert not restored.is_symlink()
    if restored.exists():
        assert known
        assert restored.read_bytes() == b"a file"
        assert what != "nothing"
    after_looking(lambda: None)
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_directory_that_vanishes_during_the_push_is_no_failure(
    dataset: Dataset, after_looking: Meddle
) -> None:
    for folder in ("a", "b"):
        (dataset.root / folder / "c").mkdir(parents=True)
        (dataset.root / folder / "c" / "file").write_bytes(b"1")
    dataset.push()
    for folder in ("a", "b"):
        (dataset.root / folder / "c" / "file").write_bytes(b"22")
    after_looking(lambda: shutil.rmtree(dataset.root / "a"))
    assert dataset.push().failures == []
    after_looking(lambda: None)
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_directory_that_becomes_a_symlink_is_not_followed(
    dataset: Dataset, after_looking: Meddle
) -> None:
    outside = dataset.base / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (dataset.root / "directory").mkdir()
    (dataset.root / "directory" / "file").write_bytes(b"own")

    def redirect() -> None:
        shutil.rmtree(dataset.root / "directory")
        (dataset.root / "directory").symlink_to(outside)

    after_looking(redirect)
    dataset.push()
    assert b"directory/file" not in describe(dataset.pull())
    after_looking(lambda: None)
    dataset.push()
    dataset.assert_restores()


# -- what may not be read ----------------------------------------------------------------------

MORTAL = "-dac_override,-dac_read_search"
PROGRAM = """
import sys, json
from pathlib import Path
from n2s_core.app.pushing import PushOrder, push
from n2s_core.app.workspace import Workspace
from n2s_core.errors import N2sError
paths = [one.encode() for one in sys.argv[2:]] or None
try:
    with Workspace.find(Path(sys.argv[1])) as space:
        done = push(space, PushOrder(paths=paths), lambda _: None)[0]
except N2sError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
print(json.dumps({"failed": done.failed, "paths": [one.path.decode() for one in done.failures],
                  "removed": done.removed, "complete": done.complete}))
"""


def push_as_user(dataset: Dataset, *paths: str, mortal: str = MORTAL) -> dict[str, Any]:
    """As somebody whom permissions stop: an ordinary user, or root without its privilege."""
    import json  # noqa: PLC0415 - only here

    command = [sys.executable, "-c", PROGRAM, str(dataset.config), *paths]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            missing("This test needs setpriv; install util-linux.")
        command = ["setpriv", "--bounding-set", mortal, "--inh-caps", mortal, *command]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def theirs(dataset: Dataset) -> Iterator[Dataset]:
    """A dataset with a directory that will be locked."""
    for name in ("locked/deeper", "open"):
        (dataset.root / name).mkdir(parents=True)
    for name in ("locked/file", "locked/deeper/file", "open/file", "file"):
        (dataset.root / name).write_bytes(name.encode())
    yield dataset
    dataset.root.chmod(0o755)
    (dataset.root / "locked").chmod(0o755)


def test_what_cannot_be_read_is_named_kept_and_stored_when_it_can(theirs: Dataset) -> None:
    assert push_as_user(theirs)["failed"] == 0
    first = describe(theirs.root)
    (theirs.root / "locked" / "file").write_bytes(b"changed meanwhile")
    (theirs.root / "locked" / "deeper" / "file").unlink()
    (theirs.root / "open" / "file").write_bytes(b"not readable")
    (theirs.root / "open" / "file").chmod(0)
    (theirs.root / "file").write_bytes(b"readable")
    (theirs.root / "locked").chmod(0)
    answer = push_as_user(theirs)
    assert sorted(answer["paths"]) == ["locked", "open/file"]
    assert (answer["failed"], answer["removed"], answer["complete"]) == (2, 0, False)
    restored = describe(theirs.pull())
    for path in (b"locked/file", b"locked/deeper", b"locked/deeper/file", b"open/file"):
        assert restored[path] == first[path], "what was stored before is kept"
    again = push_as_user(theirs)
    assert (again["failed"], sorted(again["paths"])) == (2, ["locked", "open/file"])
    (theirs.root / "locked").chmod(0o755)
    (theirs.root / "open" / "file").chmod(0o644)
    assert push_as_user(theirs)["failed"] == 0
    with theirs.space() as space:
        assert space.catalogue.queries.failures(space.dataset.dataset_no) == []
    assert differences(describe(theirs.root), describe(theirs.pull())) == []


def read_long_ago(path: Path) -> int:
    """As most files: a plain read would note that it was read now. When it was, in ns."""
    path.write_bytes(b"content")
    os.utime(path, ns=(10**18, path.stat().st_mtime_ns))
    return path.stat().st_atime_ns


def test_who_reads_for_a_backup_does_not_change_when_a_file_was_read(dataset: Dataset) -> None:
    small, large = dataset.root / "small", dataset.root / "large"
    before = read_long_ago(small)
    large.write_bytes(os.urandom(17 << 20))
    os.utime(large, ns=(10**18, large.stat().st_mtime_ns))
    dataset.push()
    assert (small.stat().st_atime_ns, large.stat().st_atime_ns) == (before, before)
    small.read_bytes()
    if small.stat().st_atime_ns == before:
        missing("This filesystem never notes when a file was read; mount it with relatime.")


def test_what_belongs_to_others_is_read_all_the_same(dataset: Dataset, as_root: None) -> None:
    """Who is neither owner nor root may not ask for that."""
    read_long_ago(dataset.root / "theirs")
    os.chown(dataset.root / "theirs", 65534, 65534)
    assert push_as_user(dataset, mortal="-fowner")["failed"] == 0
    dataset.assert_restores()


def test_a_directory_that_failed_is_looked_into_whatever_is_pushed_next(theirs: Dataset) -> None:
    """A discoverer will not name again what it named when it could not be read."""
    push_as_user(theirs)
    (theirs.root / "locked" / "deeper" / "file").write_bytes(b"changed meanwhile")
    (theirs.root / "locked").chmod(0)
    assert push_as_user(theirs)["paths"] == ["locked"]
    (theirs.root / "locked").chmod(0o755)
    assert push_as_user(theirs, "file")["failed"] == 0
    assert differences(describe(theirs.root), describe(theirs.pull())) == []


def test_a_tree_of_which_nothing_can_be_read_is_not_an_empty_tree(theirs: Dataset) -> None:
    push_as_user(theirs)
    wanted = describe(theirs.root)
    theirs.root.chmod(0)
    assert "cannot be read" in push_as_user(theirs)["error"]
    assert describe(theirs.pull()) == wanted
