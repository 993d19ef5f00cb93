"""Promise: the benchmark reckons growth, and its generator makes the rows that it is asked for."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import scale_data
import scale_report
import scale_walk
from n2s_core.model import LIVE
from n2s_core.relpath import ancestors
from scale_report import Point

ROWS = 3000


def points(costs: Sequence[float]) -> list[Point]:
    return [Point("c", "t", 10**at, cost, cost, 50) for at, cost in enumerate(costs, 3)]


@pytest.mark.parametrize(
    ("costs", "exponent"), [([2, 2, 2], 0), ([1, 10, 100], 1), ([1, 100], 2), ([5], None)]
)
def test_growth_is_the_exponent(costs: list[float], exponent: float | None) -> None:
    found = scale_report.growth(points(costs))
    assert found == (None if exponent is None else pytest.approx(exponent))


def test_the_table_has_every_size_and_survives_a_file(tmp_path: Path) -> None:
    some = points([1, 10, 100])
    scale_report.write_csv(some, tmp_path / "scale.csv")
    assert scale_report.read_csv(tmp_path / "scale.csv") == some
    lines = scale_report.table(some).splitlines()
    assert lines[0] == (
        "| case | tool | 1k: CPU s | 10k: CPU s | 100k: CPU s | 1k: MiB | 10k: MiB | 100k: MiB"
        " | growth |"
    )
    assert lines[2] == "| c | t | 1.00 | 10.00 | 100.00 | 50 | 50 | 50 | 1.00 |"


@pytest.mark.parametrize("shape", scale_data.SHAPES)
@pytest.mark.parametrize("linked", [0.0, 0.7])
def test_every_shape_is_a_tree_in_byte_order(shape: str, linked: float) -> None:
    plan = scale_data.Plan(ROWS, shape, changesets=5, linked=linked)
    rows = list(scale_data.rows_of(plan, scale_data.Tallies.of(plan.changesets)))
    assert ROWS * 0.8 < len(rows) < ROWS * 1.2
    keys = [(row[0], row[1]) for row in rows]
    assert keys == sorted(set(keys))
    paths = {path for path, _ in keys}
    assert all(set(ancestors(path)) <= paths for path in paths)
    files = [row for row in rows if row[3] == scale_data.FILE]
    share = sum(row[13] > 1 for row in files) / len(files)
    assert share == pytest.approx(linked, abs=0.1)
    live = [row[0] for row in rows if row[2] == LIVE]
    assert [change.path for change in scale_walk.walk(plan)] == live


def test_the_shapes_are_what_their_names_say() -> None:
    deepest = max(path.count(b"/") for path, _ in scale_data.deep(ROWS))
    assert deepest == scale_data.LEVELS - 1
    assert min(len(path) for path, is_folder in scale_data.long(ROWS) if not is_folder) > 800
    assert {path.count(b"/") for path, is_folder in scale_data.flat(ROWS) if not is_folder} == {1}
