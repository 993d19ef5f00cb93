"""Promise: processes that share a comparison find what one process finds, whatever the spans."""

import errno
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from n2s_core import walking
from n2s_core.excludes import NOTHING, Excludes
from n2s_core.flows import comparing, spread
from n2s_core.flows.compare import Difference, Seen, merge
from n2s_core.flows.spread import compare_span
from n2s_core.relpath import EVERYTHING, Span
from n2s_core.walking import walk
from tests.conftest import Dataset
from tests.edits import Editor

TAGGED = Excludes(patterns=("*.skip",), markers=(b".nobackup",), caches=True)


def no_failure(path: bytes, error: str) -> None:
    raise AssertionError((path, error))


def paths(root: Path, excludes: Excludes, span: Span = EVERYTHING) -> list[bytes]:
    return [change.path for change in walk(bytes(root), excludes, no_failure, span=span)]


def spans_at(cuts: list[bytes]) -> list[Span]:
    lows = [b"", *cuts]
    return [Span(low, high) for low, high in zip(lows, [*cuts, None], strict=True)]


def names_that_sort_oddly(root: Path) -> None:
    for name in (b"a", b"a.txt", b"a0", b"a\xff", b"b"):
        for below in (b"", b"x", b"x.y/z", b"x/y/z"):
            folder = os.path.join(os.fsencode(root), name, below)
            os.makedirs(folder, exist_ok=True)
            Path(os.fsdecode(folder), "file").write_bytes(b"1")
            Path(os.fsdecode(folder), "left.skip").write_bytes(b"1")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("excludes", [NOTHING, TAGGED], ids=["all", "tagged"])
def test_spans_cut_anywhere_together_are_the_walk(
    tmp_path: Path, seed: int, excludes: Excludes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "MOST_LOOKED_AT", (2, 20_000)[seed % 2])
    names_that_sort_oddly(tmp_path)
    chance = random.Random(seed)
    folders = sorted(path for path in tmp_path.rglob("*") if path.is_dir())
    (chance.choice(folders) / ".nobackup").write_bytes(b"")
    whole = paths(tmp_path, excludes)
    assert whole == sorted(whole)
    candidates = [*whole, *(path + b"/" for path in whole), *(path + b"0" for path in whole)]
    cuts = sorted(set(chance.sample(candidates, 7)) - {b""})
    assert [path for span in spans_at(cuts) for path in paths(tmp_path, excludes, span)] == whole


def test_a_span_lists_no_directory_that_it_does_not_need(tmp_path: Path) -> None:
    names_that_sort_oddly(tmp_path)
    listed: list[str] = []
    real = os.scandir

    def noting(path: bytes) -> object:
        listed.append(os.fsdecode(path).removeprefix(str(tmp_path)))
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", noting)
        assert paths(tmp_path, NOTHING, Span(b"a/x/", b"a/x0"))
    assert listed[:2] == ["", "/a"]
    assert all(path.startswith("/a/x") for path in listed[2:])


def found_in(dataset: Dataset, span: Span) -> list[Difference]:
    with dataset.space() as space:
        rows = [row for page in space.catalogue.pushes.live(1, span) for row in page]
        changes = walk(space.root, space.excludes(), no_failure, span=span)
        return list(merge(changes, rows, Seen()))


@pytest.mark.parametrize("seed", range(6))
def test_differences_of_spans_are_the_differences(dataset: Dataset, seed: int) -> None:
    Editor(dataset.root, seed).edit(80)
    dataset.push()
    Editor(dataset.root, seed + 1000).edit(60)
    whole = found_in(dataset, EVERYTHING)
    known = [one.path for one in whole if one.path]
    cuts = sorted(set(random.Random(seed).sample(known, min(5, len(known)))))
    parts = [one for span in spans_at(cuts) for one in found_in(dataset, span)]
    assert [(one.path, one.stat is None, one.live) for one in parts] == [
        (one.path, one.stat is None, one.live) for one in whole
    ]


def test_a_span_with_too_many_differences_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "MOST_DIFFERENCES", 10)
    for number in range(25):
        (tmp_path / f"f{number:02}").write_bytes(b"")
    result = compare_span(bytes(tmp_path), NOTHING, EVERYTHING, [])
    assert [one.path for one in result.differences] == [b"", *(b"f%02d" % n for n in range(9))]
    assert result.rest == b"f09"


def test_rules_survive_the_way_to_a_worker() -> None:
    again: Excludes = pickle.loads(pickle.dumps(TAGGED))  # noqa: S301 - our own
    assert again == TAGGED
    assert again.leaves_out(b"a/b.skip", directory=False)
    assert not again.leaves_out(b"a/b", directory=False)


@pytest.fixture(name="spread_out")
def spread_for_small_trees(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Pushes compare in two processes from the first path on; the spans that were given out."""
    given: list[Span] = []
    real = spread.Spread.results

    def noting(self: spread.Spread, *how: object) -> Iterator[tuple[Span, spread.SpanResult]]:
        for span, result in real(self, *how):  # type: ignore[arg-type]
            given.append(span)
            yield span, result

    monkeypatch.setattr(comparing, "SPREAD_FROM", 0)
    monkeypatch.setattr(spread.Spread, "results", noting)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return given


@pytest.mark.parametrize("seed", range(3))
def test_pushes_that_share_the_comparison_restore(
    dataset: Dataset, spread_out: list[Span], seed: int
) -> None:
    editor = Editor(dataset.root, seed + 50)
    editor.edit(60)
    dataset.push()
    for _ in range(3):
        editor.edit(30)
        before = len(spread_out)
        assert dataset.push().failures == []
        assert len(spread_out) > before + 1
        dataset.assert_restores()
    assert dataset.push().changeset_id is None


@pytest.mark.parametrize("most", [0, 1, 7])
def test_pushes_go_on_where_a_span_had_too_much_to_send(
    dataset: Dataset, spread_out: list[Span], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    def here(
        self: spread.Spread, first: bytes, cut: Callable[[bytes], bytes | None], *_: object
    ) -> Iterator[tuple[Span, spread.SpanResult]]:
        low: bytes | None = first
        while low is not None:
            span = Span(low, cut(low))
            spread_out.append(span)
            yield span, self.call(span)
            low = span.high

    monkeypatch.setattr(spread, "MOST_DIFFERENCES", most)
    monkeypatch.setattr(spread.Spread, "results", here)
    editor = Editor(dataset.root, most)
    editor.edit(60)
    dataset.push()
    for _ in range(3):
        editor.edit(30)
        assert dataset.push().failures == []
        dataset.assert_restores()
    assert len(spread_out) > len(set(spread_out)) > 1


def test_what_cannot_be_listed_is_a_failure_and_stays_as_it_was(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b/deep", "c"):
        (dataset.root / name).mkdir(parents=True)
        for number in range(20):
            (dataset.root / name / f"f{number}").write_bytes(b"%d" % number)
    dataset.push()
    shutil.rmtree(dataset.root / "c")
    closed = bytes(dataset.root / "b")
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for span in (EVERYTHING, Span(b"b/deep/f1", None), Span(b"b/deep/f1", b"c/f3")):
        with dataset.space() as space:
            rows = [row for page in space.catalogue.pushes.live(1, span) for row in page]
            result = compare_span(space.root, space.excludes(), span, rows)
        assert [one.path for one in result.failures] == [b"b"]
        gone = [one.path for one in result.differences if one.stat is None]
        assert len(gone) == (14 if span.high else 21)
        assert all(path.startswith(b"c") for path in gone)
