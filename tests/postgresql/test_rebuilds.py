"""Promise: a catalogue that is made anew takes the place of the old one at once."""

import pytest

from n2s_core.catalogue.database import open_database
from n2s_core.catalogue_address import PostgresqlAddress
from n2s_core.errors import CatalogueError, LeaseHeld
from tests.beside import beside, fill
from tests.conftest import Dataset, MakeDataset
from tests.postgresql.rows import note
from tests.servers.postgresql import Postgresql
from tests.stopping import Standing


def schemas_of(dataset: Dataset, postgresql: Postgresql) -> int:
    """How many there are: that of the catalogue, and what a rebuild put beside it."""
    assert isinstance(dataset.address, PostgresqlAddress)
    names = f"^{dataset.address.schema}(_(new|old).*)?$"
    return len(postgresql.ask("SELECT 1 FROM pg_namespace WHERE nspname ~ %s", (names,)))


def test_who_has_the_replaced_catalogue_open_writes_nothing_more(
    dataset: Dataset, postgresql: Postgresql
) -> None:
    fill(dataset, 1)
    dataset.push()
    with open_database(dataset.address) as before, open_database(dataset.address) as reader:
        reading = reader.stream("SELECT path FROM files ORDER BY path")
        first = next(reading)
        dataset.rebuild()
        with pytest.raises(CatalogueError, match="was replaced or removed"):
            note(before, b"late")
        with pytest.raises(CatalogueError, match="was replaced or removed"):
            next(before.stream("SELECT path FROM files"))
        dataset.rebuild()
        assert len([first, *reading]) == 52
    dataset.rebuild()
    assert schemas_of(dataset, postgresql) == 1
    dataset.assert_restores()


def test_what_a_killed_rebuild_left_is_removed_by_the_next(
    dataset: Dataset, postgresql: Postgresql
) -> None:
    fill(dataset, 1)
    dataset.push()
    with Standing(dataset, "rebuild-made", "rebuild") as first:
        assert schemas_of(dataset, postgresql) == 2
        with pytest.raises(LeaseHeld, match="running"):
            dataset.rebuild()
        first.kill()
        assert dataset.rebuild().problems == ()
    assert schemas_of(dataset, postgresql) == 1
    dataset.assert_restores()


def test_a_rebuild_takes_all_datasets_that_share_the_catalogue(
    dataset: Dataset, make_dataset: MakeDataset
) -> None:
    other = beside(dataset, make_dataset)
    never_pushed = beside(other, lambda *words, **how: make_dataset("never", **how))
    for number, one in enumerate((dataset, other)):
        fill(one, number)
        one.push()
    dataset.rebuild()
    for one in (dataset, other):
        assert one.push().changeset_id is None
        one.assert_restores()
    assert (never_pushed.facts().name, never_pushed.facts().head_no) == ("root-3", 0)
    dataset.forget_catalogue()
    assert dataset.rebuild().datasets == ("root",)
    with pytest.raises(CatalogueError, match="'n2s rebuild' reads the store again"):
        other.facts()
    assert other.rebuild().datasets == ("root", "root-2")
    for one in (dataset, other):
        one.assert_restores()
