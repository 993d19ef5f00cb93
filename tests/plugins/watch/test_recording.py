"""Promise: whatever happens below the root while changes are recorded is named afterwards."""

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.model import ChangeKind
from tests.plugins.watch.watched import Tree

ODD = b"odd \xff\xfe\nname"
EXCHANGE = 2
HERE = -100


def odd(folder: Path) -> bytes:
    return os.fsencode(folder) + b"/" + ODD


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def write_odd(root: Path) -> None:
    with open(odd(root / "d"), "ab") as file:
        file.write(b"more")


WAYS: dict[str, tuple[Callable[[Path], object], tuple[bytes, ...]]] = {
    "create": (lambda root: (root / "d/new").touch(), (b"d/new",)),
    "append": (lambda root: append(root / "d/f"), (b"d/f",)),
    "truncate": (lambda root: os.truncate(root / "d/f", 0), (b"d/f",)),
    "chmod": (lambda root: (root / "d/f").chmod(0o600), (b"d/f",)),
    "chmod of a directory": (lambda root: (root / "d").chmod(0o700), (b"d",)),
    "times": (lambda root: os.utime(root / "d/f", (1, 1)), (b"d/f",)),
    "attribute": (lambda root: os.setxattr(root / "d/f", "user.a", b"1"), (b"d/f",)),
    "unlink": (lambda root: (root / "d/f").unlink(), (b"d/f",)),
    "rename": (lambda root: (root / "d/f").rename(root / "e/g"), (b"d/f", b"e/g")),
    "replace": (lambda root: (root / "e/f").replace(root / "d/f"), (b"d/f", b"e/f")),
    "link": (lambda root: os.link(root / "d/f", root / "e/also"), (b"e/also",)),
    "symlink": (lambda root: (root / "d/s").symlink_to("nowhere"), (b"d/s",)),
    "fifo": (lambda root: os.mkfifo(root / "d/p"), (b"d/p",)),
    "mkdir": (lambda root: (root / "d/sub").mkdir(), (b"d/sub",)),
    "rmdir": (lambda root: shutil.rmtree(root / "e"), (b"e", b"e/f")),
    "rename of a directory": (
        lambda root: (root / "d").rename(root / "e/d"),
        (b"d", b"d/f", b"e/d", b"e/d/f", b"e/d/" + ODD),
    ),
    "a name that is no text": (write_odd, (b"d/" + ODD,)),
    "times of the root": (lambda root: os.utime(root, (1, 1)), (b"",)),
}


@pytest.fixture(name="filled")
def filled_tree(tree: Tree) -> Tree:
    for folder in ("d", "e"):
        (tree.root / folder).mkdir()
        (tree.root / folder / "f").write_text("1")
    with open(odd(tree.root / "d"), "wb") as file:
        file.write(b"1")
    return tree


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_named(filled: Tree, way: str) -> None:
    change, paths = WAYS[way]
    with filled.recording():
        mark = filled.mark()
        assert filled.ask(mark).paths == set()
        change(filled.root)
        said = filled.ask(mark)
        assert [path for path in paths if not said.names(path)] == []
        assert filled.ask(said.until).paths == set()


def test_a_write_that_is_over_is_in_the_very_next_answer(filled: Tree) -> None:
    with filled.recording():
        mark = filled.mark()
        for _ in range(300):
            append(filled.root / "d/f")
            said = filled.ask(mark)
            assert said.paths == {b"d/f"}
            assert said.until is not None
            mark = said.until


def test_new_directories_are_watched_however_fast_they_are_filled(tree: Tree) -> None:
    with tree.recording():
        mark = tree.mark()
        for number in range(50):
            folder = tree.root / f"{number}/b/c/d"
            folder.mkdir(parents=True)
            append(folder / "f")
        said = tree.ask(mark)
        missed = [number for number in range(50) if not said.names(b"%d/b/c/d/f" % number)]
        assert missed == []
        assert said.until is not None
        for number in range(50):
            append(tree.root / f"{number}/b/c/d/f")
        later = tree.ask(said.until)
        missed = [number for number in range(50) if not later.names(b"%d/b/c/d/f" % number)]
        assert missed == []


def test_writes_below_a_directory_that_was_just_renamed_are_named(tree: Tree) -> None:
    (tree.root / "0/sub/sub").mkdir(parents=True)
    with tree.recording():
        mark = tree.mark()
        for number in range(100):
            (tree.root / f"{number}").rename(tree.root / f"{number + 1}")
            append(tree.root / f"{number + 1}/sub/sub/f")
            said = tree.ask(mark)
            assert said.names(b"%d/sub/sub/f" % (number + 1))
            assert said.names(b"%d" % number)
            assert said.until is not None
            mark = said.until
        append(tree.root / "100/sub/sub/f")
        assert tree.ask(mark).names(b"100/sub/sub/f")


