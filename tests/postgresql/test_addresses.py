"""Promise: who names a catalogue in PostgreSQL is told what is wrong, and repeats no secret."""

from pathlib import Path

import pytest

from n2s_core.app.examining import examine
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue_address import parse_address
from n2s_core.errors import CatalogueError, ConfigError, UsageError
from tests.beside import fill
from tests.conftest import Dataset, MakeDataset
from tests.servers.postgresql import Postgresql


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@host/n2s", "PGPASSWORD"),
        ("postgresql://host/n2s?password=secret", "pgpass"),
        ("postgresql+psycopg://host", "names no database"),
        ("postgresql:n2s", "names no database"),
        ("postgresql://host/n2s?schema=Own", "small letters"),
        ("postgresql://host/n2s?schema=pg_own", "pg_"),
        ("postgresql://host/n2s?schema=a'b", "small letters"),
        ("mysql://host/n2s", "no catalogue of the kind mysql"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_no_secret_repeated(
    url: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        parse_address(url, Path("/"))
    assert "secret" not in str(raised.value)


def test_an_address_can_be_read_as_it_is_shown() -> None:
    for text in (
        "postgresql+psycopg://me@host:5433/n2s?sslmode=verify-full&schema=papers",
        "postgresql+psycopg:///n2s?host=%2Frun%2Fpostgresql",
    ):
        assert str(parse_address(text, Path("/"))) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("catalogue.db", "/base/catalogue.db"),
        ("sqlite:c.db", "/base/c.db"),
        ("sqlite:///x/c.db", "/x/c.db"),
        ("/x/postgresql", "/x/postgresql"),
    ],
)
def test_everything_else_is_a_file(text: str, path: str) -> None:
    assert parse_address(text, Path("/base")) == Path(path)


def test_the_catalogue_of_another_store_is_not_joined(
    dataset: Dataset, make_dataset: MakeDataset
) -> None:
    made = make_dataset("other", prepare=False)
    other = Dataset(made.base, made.root, made.store, made.config, url=dataset.url)
    with pytest.raises(UsageError, match="another store"):
        other.init()
    assert not other.config.exists()


def test_a_database_that_cannot_hold_all_names_is_refused(postgresql: Postgresql) -> None:
    postgresql.ask("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    found = parse_address(postgresql.url().replace("/n2s_tests", "/ascii"), Path("/"))
    with pytest.raises(CatalogueError, match="createdb --encoding UTF8"):
        Catalogue.create(found, store_id=b"s" * 16, store_url="file:/x")


def test_a_role_needs_no_more_than_a_schema_of_its_own_to_push(
    make_dataset: MakeDataset, postgresql: Postgresql
) -> None:
    """A rebuild makes a schema and says what is missing when it may not."""
    postgresql.ask("CREATE ROLE keeper LOGIN")
    made = make_dataset(prepare=False)
    url = postgresql.url("kept", user="keeper")
    dataset = Dataset(made.base, made.root, made.store, made.config, url=url)
    with pytest.raises(CatalogueError, match=r"docs/catalogue\.md"):
        dataset.init()
    assert not dataset.config.exists()
    postgresql.ask("CREATE SCHEMA kept AUTHORIZATION keeper")
    dataset.init()
    fill(dataset, 1)
    assert dataset.push().failures == []
    dataset.assert_restores()
    with pytest.raises(CatalogueError, match=r"docs/catalogue\.md"):
        dataset.rebuild()
    with dataset.space() as space:
        assert "GRANT CREATE ON DATABASE n2s_tests TO keeper" in space.catalogue.db.complaint()
    postgresql.ask("GRANT CREATE ON DATABASE n2s_tests TO keeper")
    assert dataset.rebuild().problems == ()
    dataset.assert_restores()
    probes = {one.name: one for one in examine(None, dataset.config).probes}
    assert probes["catalogue"].verdict == "ok"
    assert "PostgreSQL" in probes["catalogue"].text
    postgresql.ask("REVOKE ALL ON SCHEMA kept FROM keeper")
    with pytest.raises(CatalogueError):
        dataset.facts()
