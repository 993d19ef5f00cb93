"""Promise: nobody hangs because another stands still, and nothing confirmed is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from n2s_core.catalogue import database_postgresql
from n2s_core.catalogue import postgresql_connection as connecting
from n2s_core.catalogue.database import Database, open_database
from n2s_core.catalogue_address import PostgresqlAddress, parse_address
from n2s_core.errors import CatalogueBusy, CatalogueError
from tests.beside import beside, fill
from tests.conftest import Dataset, MakeDataset
from tests.postgresql.rows import add, note, paths
from tests.servers.postgresql import Postgresql
from tests.servers.postgresql import postgresql as server_of
from tests.stopping import Standing


def end_connections(postgresql: Postgresql) -> None:
    """As an administrator, or a broken line, does it."""
    postgresql.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'n2s' AND pid <> pg_backend_pid()"
    )


# -- who stands still ----------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing for a second is taken to be gone."""
    monkeypatch.setattr(connecting, "WAIT_S", 0.3)
    monkeypatch.setattr(connecting, "SILENT_S", 1)


@pytest.mark.parametrize("point", ["record-uncommitted:2", "finish-uncommitted"])
def test_who_stands_still_in_a_transaction_keeps_nobody_out(
    dataset: Dataset, make_dataset: MakeDataset, impatient: None, point: str
) -> None:
    other = beside(dataset, make_dataset)
    fill(dataset, 1)
    fill(other, 2)
    with Standing(dataset, point) as first:
        assert other.push().failures == []
        other.assert_restores()
        code, said = first.wake()
        assert code != 0
        assert "Run the command again" in said or "run the command again" in said
    assert dataset.push().failures == []
    own = dataset.facts().dataset_id.hex()
    dataset.assert_restores(dataset.pull(), dataset.recover_py("--dataset", own))
    assert dataset.push().changeset_id is None


def test_who_stops_in_the_middle_of_a_copy_keeps_nobody_out(
    address: PostgresqlAddress, impatient: None
) -> None:
    """To the server that is at work, so its limit for idle transactions does not count."""
    connecting.close_idle(address)
    with connecting.borrowed(address) as silent, open_database(address) as db:
        silent.execute("BEGIN", prepare=False)
        silent.execute("SELECT 1 FROM properties WHERE name = 'incarnation' FOR NO KEY UPDATE")
        copy = "COPY failures (dataset_no, path, error, first_ns, last_ns) FROM STDIN"

        def stop_in_the_middle() -> None:
            with silent.cursor().copy(copy) as writing:
                writing.write("1\tsecond\twhy\t0\t0\n1\tth")
                note(db, b"third")

        with pytest.raises(psycopg.OperationalError):
            stop_in_the_middle()
        assert paths(db) == [b"first", b"third"]


