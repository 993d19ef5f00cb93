"""Promise: a copy of a catalogue has every row of it, to the byte, or it is no catalogue."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from n2s_core.catalogue import copying, schema
from n2s_core.catalogue import postgresql_connection as connecting
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.database import open_database
from n2s_core.catalogue_address import CatalogueAddress, parse_address
from n2s_core.errors import CatalogueError, LeaseHeld, Outgrown, Unfit
from n2s_core.model import Progress
from tests.catalogue_rows import contents
from tests.conftest import environment, quiet
from tests.kept_catalogues import load, rows
from tests.servers.postgresql import Postgresql

POINTS = (
    ("copy-begun", "file"),
    ("copy-table:1", "server"),
    ("copy-table:8", "file"),
    ("copy-table:20", "server"),
    ("copy-unfinished", "file"),
    ("copy-unfinished", "server"),
    ("copy-finished", "file"),
    ("copy-moved", "file"),
    ("copy-moved", "server"),
)
OWN = frozenset({"leases", "properties", "alembic_version"})


def make(path: Path) -> Path:
    Catalogue.create(path, store_id=b"s" * 16, store_url="file:/x").close()
    return path


def fill(path: Path, found: dict[str, list[tuple[Any, ...]]]) -> None:
    with sqlite3.connect(path) as db:
        for name, lines in found.items():
            marks = ", ".join("?" * len(schema.TABLES.tables[name].columns))
            db.executemany(f"INSERT INTO {name} VALUES ({marks})", lines)  # noqa: S608 - declared
    db.close()


def content(path: Path) -> dict[str, Any]:
    """All rows, but for what belongs to one catalogue alone."""
    found: dict[str, Any] = rows(path)
    found["properties"] = {
        name: value for name, value in found["properties"] if name not in copying.OWN_PROPERTIES
    }
    found.pop("leases")
    return found


def copy(source: CatalogueAddress, target: CatalogueAddress, *, moving: bool = False) -> Any:
    return copying.copy(source, target, moving=moving, report=quiet)


@pytest.fixture(name="source")
def catalogue_with_rows(tmp_path: Path) -> Path:
    """One that was in use."""
    path = load(1, tmp_path / "source.db")
    from n2s_core.catalogue.upgrading import upgrade  # noqa: PLC0415 - for this one

    upgrade(path)
    return path


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=contents(without=OWN))
def test_from_a_file_to_a_server_and_back_nothing_changes(
    found: dict[str, list[tuple[Any, ...]]], postgresql: Postgresql, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    first, second, last = (
        make(folder / "1.db"),
        parse_address(postgresql.url(), folder),
        folder / "2",
    )
    fill(first, found)
    done = copy(first, second)
    assert {name: done.rows[name] for name in found} == {
        name: len(lines) for name, lines in found.items()
    }
    assert copy(second, last).rows == done.rows
    assert content(last) == content(first)


def test_a_copy_is_a_catalogue_with_another_name_and_without_leases(
    source: Path, tmp_path: Path
) -> None:
    with Catalogue(source) as catalogue:
        before = catalogue.leases.acquire(1)
        catalogue.leases.release(before)
    target = tmp_path / "target.db"
    copy(source, target)
    assert content(target) == content(source)
    assert rows(target)["leases"] == []
    names = [dict(rows(path)["properties"])["incarnation"] for path in (source, target)]
    assert names[0] != names[1]
    assert target.stat().st_mode & 0o777 == 0o600
    with Catalogue(target) as catalogue, Catalogue(source):
        catalogue.leases.acquire(1)


def test_a_table_of_many_pages_is_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Progress] = []
    monkeypatch.setattr(copying, "AT_ONCE", 3)
    copying.copy(source, tmp_path / "rows.db", moving=False, report=heard.append)
    monkeypatch.setattr(copying, "BYTES_AT_ONCE", 200)
    copying.copy(source, tmp_path / "bytes.db", moving=False, report=heard.append)
    assert content(tmp_path / "rows.db") == content(tmp_path / "bytes.db") == content(source)
    files = len(rows(source)["files"])
    assert {one.files for one in heard if one.what == "copying files"} >= {3, files}


def test_texts_with_nul_get_another_character_on_a_server_and_are_counted(
    source: Path, postgresql: Postgresql, tmp_path: Path
) -> None:
    with sqlite3.connect(source) as db:
        db.execute("UPDATE files SET user_name = 'a' || char(0) || 'b' WHERE path = X'FFFE'")
        changed = db.execute("SELECT count(*) FROM files WHERE path = X'FFFE'").fetchone()[0]
    db.close()
    assert changed
    assert copy(source, tmp_path / "file.db").changed_texts == 0
    assert content(tmp_path / "file.db") == content(source)
    target = parse_address(postgresql.url(), tmp_path)
    assert copy(source, target).changed_texts == changed
    with open_database(target) as copied:
        found = copied.all("SELECT user_name FROM files WHERE path = ?", (b"\xff\xfe",))
    assert set(found) == {("a\N{REPLACEMENT CHARACTER}b",)}


@pytest.mark.parametrize(("point", "kind"), POINTS)
def test_a_copy_that_is_killed_is_none_or_whole(
    point: str, kind: str, source: Path, postgresql: Postgresql, tmp_path: Path
) -> None:
    before = content(source)
    where = str(tmp_path / "target.db") if kind == "file" else postgresql.url()
    target = parse_address(where, tmp_path)
    code = (
        "import sys; from pathlib import Path; from n2s_core.catalogue.copying import copy\n"
        "from n2s_core.catalogue_address import parse_address\n"
        "copy(*(parse_address(one, Path()) for one in sys.argv[1:]), moving=True,"
        " report=lambda _: None)"
    )
    command = [sys.executable, "-c", code, str(source), where]
    done = subprocess.run(command, env=environment(N2S_CRASH_AT=point), check=False)
    assert done.returncode == -signal.SIGKILL
    if point == "copy-moved":
        with pytest.raises(Unfit, match="was moved to"):
            Catalogue(source)
    else:
        Catalogue(source).close()
        assert content(source) == before
    if point in {"copy-finished", "copy-moved"}:
        with pytest.raises(CatalogueError, match="already"):
            copy(source if point == "copy-finished" else target, target)
    else:
        with pytest.raises(CatalogueError, match="no whole catalogue"):
            Catalogue(target)
        copy(source, target)
    Catalogue(target).close()
    copy(target, tmp_path / "back.db")
    assert content(tmp_path / "back.db") == before


def test_what_the_target_cannot_take_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: object, what: str, count: int) -> None:
        if what.startswith("comparing files"):
            message = "The disk is full."
            raise CatalogueError(message)

    monkeypatch.setattr(copying._Copy, "_tick", refused)
    with pytest.raises(CatalogueError, match="disk is full"):
        copy(source, tmp_path / "target.db", moving=True)
    assert list(tmp_path.glob("target*")) == []
    Catalogue(source).close()


def test_a_row_that_comes_out_otherwise_is_found(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copying._Rows.of

    def lying(self: Any, db: Any) -> Iterator[Any]:
        for row, length in real(self, db):
            held = (*row[:-1], b"other") if "FROM segments" in self.select else row
            yield held, length

    monkeypatch.setattr(copying._Rows, "of", lying)
    with pytest.raises(CatalogueError, match=r"table segments of the copy .* is not what was"):
        copy(source, tmp_path / "target.db")
    assert not (tmp_path / "target.db").exists()


@pytest.mark.parametrize("kind", ["file", "server"])
def test_what_is_at_the_target_already_stays(
    kind: str, source: Path, postgresql: Postgresql, tmp_path: Path
) -> None:
    where = str(tmp_path / "target.db") if kind == "file" else postgresql.url()
    target = parse_address(where, tmp_path)
    Catalogue.create(target, store_id=b"t" * 16, store_url="file:/y").close()
    with pytest.raises(CatalogueError, match=r"There is a catalogue at .* already"):
        copy(source, target)
    with Catalogue(target) as catalogue:
        assert catalogue.store_id == b"t" * 16
    with pytest.raises(CatalogueError, match="already"):
        copy(target, target)


def test_who_was_faster_at_the_target_keeps_what_is_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_clear", make)
    with pytest.raises(CatalogueError, match=r"There is a catalogue at .* already"):
        copy(source, tmp_path / "target.db")
    with Catalogue(tmp_path / "target.db") as catalogue:
        assert catalogue.store_id == b"s" * 16


@pytest.mark.parametrize(
    "script", ["CREATE TABLE mine (a)", "CREATE TABLE properties (name, value)"]
)
def test_a_file_that_is_no_catalogue_stays(script: str, source: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mine.db") as db:
        db.execute(script)
    db.close()
    (tmp_path / "text").write_text("mine\n" * 1000)
    for name in ("mine.db", "text"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(CatalogueError):
            copy(source, tmp_path / name)
        assert (tmp_path / name).read_bytes()[100:] == before[100:]


def test_an_empty_file_is_no_hindrance(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target.db").touch(mode=0o644)
    copy(source, tmp_path / "target.db")
    assert content(tmp_path / "target.db") == content(source)


@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_copied_while_somebody_has_a_lease(
    number: int, source: Path, tmp_path: Path
) -> None:
    with Catalogue(source) as other:
        lease = other.leases.acquire(number)
        with pytest.raises(LeaseHeld, match="is running"):
            copy(source, tmp_path / "target.db")
        assert not (tmp_path / "target.db").exists()
        other.leases.release(lease)
        copy(source, tmp_path / "target.db")


def test_nobody_gets_a_lease_or_writes_while_it_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("n2s_core.catalogue.database_sqlite.BUSY_S", 0.05)
    tried: list[object] = []

    def meanwhile(_: Progress) -> None:
        if not tried:
            with Catalogue(source) as other, pytest.raises(CatalogueError, match="holds it") as one:
                other.remember_key(b"d" * 32, b"key")
            tried.append(one)

    copying.copy(source, tmp_path / "target.db", moving=False, report=meanwhile)
    assert tried
    assert content(tmp_path / "target.db") == content(source)


@pytest.mark.parametrize("kind", ["file", "server"])
def test_who_had_opened_a_catalogue_that_was_moved_gets_no_lease(
    kind: str, source: Path, postgresql: Postgresql, tmp_path: Path
) -> None:
    first: CatalogueAddress = source
    if kind == "server":
        first = parse_address(postgresql.url(), tmp_path)
        copy(source, first)
    target = tmp_path / "target.db"
    with Catalogue(first) as late:
        copy(first, target, moving=True)
        for take in (late.pruning.acquire, lambda: late.leases.acquire(1)):
            with pytest.raises(Unfit, match=rf"was moved to {target} \(a file on "):
                take()
    for again in (Catalogue, lambda at: copy(at, tmp_path / "third.db")):
        with pytest.raises(Unfit, match="was moved"):
            again(first)
    with Catalogue(target) as catalogue:
        catalogue.leases.acquire(1)


def test_a_server_does_not_take_a_slow_copy_for_one_that_is_gone(
    source: Path, postgresql: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = parse_address(postgresql.url(), tmp_path)
    copy(source, first)
    monkeypatch.setattr(connecting, "SILENT_S", 0.75)
    connecting.close_idle(first)  # type: ignore[arg-type]

    def slow(progress: Progress) -> None:
        if progress.what == "copying files":
            time.sleep(2.5)

    def slow_copy() -> None:
        copying.copy(first, tmp_path / "target.db", moving=True, report=slow)

    with pytest.raises(CatalogueError, match="idle-in-transaction"):
        slow_copy()
    assert not (tmp_path / "target.db").exists()
    Catalogue(first).close()
    monkeypatch.setattr(copying, "ASKED_EVERY_S", 0.1)
    slow_copy()
    assert content(tmp_path / "target.db") == content(source)


def test_a_catalogue_of_an_older_version_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(Outgrown, match="catalogue upgrade"):
        copy(load(1, tmp_path / "old.db"), tmp_path / "target.db")
    assert not (tmp_path / "target.db").exists()


def test_memory_does_not_follow_the_rows(source: Path, tmp_path: Path) -> None:
    with sqlite3.connect(source) as db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16384)"
            " INSERT INTO pending_entries SELECT 900, i, NULL, 1, NULL, randomblob(4096) FROM n"
        )
    db.close()
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from n2s_core.catalogue import copying, database_sqlite\n"
        "copying.BYTES_AT_ONCE, database_sqlite.CACHE_KIB = 1 << 20, 1 << 10\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "copying.copy(Path(sys.argv[1]), Path(sys.argv[2]), moving=False, report=lambda _: None)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path / "target.db")],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    size = os.stat(tmp_path / "target.db").st_size
    assert size > 64 << 20
    assert int(done.stdout) < size // 2
