"""What the tests of catalogues in PostgreSQL share."""

from pathlib import Path

import pytest

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue_address import PostgresqlAddress, parse_address
from tests.conftest import KINDS
from tests.postgresql.rows import note
from tests.servers.postgresql import Postgresql


@pytest.fixture
def catalogue_kind() -> str:
    return KINDS[1]


@pytest.fixture
def address(postgresql: Postgresql) -> PostgresqlAddress:
    """Of a new catalogue with one row in `failures`."""
    found = parse_address(postgresql.url(), Path("/"))
    assert isinstance(found, PostgresqlAddress)
    with Catalogue.create(found, store_id=b"s" * 16, store_url="file:/x") as made:
        made.add_dataset(b"d" * 16, "d")
        note(made.db, b"first")
    return found
