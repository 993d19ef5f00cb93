"""Commands are really run: their bytes, their status, their stderr, their time."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from n2s_core.errors import DiscoveryError
from n2s_plugins.zfs.command import Ran, ShRunner, Take
from n2s_plugins.zfs.commands import Snapshot, Zfs
from n2s_plugins.zfs.doubts import UNKNOWN
from n2s_plugins.zfs.mounts import Mount, find_place, parse_mounts
from n2s_plugins.zfs.snapshots import LinuxMachine
from tests.plugins.zfs.recordings import VERSIONS, recorded

Script = Callable[[str], None]


@pytest.fixture
def zfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Puts a shell script in the place of the zfs command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(script: str) -> None:
        (folder / "zfs").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "zfs").chmod(0o755)

    return write


def run(*arguments: str, wait_s: float = 20.0) -> tuple[int, bytes, bytes, str | None]:
    output = bytearray()

    def take(data: bytes) -> bool:
        output.extend(data)
        return True

    ran = ShRunner().run(["zfs", *arguments], take=take, wait_s=wait_s)
    return ran.exit_code, bytes(output), ran.stderr, ran.stopped


def test_every_byte_and_every_argument_arrives(zfs: Script) -> None:
    zfs(r"""printf '%s|' "$@"; printf '\000\001\377\n\r\t\342\202'; printf '\376' >&2""")
    assert run("a b", "*", "$HOME", "") == (
        0, b"a b|*|$HOME||\x00\x01\xff\n\r\t\xe2\x82", b"\xfe", None,
    )  # fmt: skip


def test_the_exit_status_and_stderr_come_back(zfs: Script) -> None:
    zfs("echo out; echo $LC_ALL >&2; exit 7")
    assert run() == (7, b"out\n", b"C\n", None)


def test_stdout_is_a_pipe_that_is_read_to_its_end(zfs: Script) -> None:
    zfs("[ -p /dev/fd/1 ] && seq 300000")
    code, output, _, _ = run()
    assert code == 0
    assert output == b"".join(b"%d\n" % number for number in range(1, 300_001))


def test_a_command_that_hangs_is_stopped(zfs: Script) -> None:
    zfs("echo first; exec sleep 60")
    began = time.monotonic()
    _, _, _, stopped = run(wait_s=0.3)
    assert time.monotonic() - began < 30
    assert stopped == "it took longer than 0 s"


def test_a_reader_that_has_enough_stops_the_command(zfs: Script) -> None:
    zfs("exec yes")
    ran = ShRunner().run(["zfs"], take=lambda _: False, wait_s=60)
    assert ran.stopped == "it printed more than was wanted"


def test_a_reader_that_fails_fails_here(zfs: Script) -> None:
    def take(_: bytes) -> bool:
        raise OSError(28, "No space left on device")

    zfs("exec yes")
    with pytest.raises(OSError, match="No space"):
        ShRunner().run(["zfs"], take=take, wait_s=60)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(DiscoveryError, match="n2s-no-such-command is not on this machine"):
        ShRunner().run(["n2s-no-such-command"], take=lambda _: True, wait_s=1)


def test_a_killed_diff_is_no_answer(zfs: Script) -> None:
    zfs("echo line; kill -KILL $$")
    with pytest.raises(DiscoveryError, match="zfs diff from t@a to t@b failed"):
        Zfs(ShRunner()).diff("t@a", "t@b", take=lambda _: True, wait_s=20)


def test_a_list_is_read(zfs: Script) -> None:
    zfs(r"printf 'tank/with space@a\t12621776980874500467\t67\t0\ntank@b\t2\t68\t3\n'")
    assert Zfs(ShRunner()).snapshots("tank") == [
        Snapshot("tank/with space@a", "12621776980874500467", 67, 0),
        Snapshot("tank@b", "2", 68, 3),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_mount_is_found(version: str) -> None:
    text = recorded(version)["mounts"].encode("latin-1")
    mounts = parse_mounts(text)
    assert len(mounts) == text.count(b"\n")
    for case in recorded(version)["cases"].values():
        where = case["mountpoint"]
        if any(mount.device == case["dataset"].encode() for mount in mounts) and where != "legacy":
            place = find_place(where.encode(), mounts)
            assert place is not None
            assert place.dataset == case["dataset"]
            assert place.printed == where.encode()


def test_escapes_in_mounts_are_undone() -> None:
    text = b"tank/a\\040b /m\\011\\012\\134x\xc3 zfs rw 0 0\n"
    assert parse_mounts(text) == [Mount(b"tank/a b", b"/m\t\n\\x\xc3", b"zfs")]


def test_a_second_mount_prints_the_first() -> None:
    mounts = parse_mounts(b"tank /one zfs rw 0 0\ntank /two zfs rw 0 0\n")
    place = find_place(b"/two", mounts)
    assert place is not None
    assert (place.mountpoint, place.printed) == (b"/two", b"/one")


class MountingRunner:
    """Says that it mounted."""

    def __init__(self, exit_code: int = 0) -> None:
        self.asked: list[list[str]] = []
        self._exit_code = exit_code

    def run(self, arguments: Sequence[str], *, take: Take, wait_s: float) -> Ran:
        self.asked.append(list(arguments))
        return Ran(self._exit_code, b"mount: must be superuser\n" if self._exit_code else b"")


def test_a_snapshot_that_zfs_does_not_show_is_mounted_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of the same device is not the snapshot, though it has its name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / ".zfs" / "snapshot" / "a").mkdir(parents=True)
    runner = MountingRunner()
    asked = runner.asked
    snapshot = Snapshot("tank@a", "1", 1, 0)
    with LinuxMachine().entered(Zfs(runner), os.fsencode(tmp_path), snapshot) as directory:
        assert Path(os.fsdecode(directory)).is_dir()
        assert directory != os.fsencode(tmp_path / ".zfs" / "snapshot" / "a")
        assert asked == [["mount", "-t", "zfs", "tank@a", os.fsdecode(directory)]]
    assert asked[1:] == [["umount", os.fsdecode(directory)]]
    assert not Path(os.fsdecode(directory)).exists()


def test_a_snapshot_that_cannot_be_seen_at_all_is_explained(tmp_path: Path) -> None:
    snapshot = Snapshot("tank@a", "1", 1, 0)
    entered = LinuxMachine().entered(Zfs(MountingRunner(1)), os.fsencode(tmp_path), snapshot)
    with pytest.raises(DiscoveryError, match="zfs set snapdir=hidden tank"), entered:
        pass


def test_what_cannot_be_looked_at_is_not_taken_for_gone(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    look = partial(LinuxMachine().inode, os.fsencode(tmp_path))
    assert look(b"f") == (tmp_path / "f").stat().st_ino
    assert look(b"g") is None
    assert look(b"f/g") is None
    assert look(b"n" * 300) == UNKNOWN


def test_the_machine_counts_its_objects(tmp_path: Path) -> None:
    assert LinuxMachine().objects(os.fsencode(tmp_path)) >= 0
    assert b" / " in LinuxMachine().mounts()
