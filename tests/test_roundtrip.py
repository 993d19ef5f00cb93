"""What is stored comes back exactly: by pull, by recover.py with and without changesets, after rebuild."""

import errno
import os
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from n2s_core.errors import UsageError
from tests.conftest import Dataset, missing
from tests.trees import describe, differences

NS = 1_000_000_000
LARGE = 16 << 20
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


def round_trip(dataset: Dataset) -> None:
    outcome = dataset.push()
    assert outcome.failures == []
    assert outcome.changeset_id is not None
    dataset.assert_restores(
        dataset.pull(), dataset.recover_py(), dataset.recover_py("--records-alone")
    )
    dataset.rebuild_from_store()
    dataset.assert_restores()
    again = dataset.push()
    assert (again.changeset_id, again.objects_stored, again.failures) == (None, 0, [])


def set_xattr(path: bytes | Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            missing(f"The filesystem of the tests cannot hold {name}; use ext4, xfs or btrfs.")
        raise


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress and repeat nowhere."""
    import random  # noqa: PLC0415 - only here

    return random.Random(seed).randbytes(size)


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
            if make != "file" and not mode & 0o400 and os.geteuid():
                continue
            path = dataset.root / f"{make}-{mode:o}"
            if make == "file":
                path.write_bytes(b"x")
                if os.geteuid() and not mode & 0o400:
                    path.unlink()
                    continue
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
            path.write_bytes({"file": b"x", "empty": b"", "large": content(LARGE + 5)}[name])
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


def test_files_of_every_size_around_a_limit_come_back(dataset: Dataset) -> None:
    sizes = [0, 1, 63, 64, 65, 4095, 4096, 4097, 1 << 20, LARGE - 1, LARGE, LARGE + 1, 40 << 20]
    for size in sizes:
        (dataset.root / f"zeros-{size}").write_bytes(bytes(size))
        (dataset.root / f"noise-{size}").write_bytes(content(size, size))
    round_trip(dataset)


@pytest.mark.parametrize("pack_size", [0, 100_000])
def test_small_objects_hold_the_same_tree(make_dataset: object, pack_size: int) -> None:
    dataset = make_dataset(pack_size=pack_size)  # type: ignore[operator]
    for number in range(30):
        (dataset.root / f"file-{number}").write_bytes(content(number * 1500, number))
        (dataset.root / f"link-{number}").symlink_to(f"file-{number}")
    (dataset.root / "large").write_bytes(content(LARGE + 3))
    os.link(dataset.root / "large", dataset.root / "large too")
    round_trip(dataset)


HOLES = {
    "leading": [(5 << 20, b"end")],
    "trailing": [(0, b"start")],
    "inner": [(0, b"start"), (5 << 20, b"end")],
    "many": [(number << 20, b"%d" % number) for number in range(0, 30, 3)],
    "nothing but": [],
    "large": [(1 << 20, b"x"), (100 << 20, b"y")],
    "small": [(64 << 10, b"z")],
}


def test_sparse_files_come_back_sparse(dataset: Dataset) -> None:
    for name, pieces in HOLES.items():
        with open(dataset.root / name, "wb") as file:
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
            file.truncate((200 << 20) if name == "large" else (30 << 20))
    (dataset.root / "dense zeros").write_bytes(bytes(17 << 20))
    sparse = [name for name, about in describe(dataset.root).items() if about[-1] is True]
    if len(sparse) != len(HOLES):
        missing("The filesystem of the tests keeps no holes; use ext4, xfs, btrfs or tmpfs.")
    round_trip(dataset)


def test_special_files_come_back(dataset: Dataset) -> None:
    os.mkfifo(dataset.root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(dataset.root, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
    round_trip(dataset)


def test_devices_come_back(dataset: Dataset, as_root: None) -> None:
    for number, device in enumerate([(1, 3), (0, 0), (4095, 1048575), (8, 1)]):
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            path = dataset.root / f"device-{kind}-{number}"
            os.mknod(path, kind | 0o620, os.makedev(*device))
    round_trip(dataset)


def test_symlinks_come_back_wherever_they_lead(dataset: Dataset) -> None:
    targets = [b"missing", b"/etc/passwd", b"..", b"../../..", b".", b"x" * 4095, b"\xff\n", b"/"]
    (dataset.root / "directory").mkdir()
    for number, target in enumerate([*targets, b"directory", b"directory/"]):
        os.symlink(target, os.fsencode(dataset.root) + b"/link-%d" % number)
    (dataset.root / "directory" / "loop").symlink_to("loop")
    round_trip(dataset)


def test_empty_and_read_only_directories_come_back(dataset: Dataset) -> None:
    (dataset.root / "empty" / "in" / "empty").mkdir(parents=True)
    (dataset.root / "locked" / "below").mkdir(parents=True)
    (dataset.root / "locked" / "below" / "file").write_bytes(b"x")
    (dataset.root / "locked" / "below").chmod(0o500)
    (dataset.root / "locked").chmod(0o555)
    round_trip(dataset)


def test_an_empty_tree_comes_back(dataset: Dataset) -> None:
    dataset.root.chmod(0o751)
    round_trip(dataset)


def test_hard_links_come_back_as_links(dataset: Dataset) -> None:
    root = dataset.root
    (root / "b" / "c").mkdir(parents=True)
    (root / "a").mkdir()
    contents = {"small": b"small", "empty": b"", "large": content(LARGE + 9)}
    for name, data in contents.items():
        (root / "b" / name).write_bytes(data)
        os.link(root / "b" / name, root / "b" / "c" / name)
        os.link(root / "b" / name, root / "a" / f"{name} too")
        (root / "a" / f"{name} copy").write_bytes(data)
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 20)
    os.link(root / "sparse", root / "b" / "sparse")
    (root / "link").symlink_to("x")
    os.link(root / "link", root / "a" / "link", follow_symlinks=False)
    os.mkfifo(root / "fifo")
    os.link(root / "fifo", root / "b" / "fifo")
    (root / "half").write_bytes(b"the other link lies outside")
    os.link(root / "half", dataset.base / "outside")
    round_trip(dataset)


def test_links_on_different_filesystems_are_told_apart(
    dataset: Dataset, tmpfs: object, as_root: None
) -> None:
    """Fresh filesystems give the same inode numbers; links of one are not links of the other."""
    for name in ("one", "two"):
        mounted = tmpfs("size=1m")  # type: ignore[operator]
        (dataset.root / name).mkdir()
        subprocess.run(["mount", "--bind", str(mounted), str(dataset.root / name)], check=True)
    try:
        for name in ("one", "two"):
            folder = dataset.root / name
            (folder / "link").symlink_to(name)
            os.link(folder / "link", folder / "link too", follow_symlinks=False)
            os.mkfifo(folder / "fifo")
            os.link(folder / "fifo", folder / "fifo too")
            (folder / "file").write_bytes(b"same")
            os.link(folder / "file", folder / "file too")
            for path in folder.iterdir():
                os.utime(path, ns=(5, 5), follow_symlinks=False)
        inodes = [os.lstat(dataset.root / name / "link").st_ino for name in ("one", "two")]
        assert inodes[0] == inodes[1]
        assert dataset.push().failures == []
        dataset.assert_restores(dataset.pull(), dataset.recover_py())
    finally:
        for name in ("one", "two"):
            subprocess.run(["umount", str(dataset.root / name)], check=False)


class Deep:
    """A chain of directories whose path is too long for one system call."""

    def __init__(self, top: Path, names: list[bytes]) -> None:
        self._top = top
        self._names = names

    def visit(self, at: int) -> int:
        """A descriptor of the directory that many levels down; made when it is missing."""
        fd = os.open(self._top, os.O_RDONLY)
        for name in self._names[:at]:
            try:
                below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(name, dir_fd=fd)
                below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        return fd

    def descriptions(self) -> list[tuple[object, ...]]:
        """Facts of the two ends of the chain; the middle is on the way to the end."""
        found = []
        for at in range(len(self._names) + 1):
            fd = self.visit(at)
            for name in sorted(os.listdir(fd)):
                about = os.stat(name, dir_fd=fd, follow_symlinks=False)
                found.append((at, name, about.st_mode, about.st_mtime_ns, about.st_uid))
                if stat.S_ISREG(about.st_mode):
                    with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as file:
                        found.append((at, file.read(), os.listxattr(file.fileno())))
            os.close(fd)
        return found


@pytest.mark.parametrize("names", [[b"n" * 200] * 30, [b"d"] * 300], ids=["long", "deep"])
def test_paths_longer_than_a_system_call_takes_come_back(
    dataset: Dataset, names: list[bytes]
) -> None:
    def deep(top: Path) -> Deep:
        return Deep(top, names)

    for at in (1, len(names) - 1, len(names)):
        fd = deep(dataset.root).visit(at)
        with open(os.open("file", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=fd), "wb") as file:
            file.write(b"at %d" % at)
        os.symlink("file", "link", dir_fd=fd)
        os.mkfifo("fifo", dir_fd=fd)
        os.link("file", "hard", src_dir_fd=fd, dst_dir_fd=fd)
        os.close(fd)
    assert dataset.push().failures == []
    wanted = deep(dataset.root).descriptions()
    restored = [dataset.pull(), dataset.recover_py(), dataset.recover_py("--records-alone")]
    dataset.rebuild_from_store()
    restored.append(dataset.pull())
    for top in restored:
        assert deep(top).descriptions() == wanted
    assert dataset.push().changeset_id is None
    shutil.rmtree(dataset.root / os.fsdecode(names[0]))
    assert dataset.push().failures == []
    assert differences(describe(dataset.root), describe(dataset.pull())) == []
