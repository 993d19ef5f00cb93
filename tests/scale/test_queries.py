"""Promise: what users ask is answered by an index, in memory that does not follow the rows."""

import fnmatch
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import scale_data
from n2s_core.app import asking, diffing
from n2s_core.catalogue import database_postgresql
from n2s_core.catalogue.database import Database
from n2s_core.catalogue.queries import Queries
from n2s_core.facts import Dataset
from n2s_core.model import FileRow, Part
from n2s_core.relpath import Span
from tests.conftest import KINDS
from tests.conftest import Dataset as Filled
from tests.scale.conftest import CHANGESETS, Make, Synthetic

MORE = 1.5
PAGE = 200


def versions(synthetic: Synthetic) -> Iterator[tuple[bytes, int, int]]:
    """Path, beginning and end of every version, as they were made."""
    tallies = scale_data.Tallies.of(synthetic.plan.changesets)
    for row in scale_data.rows_of(synthetic.plan, tallies):
        yield row[0], row[1], row[2]


def seen(synthetic: Synthetic, changeset_no: int) -> dict[bytes, int]:
    """The paths of a tree, and since when they are as they are."""
    return {
        path: begins for path, begins, ends in versions(synthetic) if begins <= changeset_no < ends
    }


@pytest.mark.parametrize(("one", "two"), [(1, 12), (12, 1), (5, 6), (6, 5), (7, 7), (3, 11)])
def test_differences_are_those_of_the_two_trees(large: Synthetic, one: int, two: int) -> None:
    before, after = seen(large, one), seen(large, two)
    wanted = [
        (path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
    with large.space() as space:
        found = list(space.catalogue.queries.differences(space.dataset.dataset_no, one, two))
    pairs = [(old, new) if one <= two else (new, old) for old, new in found]
    if one > two:
        pairs = [pair if None not in pair else pair[::-1] for pair in pairs]
    assert len(pairs) == len(wanted)
    for (path, begins, later), (old, new) in zip(wanted, pairs, strict=True):
        assert {row.path for row in (old, new) if row is not None} == {path}
        assert (old and old.valid_from) == begins
        assert (new and new.valid_from) == later


def test_a_diff_says_the_same_in_both_directions(large: Synthetic) -> None:
    listed = asking.changesets(config=large.config)
    old, new = listed[-1].changeset_id, listed[0].changeset_id
    there, back = (diffing.diff(*ids, config=large.config) for ids in ((old, new), (new, old)))
    paths = [[one.path for one in some] for some in (there.added, there.removed, there.changed)]
    assert all(paths)
    assert [one.path for one in back.removed] == paths[0]
    assert [one.path for one in back.added] == paths[1]
    assert [one.path for one in back.changed] == paths[2]


@pytest.mark.parametrize(
    "pattern",
    [
        b"*7.txt",
        b"document 00000001?.txt",
        b"part-00000/folder-0000[12]/*",
        b"part-00000/folder-00003/document 000000301.txt",
        b"part-0000*/*\xff\n",
        b"*\xff*",
        b"part-00000",
        b"nowhere/*",
        b"",
    ],
)
def test_a_search_finds_what_the_glob_means(large: Synthetic, pattern: bytes) -> None:
    wanted = [
        path
        for path, _, _ in versions(large)
        if path
        and (
            fnmatch.fnmatchcase(path, pattern)
            or (b"/" not in pattern and fnmatch.fnmatchcase(path.split(b"/")[-1], pattern))
        )
    ]
    found = [one.path for one in asking.search(pattern, config=large.config)]
    assert found == wanted


def test_a_search_between_times_has_those_changesets_alone(large: Synthetic) -> None:
    dates = [one.created_ns // 10**9 for one in asking.changesets(config=large.config)][::-1]
    day = 86_400
    assert dates == list(range(dates[0], dates[0] + CHANGESETS * day, day))
    since, until = "2023-11-17", "2023-11-19T23:00+00:00"
    found = {
        (one.created_ns or 0) // 10**9
        for one in asking.search("*", config=large.config, since=since, until=until)
    }
    assert len(found) == 3


HARD = (b"a", b"a!b", b"a-", b"a/\xff", b"a/b", b"a/b/c", b"a0", b"a\xff")


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("under", [b"", b"a", b"a/b", b"a!b", b"a\xff"])
def test_a_part_of_a_tree_is_the_path_and_what_is_below_it(
    synthetic_names: Synthetic, under: bytes, part: Part
) -> None:
    whole = synthetic_names.tree(1, part=part)
    wanted = [
        row for row in whole if not under or row.path == under or row.path.startswith(under + b"/")
    ]
    assert synthetic_names.tree(1, under, part) == wanted


@pytest.fixture(scope="module")
def synthetic_names(make: Make) -> Synthetic:
    """Neighbours in byte order that are not below each other."""
    shapes = scale_data.SHAPES
    shapes["hard"] = lambda _: ((name, name in {b"a", b"a/b"}) for name in HARD)
    return make(scale_data.Plan(len(HARD), "hard", changesets=1, changed=0.0))


# -- sums ------------------------------------------------------------------------------------------


def counted(rows: list[FileRow]) -> tuple[int, int]:
    files = [row for row in rows if row.type != 2]
    return len(files), sum(row.size for row in files if row.type == 1)


@pytest.mark.parametrize("number", [1, 6, CHANGESETS])
def test_the_size_of_an_old_tree_is_reckoned_and_right(large: Synthetic, number: int) -> None:
    asked: list[Asked] = []
    with large.space() as space:
        db = space.catalogue.db
        note(db, "one", asked)
        found = Queries(db).tree_size(space.dataset, number)
    assert found == counted(large.tree(number))
    assert not any("FROM files" in statement for statement, _ in asked)


def test_what_does_not_add_up_is_counted(filled: Filled) -> None:
    """An older rebuild did not write down by how much each changeset changed the sums."""
    with filled.space() as space:
        newest = space.dataset.head_no
        wanted = space.catalogue.queries.tree_size(space.dataset, newest)
        assert wanted == (space.dataset.live_files, space.dataset.live_bytes)
        with space.catalogue.db.transaction():
            space.catalogue.db.execute("UPDATE changesets SET files_delta = 0, bytes_delta = 0")
        assert space.catalogue.queries.tree_size(space.dataset, newest) == wanted


@pytest.fixture
def filled(dataset: Filled) -> Filled:
    (dataset.root / "one").write_text("1")
    (dataset.root / "folder").mkdir()
    dataset.push()
    (dataset.root / "two").write_text("22")
    dataset.push()
    return dataset


# -- plans -----------------------------------------------------------------------------------------


Ask = Callable[[Queries, Dataset], object]
FOLDER = b"part-00000/folder-00001"
KEY = "PRIMARY KEY (dataset_no=? AND path"
ASKED: dict[str, tuple[Ask, str]] = {
    "diff": (lambda q, d: list(q.differences(d.dataset_no, 5, 6)), "INDEX files_"),
    "list of a folder": (lambda q, d: list(q.tree(d.dataset_no, 3, under=FOLDER)), KEY),
    "list of a file": (lambda q, d: list(q.tree(d.dataset_no, 3, under=FOLDER + b"/x")), KEY),
    "search from a prefix": (
        lambda q, d: list(
            q.names(d, Span(b"part-00000/folder-00001/", b"part-00000/folder-000010"))
        ),
        f"{KEY}>? AND path<?",
    ),
    "history": (lambda q, d: q.history(d, FOLDER), f"{KEY}=?"),
    "one path": (lambda q, d: q.at(d.dataset_no, 3, FOLDER), f"{KEY}=?"),
}


@pytest.mark.parametrize("what", ASKED)
def test_one_path_and_a_difference_are_found_by_an_index(
    large: Synthetic, kind: str, what: str
) -> None:
    ask, wanted = ASKED[what]
    asked: list[Asked] = []
    with large.space() as space:
        db, dataset = space.catalogue.db, space.dataset
        for name in ("all", "one", "stream"):
            note(db, name, asked)
        ask(Queries(db), dataset)
        explain = "EXPLAIN QUERY PLAN" if kind == KINDS[0] else "EXPLAIN"
        for statement, values in asked[:]:
            rows = db.all(f"{explain} {statement}", values)
            said = " | ".join(str(row[-1]) for row in rows)
            if kind == KINDS[0]:
                assert wanted in said, (statement, said)
                assert "SCAN" not in said
            else:
                assert "Seq Scan on files" not in said, (statement, said)
                assert "files_" in said
    assert asked


Asked = tuple[str, tuple[object, ...]]


def note(db: Database, name: str, asked: list[Asked]) -> None:
    real = getattr(db, name)

    def noting(statement: str, values: tuple[object, ...] = ()) -> object:
        asked.append((statement, values))
        return real(statement, values)

    setattr(db, name, noting)


# -- memory ----------------------------------------------------------------------------------------


def last_of(config: Path, what: str) -> int:
    """Ask, keep nothing, and count."""
    ids = [one.changeset_id for one in asking.changesets(config=config)]
    if what == "list":
        return sum(1 for _ in asking.list_files(config=config))
    if what == "search":
        return sum(1 for _ in asking.search("*.txt", config=config))
    with diffing.differences(ids[-1], ids[0], config=config) as between:
        return sum(1 for _ in between.found)


@pytest.mark.parametrize("what", ["list", "search", "diff"])
def test_memory_does_not_follow_the_rows(
    small: Synthetic, large: Synthetic, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_postgresql, "PAGE", PAGE)
    counts, peaks = [], []
    last_of(small.config, what)
    for synthetic in (small, large):
        tracemalloc.start()
        counts.append(last_of(synthetic.config, what))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert counts[1] > 6 * counts[0]
    assert peaks[1] < MORE * peaks[0]
