"""Promise: a catalogue of every earlier version becomes one of this version, or stays as it was."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from n2s_core.catalogue import migrations, schema, upgrading
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.database import open_database
from n2s_core.catalogue.holding import Held
from n2s_core.catalogue.versions import VERSION
from n2s_core.catalogue_address import CatalogueAddress, PostgresqlAddress, parse_address
from n2s_core.errors import CatalogueError, LeaseHeld, Outgrown, Unfit
from tests.conftest import environment
from tests.kept_catalogues import VERSIONS, load, rows, shape
from tests.servers.postgresql import Postgresql

OLDER = [version for version in VERSIONS if version < VERSION]
POINTS = ("upgrade-step", "upgrade-uncommitted", "upgraded")


@pytest.fixture(name="on_server")
def catalogue_on_a_server(postgresql: Postgresql, tmp_path: Path) -> PostgresqlAddress:
    """One that this version made, and that says that it is of version 1."""
    address = parse_address(postgresql.url(), tmp_path)
    assert isinstance(address, PostgresqlAddress)
    with Catalogue.create(address, store_id=b"s" * 16, store_url="file:/x") as catalogue:
        catalogue.add_dataset(b"d" * 16, "d")
    with open_database(address) as db, db.transaction():
        db.execute("DROP TABLE alembic_version")
        db.execute("UPDATE properties SET value = ? WHERE name = 'schema_version'", (b"1",))
    return address


@pytest.fixture(name="new")
def new_catalogue(tmp_path: Path) -> Path:
    """A catalogue that this version made."""
    path = tmp_path / "new.db"
    Catalogue.create(path, store_id=b"s" * 16, store_url="file:/x").close()
    return path


def set_property(path: Path, name: str, value: bytes) -> None:
    with sqlite3.connect(path) as db:
        db.execute("INSERT OR REPLACE INTO properties (name, value) VALUES (?, ?)", (name, value))
    db.close()


def upgrade_killed(address: CatalogueAddress, point: str) -> None:
    code = (
        "import sys; from pathlib import Path; from n2s_core.catalogue.upgrading import upgrade\n"
        "from n2s_core.catalogue_address import parse_address\n"
        "upgrade(parse_address(sys.argv[1], Path()))"
    )
    command = [sys.executable, "-c", code, str(address)]
    done = subprocess.run(command, env=environment(N2S_CRASH_AT=point), check=False)
    assert done.returncode == -signal.SIGKILL


def shape_on(address: PostgresqlAddress) -> dict[str, Any]:
    """As `shape`, of a schema."""
    questions = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default,"
        " collation_name FROM information_schema.columns WHERE table_schema = ? ORDER BY 1, 2",
        "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = ? ORDER BY 1",
        "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = ? ORDER BY 1",
    }
    with open_database(address) as db:
        return {what: db.all(one, (address.schema,)) for what, one in questions.items()}


def test_every_version_below_this_one_is_kept() -> None:
    assert list(range(1, VERSION)) == OLDER


def test_each_version_has_one_revision_and_the_last_is_this_one() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    revisions = [one.revision for one in scripts.walk_revisions()]
    assert revisions == [f"{version:04}" for version in range(VERSION, 0, -1)]


@pytest.mark.filterwarnings("ignore:.*expression-based index")
@pytest.mark.parametrize("version", OLDER)
def test_an_upgraded_catalogue_has_the_shape_of_a_new_one(
    version: int, tmp_path: Path, new: Path
) -> None:
    path = load(version, tmp_path / "old.db")
    assert upgrading.upgrade(path).was == version
    assert shape(path) == shape(new)
    with upgrading.engine_of(path).connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_heads() == (f"{VERSION:04}",)
        found = compare_metadata(context, schema.TABLES)
    assert [one for one in found if getattr(one[1], "name", "") != "alembic_version"] == []


def test_the_migrations_alone_make_a_catalogue_of_the_same_shape(tmp_path: Path, new: Path) -> None:
    path = tmp_path / "made.db"
    with upgrading.engine_of(path).begin() as connection:
        upgrading.migrate(connection, 0)
    assert shape(path) == shape(new)


def test_the_first_revision_makes_what_the_kept_first_catalogue_has(tmp_path: Path) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    first = scripts.get_revision("0001").module
    path = tmp_path / "made.db"
    with upgrading.engine_of(path).begin() as connection:
        first.TABLES.create_all(connection)
    assert shape(path) == shape(load(1, tmp_path / "kept.db"))


@pytest.mark.parametrize("version", OLDER)
def test_no_row_is_lost_or_changed(version: int, tmp_path: Path) -> None:
    path = load(version, tmp_path / "old.db")
    before = rows(path)
    upgrading.upgrade(path)
    after = rows(path)
    own = {"properties", "leases", "alembic_version"}
    assert before["files"] != []
    assert {name: after[name] for name in before.keys() - own} == {
        name: found for name, found in before.items() if name not in own
    }
    assert {row[0] for row in before["properties"]} < {row[0] for row in after["properties"]}


def test_a_new_catalogue_says_its_version_to_alembic_too(new: Path) -> None:
    assert rows(new)["alembic_version"] == [(f"{VERSION:04}",)]


def test_an_upgrade_of_the_present_version_does_nothing(new: Path) -> None:
    before = new.read_bytes()
    assert upgrading.upgrade(new) == (VERSION, ())
    assert new.read_bytes() == before


def test_a_dry_run_tells_the_steps_and_changes_nothing(tmp_path: Path) -> None:
    path = load(1, tmp_path / "old.db")
    before = rows(path)
    found = upgrading.upgrade(path, dry_run=True)
    assert [step.version for step in found.steps] == list(range(2, VERSION + 1))
    assert all(step.what.endswith(".") for step in found.steps)
    assert rows(path) == before


def test_each_making_of_a_catalogue_has_another_name(tmp_path: Path, new: Path) -> None:
    found = set()
    for number in range(2):
        path = load(1, tmp_path / f"old{number}.db")
        upgrading.upgrade(path)
        found.add(dict(rows(path)["properties"])["incarnation"])
    found.add(dict(rows(new)["properties"])["incarnation"])
    assert len(found) == 3


@pytest.mark.parametrize("version", OLDER)
@pytest.mark.parametrize("point", POINTS)
def test_an_upgrade_that_is_killed_leaves_the_old_catalogue_or_the_new_one(
    version: int, point: str, tmp_path: Path
) -> None:
    path = load(version, tmp_path / "old.db")
    before = rows(path)
    upgrade_killed(path, point)
    if point == "upgraded":
        assert upgrading.upgrade(path).was == VERSION
    else:
        assert {name: found for name, found in rows(path).items() if name != "leases"} == {
            name: found for name, found in before.items() if name != "leases"
        }
        assert upgrading.upgrade(path).was == version
    Catalogue(path).close()


def test_what_the_database_refuses_leaves_the_old_catalogue(tmp_path: Path) -> None:
    path = load(1, tmp_path / "old.db")
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON properties BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    db.close()
    before = rows(path)["properties"]
    with pytest.raises(CatalogueError, match=r"cannot be upgraded: .*It is as it was"):
        upgrading.upgrade(path)
    assert "alembic_version" not in rows(path)
    assert rows(path)["properties"] == before
    assert {row[1] for row in rows(path)["leases"]} == {""}


@pytest.mark.parametrize("dataset_no", [0, 1])
def test_nothing_is_upgraded_while_somebody_has_a_lease(dataset_no: int, tmp_path: Path) -> None:
    path = load(1, tmp_path / "old.db")
    with open_database(path) as db, Held(db):
        with pytest.raises(LeaseHeld, match="is running"):
            upgrading.upgrade(path)
        db.execute("DELETE FROM leases WHERE dataset_no = ?", (1 - dataset_no,))
        with pytest.raises(LeaseHeld, match="is running"):
            upgrading.upgrade(path)
    assert "alembic_version" not in rows(path)


def test_who_holds_all_leases_gives_back_those_it_had_when_one_is_taken(new: Path) -> None:
    with Catalogue(new) as one, Catalogue(new) as other:
        taken = one.leases.acquire(one.add_dataset(b"d" * 16, "d").dataset_no)
        with pytest.raises(LeaseHeld), Held(other.db):
            pass
        one.leases.release(taken)
        one.pruning.acquire()
        with pytest.raises(LeaseHeld, match="prune or a rebuild"), Held(other.db):
            pass


def test_an_older_catalogue_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    path = load(1, tmp_path / "old.db")
    with pytest.raises(Outgrown, match=r"is of version 1, .* Run 'n2s catalogue upgrade'"):
        Catalogue(path)


def test_a_newer_catalogue_is_left_alone(new: Path) -> None:
    set_property(new, "schema_version", str(VERSION + 1).encode())
    for use in (Catalogue, upgrading.upgrade):
        with pytest.raises(Unfit, match=r"knows none above.*install that one here, or a newer"):
            use(new)


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"9" * 5000, b"1\xff"])
def test_a_version_that_is_none_is_damage(new: Path, value: bytes) -> None:
    set_property(new, "schema_version", value)
    for use in (Catalogue, upgrading.upgrade):
        with pytest.raises(CatalogueError, match="damaged"):
            use(new)


def test_a_catalogue_without_version_is_not_whole(new: Path) -> None:
    with sqlite3.connect(new) as db:
        db.execute("DELETE FROM properties")
    db.close()
    with pytest.raises(CatalogueError, match="no whole catalogue"):
        Catalogue(new)


def test_a_catalogue_that_was_moved_says_where_it_is(new: Path) -> None:
    set_property(new, "moved_to", os.fsencode("/srv/other \udcff.db"))
    for use in (Catalogue, upgrading.upgrade):
        with pytest.raises(Unfit, match=r"was moved to /srv/other .*\[catalogue\] url"):
            use(new)


@pytest.mark.parametrize(
    ("name", "value"), [("schema_version", str(VERSION + 1).encode()), ("moved_to", b"/srv/other")]
)
def test_who_had_opened_it_before_gets_no_lease_afterwards(
    new: Path, name: str, value: bytes
) -> None:
    with Catalogue(new) as catalogue:
        number = catalogue.add_dataset(b"d" * 16, "d").dataset_no
        set_property(new, name, value)
        with pytest.raises(Unfit):
            catalogue.leases.acquire(number)
        with pytest.raises(Unfit):
            catalogue.pruning.acquire()


def test_one_on_a_server_is_upgraded_to_the_shape_of_a_new_one(
    on_server: PostgresqlAddress, postgresql: Postgresql, tmp_path: Path
) -> None:
    with pytest.raises(Outgrown, match="catalogue upgrade"):
        Catalogue(on_server)
    assert upgrading.upgrade(on_server).was == 1
    with Catalogue(on_server) as catalogue:
        assert [one.name for one in catalogue.datasets()] == ["d"]
        catalogue.leases.acquire(1)
        catalogue.pruning.acquire()
    new = on_server.with_schema("new_one")
    Catalogue.create(new, store_id=b"s" * 16, store_url="file:/x").close()
    texts = [repr(shape_on(one)).replace(one.schema, "SCHEMA") for one in (on_server, new)]
    assert "files_key" in texts[0]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("point", POINTS)
def test_an_upgrade_on_a_server_that_is_killed_leaves_the_old_one_or_the_new_one(
    point: str, on_server: PostgresqlAddress
) -> None:
    upgrade_killed(on_server, point)
    assert upgrading.upgrade(on_server).was == (VERSION if point == "upgraded" else 1)
    Catalogue(on_server).close()


def test_who_had_opened_one_on_a_server_before_an_upgrade_writes_nothing_more(
    on_server: PostgresqlAddress,
) -> None:
    with open_database(on_server) as late:
        upgrading.upgrade(on_server)
        with pytest.raises(CatalogueError, match="was replaced"), late.transaction():
            pass


def test_nothing_on_a_server_is_upgraded_while_somebody_has_a_lease(
    on_server: PostgresqlAddress,
) -> None:
    with open_database(on_server) as db, Held(db), pytest.raises(LeaseHeld, match="is running"):
        upgrading.upgrade(on_server)
    assert upgrading.upgrade(on_server).was == 1
