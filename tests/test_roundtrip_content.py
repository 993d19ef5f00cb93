"""Contents, holes, special files, links, long paths come back, whichever way it is restored."""

import os
import random
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Dataset, MakeDataset, Mount, missing, round_trip
from tests.trees import describe, differences

LARGE = 16 << 20


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress and repeat nowhere."""
    return random.Random(seed).randbytes(size)


def test_files_of_every_size_around_a_limit_come_back(dataset: Dataset) -> None:
    sizes = [0, 1, 63, 64, 65, 4095, 4096, 4097, 1 << 20, LARGE - 1, LARGE, LARGE + 1, 40 << 20]
    for size in sizes:
        (dataset.root / f"zeros-{size}").write_bytes(bytes(size))
        (dataset.root / f"noise-{size}").write_bytes(content(size, size))
    round_trip(dataset)


@pytest.mark.parametrize("pack_size", [0, 100_000])
def test_small_objects_hold_the_same_tree(make_dataset: MakeDataset, pack_size: int) -> None:
    dataset = make_dataset(pack_size=pack_size)
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


def test_a_hole_comes_back_that_a_block_of_attributes_hides(dataset: Dataset) -> None:
    path = dataset.root / "hidden"
    with path.open("wb") as file:
        file.write(b"before" * 1000)
        file.seek(12 << 10)
        file.write(b"after" * 1000)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.setxattr(path, b"user.large", b"x" * 2000)
    except OSError:
        missing("The filesystem of the tests keeps no attributes of users.")
    before = describe(dataset.root)
    if before[b"hidden"][-1] is not True:
        missing("The filesystem of the tests keeps no holes; use ext4, xfs, btrfs or tmpfs.")
    round_trip(dataset)


def test_a_name_is_not_linked_to_what_is_in_the_way_of_another(dataset: Dataset) -> None:
    (dataset.root / "a").write_text("stored")
    for name in "bc":
        os.link(dataset.root / "a", dataset.root / name)
    dataset.push()
    target = dataset.new_folder("target")
    (target / "a").write_text("somebody else's")
    _, result = dataset.try_pull(target=target)
    assert [one.path for one in result.failures] == [b"a"]
    assert (target / "a").read_text() == "somebody else's"
    assert (target / "b").read_text() == "stored"
    assert (target / "b").stat().st_ino == (target / "c").stat().st_ino
    dataset.try_pull(target=target, force=True)
    dataset.assert_restores(target)


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
    dataset: Dataset, tmpfs: Mount, as_root: None
) -> None:
    """Fresh filesystems give the same inode numbers; links of one are not links of the other."""
    for name in ("one", "two"):
        mounted = tmpfs("size=1m")
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
        found: list[tuple[object, ...]] = []
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


@pytest.mark.on_both
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
