"""Promise: a directory of any size is walked as any other, and only its names are in memory."""

import errno
import os
import tracemalloc
from pathlib import Path

import pytest

from n2s_core import walking
from n2s_core.excludes import NOTHING, Excludes
from n2s_core.model import Change
from n2s_core.walking import walk
from tests.conftest import Dataset

FILES = 30_000
BYTES_OF_A_NAME = 120
RULES = Excludes(patterns=("*.skip", "/kept/*", "!/kept/a*"), markers=(b".nobackup",), caches=True)


def no_failure(path: bytes, error: str) -> None:
    raise AssertionError((path, error))


def walked(root: Path, excludes: Excludes) -> list[Change]:
    return list(walk(os.fsencode(root), excludes, no_failure))


def fill(root: Path) -> None:
    for name in ("a", "a.txt", "a0", "b.skip", "kept/a", "kept/b", "left", "cache"):
        folder = root / name
        folder.mkdir(parents=True)
        for below in ("x", "x.y", "x0", "y.skip", "a"):
            (folder / below).mkdir()
            (folder / below / "file").write_bytes(b"1")
            (folder / f"{below}-file").write_bytes(b"1")
            (folder / f"{below}-link").symlink_to("x")
    (root / "left" / ".nobackup").touch()
    (root / "cache" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55")
    os.mkfifo(root / "fifo")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).touch()


@pytest.mark.parametrize("excludes", [NOTHING, RULES], ids=["all", "rules"])
@pytest.mark.parametrize("most", [0, 1, 4])
def test_it_is_walked_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excludes: Excludes, most: int
) -> None:
    fill(tmp_path)
    expected = walked(tmp_path, excludes)
    assert len(expected) > 20
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", most)
    assert walked(tmp_path, excludes) == expected
    assert [one.path for one in expected] == sorted(one.path for one in expected)


def test_what_changes_before_its_turn_is_seen_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", 0)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    found = walk(os.fsencode(tmp_path), NOTHING, no_failure)
    assert [next(found).path for _ in range(2)] == [b"", b"a"]
    for name in ("b", "c"):
        (tmp_path / name / "file").unlink()
        (tmp_path / name).rmdir()
    (tmp_path / "c").write_bytes(b"a file now")
    rest = {one.path: one for one in found}
    assert [*rest] == [b"a/file", b"c", b"d", b"d/file"]
    assert rest[b"c"].stat is not None
    assert rest[b"c"].stat.st_size == len(b"a file now")


def test_what_cannot_be_looked_at_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", 0)
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    real = os.lstat

    def lstat(path: bytes) -> os.stat_result:
        if path.endswith(b"/b"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    reported: list[tuple[bytes, str]] = []
    monkeypatch.setattr(os, "lstat", lstat)
    found = walk(os.fsencode(tmp_path), NOTHING, lambda path, error: reported.append((path, error)))
    assert [one.path for one in found] == [b"", b"a", b"c"]
    assert [path for path, _ in reported] == [b"b"]


def test_only_its_names_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", 1000)
    folder = os.open(tmp_path, os.O_RDONLY)
    for number in range(FILES):
        os.close(os.open(f"file {number}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    tracemalloc.start()
    try:
        count = sum(1 for _ in walk(os.fsencode(tmp_path), NOTHING, no_failure))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == FILES + 1
    assert peak < FILES * BYTES_OF_A_NAME + 1000 * 2000


def test_one_that_is_larger_than_what_is_looked_at_is_pushed_and_restored(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With links, and a change in the middle."""
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", 1000)
    many = 3000
    for number in range(0, many, 3):
        first = dataset.root / f"{number:06d}"
        first.write_bytes(b"%d" % number)
        for other in (number + 1, number + 2):
            os.link(first, dataset.root / f"{other:06d}")
    dataset.push()
    dataset.assert_restores()
    (dataset.root / f"{many // 2:06d}").unlink()
    (dataset.root / "new").touch()
    outcome = dataset.push()
    assert (outcome.removed, outcome.failures) == (1, [])
    dataset.assert_restores()
