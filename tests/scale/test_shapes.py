"""Promise: trees that are not like others are listed, compared and restored like any other."""

from itertools import chain

import pytest

import scale_data
import scale_walk
from n2s_core.app import asking
from n2s_core.flows.compare import Seen, merge
from n2s_core.model import LIVE, Part
from n2s_core.relpath import EVERYTHING
from tests.conftest import KINDS
from tests.scale.conftest import Make

pytestmark = pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)
SHAPES = (("flat", 0.0), ("deep", 0.0), ("long", 0.0), ("usual", 0.7))


@pytest.mark.parametrize(("shape", "linked"), SHAPES)
def test_odd_trees_are_listed_and_compared(make: Make, shape: str, linked: float) -> None:
    plan = scale_data.Plan(3_000, shape, changesets=5, linked=linked)
    made = make(plan)
    wanted = [change.path for change in scale_walk.walk(plan)]
    assert [one.path for one in asking.list_files(config=made.config)] == wanted[1:]
    with made.space() as space:
        facts = space.dataset
        pages = space.catalogue.pushes.live(facts.dataset_no, EVERYTHING)
        seen = Seen()
        assert list(merge(scale_walk.walk(plan), chain.from_iterable(pages), seen)) == []
        assert seen.unchanged == len(wanted)
    under = max(wanted, key=lambda path: (path.count(b"/"), path))
    assert [one.path for one in asking.list_files(None, under, config=made.config)] == [under]
    parts = [made.tree(plan.changesets, part=part) for part in (Part.SINGLE, Part.LINKED)]
    assert bool(parts[1]) == bool(linked)
    files = [row.path for row in made.tree(plan.changesets) if row.type != scale_data.DIRECTORY]
    assert sorted(row.path for row in chain(*parts)) == files
    assert all(row.valid_to == LIVE for row in chain(*parts))