def test_who_is_at_work_for_long_is_waited_for_and_not_cut_off(
    address: PostgresqlAddress, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it will end, so who waits gives up."""
    connecting.close_idle(address)
    monkeypatch.setattr(database_postgresql, "BUSY_S", 2)
    with open_database(address) as working, open_database(address) as db:
        asked = threading.Event()

        def work() -> None:
            with working.transaction():
                add(working, b"second")
                asked.set()
                working.one("SELECT pg_sleep(4)")

        thread = threading.Thread(target=work)
        thread.start()
        asked.wait()
        with pytest.raises(CatalogueBusy, match="Another program holds it"):
            note(db, b"third")
        thread.join()
        note(db, b"fourth")
        assert paths(db) == [b"first", b"fourth", b"second"]


# -- connections and servers that end ------------------------------------------------------------


def test_questions_are_asked_again_when_the_connection_ends(
    address: PostgresqlAddress, postgresql: Postgresql
) -> None:
    with open_database(address) as db:
        assert paths(db) == [b"first"]
        end_connections(postgresql)
        assert paths(db) == [b"first"]
        end_connections(postgresql)
        with db.transaction(durable=True):
            add(db, b"second")
        end_connections(postgresql)
        assert paths(db) == [b"first", b"second"]


def test_who_wrote_what_a_broken_server_may_have_lost_stops(
    address: PostgresqlAddress, postgresql: Postgresql
) -> None:
    """Else the end of a push could be noted without its middle."""
    with open_database(address) as db:
        note(db, b"second")
        end_connections(postgresql)
        with pytest.raises(CatalogueError, match="goes on from what was noted"):
            note(db, b"third")
    with open_database(address) as db:
        assert paths(db) == [b"first", b"second"]


def cut_off(db: Database, postgresql: Postgresql, *, at_the_end: bool) -> None:
    """A transaction whose connection ends before its last statement, or before it is confirmed."""
    with db.transaction():
        add(db, b"second")
        end_connections(postgresql)
        if not at_the_end:
            add(db, b"third")


@pytest.mark.parametrize(
    ("at_the_end", "said"), [(False, "run the command again"), (True, "not known whether")]
)
def test_a_transaction_whose_connection_ends_is_not_done(
    address: PostgresqlAddress, postgresql: Postgresql, at_the_end: bool, said: str
) -> None:
    with open_database(address) as db:
        with pytest.raises(CatalogueError, match=said):
            cut_off(db, postgresql, at_the_end=at_the_end)
        assert paths(db) == [b"first"]


def test_a_stream_whose_connection_ends_does_not_look_like_its_end(
    address: PostgresqlAddress, postgresql: Postgresql
) -> None:
    with open_database(address) as db:
        reading = db.stream("SELECT * FROM generate_series(1, 100000)")
        assert next(reading) == (1,)
        end_connections(postgresql)
        with pytest.raises(CatalogueError):
            list(reading)


@pytest.fixture(scope="module")
def careful() -> Iterator[Postgresql]:
    """A server that has on the disk what it confirms, as servers do."""
    with server_of(careful=True) as server:
        yield server


@pytest.mark.parametrize("point", ["batch-recorded:2", "head-stored"])
def test_a_server_that_breaks_down_during_a_push_loses_nothing_for_the_next(
    make_dataset: MakeDataset, careful: Postgresql, point: str
) -> None:
    made = make_dataset(prepare=False)
    dataset = Dataset(made.base, made.root, made.store, made.config, url=careful.url())
    dataset.init()
    fill(dataset, 1)
    with Standing(dataset, point) as first:
        with careful.server.gone():
            pass
        code, said = first.wake()
        assert code != 0
        assert "was lost" in said
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    assert [one.number for one in dataset.changesets()] == [1]
    assert dataset.push().changeset_id is None


FULL = """
CREATE FUNCTION {0}.full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON {0}.files FOR EACH STATEMENT EXECUTE FUNCTION {0}.full()
"""


def test_a_full_disk_is_named_and_the_next_push_goes_on(
    dataset: Dataset, postgresql: Postgresql
) -> None:
    """As the server says it; a trigger does here."""
    assert isinstance(dataset.address, PostgresqlAddress)
    schema = dataset.address.schema
    fill(dataset, 1)
    postgresql.ask(FULL.format(schema))
    with pytest.raises(CatalogueError, match="disk full"):
        dataset.push()
    postgresql.ask(f"DROP FUNCTION {schema}.full() CASCADE")
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_who_opens_many_catalogues_keeps_few_connections(
    postgresql: Postgresql,
) -> None:
    """A program with many datasets leaves room for others."""
    for _ in range(3 * connecting.KEPT_ADDRESSES):
        url = postgresql.url()
        address = parse_address(url, Path("/"))
        assert isinstance(address, PostgresqlAddress)
        borrowed = [connecting.borrow(address) for _ in range(2)]
        for one in borrowed:
            connecting.give_back(address, one)
    kept = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'n2s' AND state = 'idle'"
    ((count,),) = postgresql.ask(kept)
    assert 0 < count <= connecting.KEPT_ADDRESSES * connecting.KEPT


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = parse_address(f"postgresql:///n2s?host={tmp_path}", tmp_path)
    with pytest.raises(CatalogueError, match=r"Is its server running"):
        open_database(found)
