"""A tree with everything in it, and every way to edit it, each by its name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from n2s_core.testing.editor import takes_attributes

Edit = Callable[[Path], object]
NO_TEXT = os.fsdecode(b"\xff\xfe no text \xe9")
BREAK = "line\nbreak"
LONG = "x" * 255
_TIME_NS = 1_000_000_000_123_456_789
_MANY = 300


def plant(root: Path) -> None:
    """The tree that the edits know, in a folder that may hold other things already."""
    for folder in ("a", "docs/old", "docs/new", "deep/er/and/deeper", "empty", "b", NO_TEXT, BREAK):
        (root / folder).mkdir(parents=True)
    for name in (
        "a/x", "a.txt", "a-b", "docs/one", "docs/two", "docs/old/three", "docs/new/four",
        "deep/er/and/deeper/five", "b/six", "b/seven", LONG, f"{NO_TEXT}/{NO_TEXT}",
        f"{BREAK}/{BREAK}", " lead", "tab\there", "-dash", "back\\slash", "café",
    ):  # fmt: skip
        (root / name).write_bytes(name.encode(errors="surrogateescape") * 3)
        os.utime(root / name, ns=(_TIME_NS, _TIME_NS))
    (root / "linked").write_bytes(b"several names")
    os.link(root / "linked", root / "docs/linked too")
    os.link(root / "linked", root / "deep/er/linked as well")
    (root / "leads").symlink_to("docs/one")
    (root / "b/leads nowhere").symlink_to("gone")
    (root / "nothing").touch()
    os.mkfifo(root / "pipe")
    with (root / "holes").open("wb") as file:
        file.truncate(1 << 20)


def _write(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" and more")


def _create(root: Path) -> None:
    (root / "docs/made").write_bytes(b"new")


def _create_below_new_directories(root: Path) -> None:
    (root / "new/and/deeper").mkdir(parents=True)
    (root / "new/and/deeper/file").write_bytes(b"new")
    (root / "new/beside").write_bytes(b"new")


def _write_unseen(root: Path) -> None:
    path = root / "docs/one"
    before = path.stat()
    path.write_bytes(b"#" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _rename_directory_and_write_inside(root: Path) -> None:
    (root / "deep/er").rename(root / "docs/moved")
    _write(root / "docs/moved/and/deeper/five")
    (root / "docs/moved/and/six").write_bytes(b"new")


def _swap(root: Path, one: str, two: str) -> None:
    (root / one).rename(root / "spare")
    (root / two).rename(root / one)
    (root / "spare").rename(root / two)


def _replace_by_directory(root: Path) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt/sub").mkdir(parents=True)
    (root / "a.txt/sub/file").write_bytes(b"inside")


def _replace_by_file(root: Path) -> None:
    shutil.rmtree(root / "docs")
    (root / "docs").write_bytes(b"a file now")


def _replace_and_back(root: Path) -> None:
    _replace_by_directory(root)
    shutil.rmtree(root / "a.txt")
    (root / "a.txt").write_bytes(b"a file again")


def _replace_by_link(root: Path) -> None:
    (root / "b").rename(root / "really b")
    (root / "b").symlink_to("really b")


def _unlink_first_and_write(root: Path) -> None:
    (root / "linked").unlink()
    _write(root / "docs/linked too")


def _retarget(root: Path) -> None:
    (root / "leads").unlink()
    (root / "leads").symlink_to("docs/two")


def _recreate_subtree(root: Path) -> None:
    shutil.copytree(root / "docs/old", root / "docs/copy")
    shutil.rmtree(root / "docs/old")
    (root / "docs/copy").rename(root / "docs/old")


def _create_hard_names(root: Path) -> None:
    for name in (os.fsdecode(b"\x80"), "new\nname", "y" * 255, "\x01", "o257-7-0", "*", "%41"):
        (root / "docs" / name).write_bytes(b"new")
        (root / "b" / f"d{name[:200]}").mkdir()


def _rename_hard_names(root: Path) -> None:
    (root / NO_TEXT / NO_TEXT).rename(root / BREAK / NO_TEXT)
    (root / BREAK / BREAK).rename(root / NO_TEXT / LONG)
    (root / NO_TEXT).rename(root / "named")


def _create_many(root: Path) -> None:
    for number in range(_MANY):
        folder = root / f"many/{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(b"%d" % number)


def _attribute(root: Path) -> None:
    os.setxattr(root / "docs/one", "user.n2s", b"value")
    os.setxattr(root / "deep", "user.n2s", b"value")


EDITS: dict[str, Edit] = {
    "create": _create,
    "create below new directories": _create_below_new_directories,
    "create an empty directory": lambda root: (root / "docs/void").mkdir(),
    "write": lambda root: _write(root / "docs/one"),
    "write with the size and the time of before": _write_unseen,
    "truncate": lambda root: os.truncate(root / "a/x", 1),
    "grow by a hole": lambda root: os.truncate(root / "holes", 3 << 20),
    "touch": lambda root: (root / "b/six").touch(),
    "set the time of a directory": lambda root: os.utime(root / "docs", ns=(_TIME_NS, _TIME_NS)),
    "rename": lambda root: (root / "docs/one").rename(root / "b/one"),
    "rename over another": lambda root: (root / "docs/one").rename(root / "b/six"),
    "rename a directory": lambda root: (root / "docs").rename(root / "renamed"),
    "rename a directory and write inside": _rename_directory_and_write_inside,
    "swap two files": lambda root: _swap(root, "docs/one", "b/six"),
    "swap two directories": lambda root: _swap(root, "docs", "b"),
    "replace a file by a directory": _replace_by_directory,
    "replace a directory by a file": _replace_by_file,
    "replace a file by a directory and back": _replace_and_back,
    "replace a directory by a symlink": _replace_by_link,
    "add a hard link": lambda root: os.link(root / "docs/one", root / "b/one too"),
    "add a hard link to several": lambda root: os.link(root / "linked", root / "b/linked again"),
    "remove a hard link": lambda root: (root / "docs/linked too").unlink(),
    "write through a hard link": lambda root: _write(root / "docs/linked too"),
    "remove the first hard link and write": _unlink_first_and_write,
    "chmod": lambda root: (root / "docs/one").chmod(0o600),
    "chmod a directory": lambda root: (root / "deep/er").chmod(0o700),
    "chmod the root": lambda root: root.chmod(0o711),
    "set an attribute": _attribute,
    "retarget a symlink": _retarget,
    "create a FIFO": lambda root: os.mkfifo(root / "docs/pipe"),
    "delete": lambda root: (root / "docs/one").unlink(),
    "delete a subtree": lambda root: shutil.rmtree(root / "docs"),
    "delete a subtree and make it again": _recreate_subtree,
    "create hard names": _create_hard_names,
    "write in hard names": lambda root: _write(root / NO_TEXT / NO_TEXT),
    "rename hard names": _rename_hard_names,
    "write in a name with a line break": lambda root: _write(root / BREAK / BREAK),
    "write in a long name": lambda root: _write(root / LONG),
    "create many": _create_many,
}
NEEDS_ATTRIBUTES = frozenset({"set an attribute"})


def can(edit: str, root: Path) -> bool:
    """Whether the filesystem of the root allows the edit at all."""
    return edit not in NEEDS_ATTRIBUTES or takes_attributes(root)
