"""Names, owners, modes, attributes and times come back, whichever way a tree is restored."""

import errno
import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from n2s_core.errors import UsageError
from tests.conftest import Dataset, missing, round_trip
from tests.trees import describe, differences

NS = 1_000_000_000
NAMES = [
    "na\u00efve caf\u00e9".encode("latin-1"),
    "\u65e5\u672c\u8a9e".encode("shift-jis"),
    "\u00e9".encode(),
    "e\u0301".encode(),
    b"new\nline",
    b"\n",
    b"tab\there",
    b"back\\slash",
    b"-rf",
    b"--help",
    b"trailing space ",
    b" ",
    b"x" * 255,
    b"\xff" * 255,
    bytes(range(1, 47)),
    bytes(range(48, 128)),
    bytes(range(128, 256)),
    b"\x7f\x1b[31mred",
    b"\xc0\xaf\xed\xa0\x80\xf8",
    "\u202ertl\u200f\u05d0".encode(),
    b"%s%n$HOME`id`'\"",
    b"...",
    b"~",
    b"*?[a]",
    b"a",
    b"a.txt",
    b"a-",
    b"a0",
    b"CON",
    b".n2s-0123456789abcdef.part",
]


def set_xattr(path: bytes | Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            missing(f"The filesystem of the tests cannot hold {name}; use ext4, xfs or btrfs.")
        raise


def test_names_are_bytes_and_come_back_as_they_are(dataset: Dataset) -> None:
    base = os.fsencode(dataset.root)
    os.mkdir(base + b"/d")
    os.mkdir(base + b"/l")
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(base + b"/" + name)).write_bytes(b"%d" % number)
        os.mkdir(base + b"/d/" + name)
        Path(os.fsdecode(base + b"/d/" + name + b"/" + name)).write_bytes(name)
        os.symlink(name, base + b"/l/" + name)
    round_trip(dataset)