def test_directories_that_change_places_at_once_are_both_watched(tree: Tree) -> None:
    for name in ("a", "b"):
        (tree.root / name / "sub").mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    with tree.recording():
        mark = tree.mark()
        one, two = (os.fsencode(tree.root / name) for name in ("a", "b"))
        assert libc.renameat2(HERE, one, HERE, two, EXCHANGE) == 0, os.strerror(ctypes.get_errno())
        said = tree.ask(mark)
        assert said.names(b"a/sub")
        assert said.names(b"b/sub")
        settled = settle(tree)
        append(tree.root / "a/sub/f")
        append(tree.root / "b/sub/f")
        assert tree.ask(settled).paths >= {b"a/sub/f", b"b/sub/f"}


def settle(tree: Tree) -> bytes:
    """A mark behind all that follows from what was done so far."""
    mark = tree.mark()
    while tree.ask(mark).paths:
        mark = tree.mark()
    return mark


def test_what_is_moved_out_of_the_tree_is_not_named_any_more(filled: Tree) -> None:
    outside = filled.root.parent / "outside"
    with filled.recording():
        mark = filled.mark()
        (filled.root / "d").rename(outside)
        assert filled.ask(mark).names(b"d/f")
        mark = settle(filled)
        append(outside / "f")
        assert filled.ask(mark).paths == set()
        outside.rename(filled.root / "back")
        append(filled.root / "back/f")
        assert filled.ask(mark).names(b"back/f")
        mark = settle(filled)
        append(filled.root / "back/f")
        assert filled.ask(mark).paths == {b"back/f"}


def test_a_new_directory_is_named_with_all_below(tree: Tree) -> None:
    with tree.recording():
        mark = tree.mark()
        (tree.root / "new").mkdir()
        hints = tree.ask(mark).hints
        assert hints is not None
        assert hints[b"new"] is ChangeKind.SUBTREE_WRITTEN


def test_what_is_excluded_is_not_recorded_but_for_the_directory_it_lies_in(filled: Tree) -> None:
    filled.exclude = ("cache/", "*.tmp")
    (filled.root / "cache/deep").mkdir(parents=True)
    (filled.root / "d/a.tmp").touch()
    with filled.recording():
        mark = filled.mark()
        append(filled.root / "cache/deep/f")
        append(filled.root / "d/a.tmp")
        assert filled.ask(mark).paths == set()
        (filled.root / "d/a.tmp").unlink()
        assert filled.ask(mark).paths == {b"d"}
        shutil.rmtree(filled.root / "cache")
        assert filled.ask(mark).paths == {b"", b"d"}


def test_its_own_folder_is_not_recorded(filled: Tree) -> None:
    with filled.recording():
        mark = filled.mark()
        (filled.root / ".n2s/anything").write_text("x")
        assert filled.ask(mark).paths == set()


def test_a_path_stands_in_the_journal_once(filled: Tree) -> None:
    with filled.recording():
        mark = filled.mark()
        for _ in range(500):
            append(filled.root / "d/f")
            append(filled.root / "e/f")
        assert filled.ask(mark).paths == {b"d/f", b"e/f"}


def test_a_push_that_fails_asks_again_and_hears_the_same(filled: Tree) -> None:
    with filled.recording():
        mark = filled.mark()
        append(filled.root / "d/f")
        first = filled.ask(mark)
        append(filled.root / "e/f")
        assert filled.ask(mark).paths == {b"d/f", b"e/f"}
        assert filled.ask(first.until).paths == {b"e/f"}


def test_roots_with_long_and_odd_names_are_recorded(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD)) / ("x" * 200) / "root"
    root.mkdir(parents=True)
    tree = Tree(root)
    with tree.recording():
        mark = tree.mark()
        append(root / "f")
        assert tree.ask(mark).paths == {b"f"}


def test_a_storm_of_directories_loses_none(tree: Tree) -> None:
    """Made, renamed, filled and removed as fast as it goes; what is left at last is watched."""
    with tree.recording():
        mark = tree.mark()
        for number in range(400):
            folder = tree.root / f"{number % 20}/{number % 7}"
            folder.mkdir(parents=True, exist_ok=True)
            append(folder / "f")
            (tree.root / f"{number % 20}").rename(tree.root / f"r{number}")
            if number % 3 == 0:
                shutil.rmtree(tree.root / f"r{number}")
        said = tree.ask(mark)
        files = sorted(tree.root.glob("r*/*/f"))
        assert len(files) > 200
        assert [path for path in files if not said.names(relative(tree, path))] == []
        mark = settle(tree)
        for path in files:
            append(path)
        later = tree.ask(mark)
        assert [path for path in files if not later.names(relative(tree, path))] == []


def relative(tree: Tree, path: Path) -> bytes:
    return os.fsencode(path.relative_to(tree.root))
