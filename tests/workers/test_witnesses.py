"""Whether two machines see the same tree: what gives it away, and what is forgiven."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.app import witnessing
from n2s_core.app.witnessing import Witness, anchors, differing, seen, spaced, unchanged
from n2s_core.reading import Directories

NAMES = (b"file", b"folder/inner \xff\n", b"folder", b"-dash")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    for name in (b"file", b"folder/inner \xff\n", b"-dash"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    os.symlink("file", root / "symlink")
    os.mkfifo(root / "fifo")
    return root


def witnesses(tree: Path) -> list[Witness]:
    with Directories(os.fsencode(tree)) as source:
        return seen(source, NAMES)


def words(tree: Path, known: list[Witness]) -> list[str]:
    with Directories(os.fsencode(tree)) as source:
        return [one.how for one in differing(source, known)]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything had been so for long."""
    monkeypatch.setattr(witnessing, "SETTLED_S", -1)


def test_the_same_tree_is_the_same(tree: Path) -> None:
    known = witnesses(tree)
    assert [one.path for one in known] == list(NAMES)
    assert words(tree, known) == []


def test_a_copy_is_another_tree(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True, ignore=lambda *_: ["fifo"])
    assert len(words(tmp_path / "copy", witnesses(tree))) == len(NAMES)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda file: file.write_bytes(b"longer than it was"), "another size"),
        (lambda file: os.utime(file, (1, 1)), "another mtime"),
        (lambda file: file.chmod(0o640), "another mode"),
        (lambda file: os.setxattr(file, "user.x", b"1"), "another ctime"),
        (Path.unlink, "it is not there"),
    ],
)
@pytest.mark.usefixtures("settled", "as_root")
def test_whatever_a_worker_sees_differently_is_said(
    tree: Path, edit: Callable[[Path], None], said: str
) -> None:
    known = witnesses(tree)
    edit(tree / "file")
    assert said in words(tree, known)[0]


def test_a_witness_that_changed_a_moment_ago_may_change_again(tree: Path) -> None:
    """As long as another one shows that the tree is the same."""
    known = witnesses(tree)
    (tree / "file").write_bytes(b"changed")
    assert words(tree, known) == []
    assert words(tree, [one for one in known if one.path == b"file"]) != []


def test_attributes_that_a_mount_hides_are_missed(
    tree: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(tree / "file", "user.note", b"kept")
    known = witnesses(tree)
    monkeypatch.setattr(witnessing, "xattrs_of", lambda _fd: {})
    assert words(tree, known) == ["other extended attributes"]


def test_owners_that_have_other_names_elsewhere_are_missed(
    tree: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [one._replace(owner=("somebody", "else")) for one in witnesses(tree)]
    assert set(words(tree, known)) == {"other names of its owner and group"}


def test_who_is_wrong_is_told_from_what_changed(tree: Path, settled: None) -> None:
    known = witnesses(tree)
    (tree / "file").write_bytes(b"changed")
    with Directories(os.fsencode(tree)) as source:
        found = differing(source, known)
        assert [one.witness.path for one in found] == [b"file"]
        assert list(unchanged(source, found)) == []
        others = [one._replace(witness=known[1]) for one in found]
        assert list(unchanged(source, others)) == others


def test_a_symlink_a_fifo_and_what_is_gone_are_no_witnesses(tree: Path) -> None:
    with Directories(os.fsencode(tree)) as source:
        assert seen(source, [b"symlink", b"fifo", b"gone", b"file/below"]) == []


def test_anchors_are_few_and_stay_the_same(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(b"")
    found = anchors(os.fsencode(tmp_path))
    assert found == anchors(os.fsencode(tmp_path))
    assert len(found) == witnessing.MOST
    assert spaced([b"one"]) == [b"one"]