@pytest.mark.parametrize("name", ["sp ace \\ \"'\n\u00e9", os.fsdecode(b"caf\xe9")])
def test_a_root_with_any_name_can_be_kept(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    (root / "directory").mkdir(parents=True)
    (root / "directory" / "file").write_bytes(b"x")
    made = Dataset(tmp_path, root, tmp_path / "store", root / ".n2s" / "config.toml")
    made.init()
    assert made.push().failures == []
    for restored in (made.pull(), made.recover_py()):
        wanted = describe(root / "directory")
        assert differences(wanted, describe(restored / "directory")) == []


def test_a_root_that_a_configuration_cannot_name_is_refused_with_a_sentence(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    made = Dataset(tmp_path, root, tmp_path / "store", tmp_path / "elsewhere" / "config.toml")
    with pytest.raises(UsageError):
        made.init()


def test_owners_come_back_with_and_without_names(dataset: Dataset, as_root: None) -> None:
    for number, owner in enumerate([(0, 0), (1, 2), (65534, 65534), (123456, 7), (4294967294, 3)]):
        for what in ("file", "dir", "link", "fifo"):
            path = dataset.root / f"{what}-{number}"
            if what == "file":
                path.write_bytes(b"x")
            elif what == "dir":
                path.mkdir()
            elif what == "link":
                path.symlink_to("nowhere")
            else:
                os.mkfifo(path)
            os.chown(path, *owner, follow_symlinks=False)
    round_trip(dataset)


def test_every_mode_comes_back(dataset: Dataset) -> None:
    for mode in (0, 0o1, 0o200, 0o444, 0o4755, 0o2755, 0o6711, 0o1777, 0o7777):
        for make in ("file", "dir", "fifo"):
            if os.geteuid() and mode & 0o500 != 0o500:
                continue
            path = dataset.root / f"{make}-{mode:o}"
            if make == "file":
                path.write_bytes(b"x")
            elif make == "dir":
                path.mkdir()
                (path / "inside").write_bytes(b"y")
            else:
                os.mkfifo(path)
            path.chmod(mode)
    round_trip(dataset)


def test_attributes_of_files_and_directories_come_back(dataset: Dataset) -> None:
    for name in ("file", "empty", "large", "directory"):
        path = dataset.root / name
        if name == "directory":
            path.mkdir()
            (path / "below").write_bytes(b"x")
        else:
            path.write_bytes({"file": b"x", "empty": b"", "large": bytes((16 << 20) + 5)}[name])
        set_xattr(path, "user.empty", b"")
        set_xattr(path, "user.n2s.test", bytes(range(256)))
        set_xattr(path, "user.na\u00efve", b"x" * 500)
        set_xattr(os.fsencode(path), os.fsdecode(b"user.\xff"), b"raw")
    set_xattr(dataset.root, "user.root", b"of the root itself")
    round_trip(dataset)


def test_attributes_of_symlinks_and_devices_come_back(dataset: Dataset, as_root: None) -> None:
    (dataset.root / "link").symlink_to("target")
    os.mkfifo(dataset.root / "fifo")
    os.mknod(dataset.root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (dataset.root / "capable").write_bytes(b"x")
    for name in ("link", "fifo", "device"):
        set_xattr(dataset.root / name, "trusted.n2s", b"\0\xff" + name.encode())
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    set_xattr(dataset.root / "capable", "security.capability", capability)
    os.chmod(dataset.root / "capable", 0o4755)
    round_trip(dataset)


def test_access_control_lists_come_back(dataset: Dataset) -> None:
    if shutil.which("setfacl") is None:
        missing("This test needs setfacl; install the package acl.")
    directory = dataset.root / "directory"
    directory.mkdir()
    commands = [
        ["-d", "-m", "u:1234:rwx,g:77:r-x,o::---", str(directory)],
        ["-m", "u:1:r--,m::rwx", str(directory)],
    ]
    for name in ("plain", "masked"):
        (dataset.root / name).write_bytes(b"x")
    commands += [
        ["-m", "u:1234:rw-,g:5:r--", str(dataset.root / "plain")],
        ["-m", "u:1234:rwx,m::r--", str(dataset.root / "masked")],
    ]
    for arguments in commands:
        done = subprocess.run(["setfacl", *arguments], capture_output=True, check=False, text=True)
        if "not supported" in done.stderr:
            missing("The filesystem of the tests has no ACLs.")
        assert done.returncode == 0, done.stderr
    (directory / "inherits").write_bytes(b"x")
    (directory / "below").mkdir()
    (directory / "below" / "bare").write_bytes(b"y")
    os.removexattr(directory / "below" / "bare", "system.posix_acl_access")
    round_trip(dataset)


def test_a_default_acl_of_the_target_does_not_reach_what_is_restored(dataset: Dataset) -> None:
    if shutil.which("setfacl") is None:
        missing("This test needs setfacl; install the package acl.")
    (dataset.root / "below").mkdir()
    (dataset.root / "below" / "file").write_bytes(b"x")
    (dataset.root / "file").write_bytes(b"x")
    os.mkfifo(dataset.root / "fifo")
    dataset.push()
    target = dataset.new_folder("shared")
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx,g::rwx", str(target)], check=True)
    dataset.assert_restores(dataset.pull(target=target))


def test_times_of_every_century_come_back(dataset: Dataset) -> None:
    times = [0, 1, -1, -NS, -NS // 2, -1_900_000_000 * NS + 7, 2_147_483_648 * NS + 999_999_999,
             9_000_000_000 * NS + 123_456_789, 1_700_000_000_000_000_001]  # fmt: skip
    for number, time_ns in enumerate(times):
        for what in ("file", "dir", "link"):
            path = dataset.root / f"{what}-{number}"
            if what == "file":
                path.write_bytes(b"x")
            elif what == "dir":
                path.mkdir()
            else:
                path.symlink_to("x")
            os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
    round_trip(dataset)
