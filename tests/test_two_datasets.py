"""Promise: datasets that share a catalogue and a store push at the same time, and each is whole."""

import pytest

from tests.beside import beside, fill, push_in_another_process
from tests.conftest import Dataset, MakeDataset
from tests.stopping import Standing


@pytest.mark.on_both
@pytest.mark.parametrize("point", ["batch-sealed:1", "batch-recorded:2", "head-sealed"])
def test_what_two_pushes_store_at_once_is_not_mixed_up(
    dataset: Dataset, make_dataset: MakeDataset, point: str
) -> None:
    """Neither knows the objects of the other before they are recorded."""
    other = beside(dataset, make_dataset)
    fill(dataset, 1)
    fill(other, 2)
    with Standing(dataset, point) as first:
        second = push_in_another_process(other)
        assert second.communicate()[1] == ""
        assert second.returncode == 0
        assert first.wake() == (0, "")
    for one in (dataset, other):
        one.assert_restores(one.pull())
        found = one.verify()
        assert (found.missing, found.damaged) == ({}, {})
        assert one.push().changeset_id is None
