"""Promise: what a push asks for each path is found by an index, however many rows there are."""

from pathlib import Path

import pytest

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.errors import CatalogueError


class Statements(list[str]):
    """Notes the statements that a connection runs."""


@pytest.fixture(name="catalogue")
def empty_catalogue(tmp_path: Path) -> Catalogue:
    """A new catalogue with one dataset."""
    catalogue = Catalogue.create(tmp_path / "c.db", store_id=b"s" * 16, store_url="file:/x")
    catalogue.add_dataset(b"d" * 16, "d")
    return catalogue


def plan(catalogue: Catalogue, statement: str) -> str:
    """How SQLite would find the rows."""
    marks = statement.count("?")
    rows = catalogue.db.all(f"EXPLAIN QUERY PLAN {statement}", (1,) * marks)
    return " | ".join(str(row[-1]) for row in rows)


def ran(catalogue: Catalogue) -> Statements:
    """The statements that the lookups of a push run, each of them run once."""
    found = Statements()
    real = catalogue.db.one

    def noting(statement: str, values: tuple[object, ...] = ()) -> object:
        found.append(statement)
        return real(statement, values)

    catalogue.db.one = noting  # type: ignore[method-assign, assignment]
    asked = catalogue.pushes
    asked.linked(1, inode=5, mount=b"", ctime_ns=1, size=1)
    asked.known(1, b"a")
    asked.live_stat(1, b"a")
    asked.find_content(2, b"h")
    with pytest.raises(CatalogueError, match="object 7"):
        asked.digest_of(7)
    return found


def test_every_lookup_of_one_path_is_a_search_by_all_its_keys(catalogue: Catalogue) -> None:
    for statement in ran(catalogue):
        found = plan(catalogue, statement)
        assert "SCAN" not in found, (statement, found)
        if "inode = ?" in statement:
            assert "files_links (inode=?" in found
        elif "FROM files" in statement:
            assert "dataset_no=? AND path=?" in found


def test_names_of_files_with_several_names_are_found_by_the_index_of_links(
    catalogue: Catalogue,
) -> None:
    found = Statements()
    real = catalogue.db.all

    def noting(statement: str, values: tuple[object, ...] = ()) -> object:
        found.append(statement)
        return real(statement, values)

    catalogue.db.all = noting  # type: ignore[method-assign, assignment]
    assert list(catalogue.pushes.with_several_names(1)) == [[]]
    assert catalogue.pushes.names_of(1, 5) == []
    catalogue.db.all = real  # type: ignore[method-assign]
    assert len(found) == 2
    for statement in found:
        assert "files_links (inode" in plan(catalogue, statement)


def test_a_page_of_live_rows_starts_at_its_path(catalogue: Catalogue) -> None:
    statement = (
        "SELECT path FROM files WHERE dataset_no = ? AND path >= ? AND valid_to = ?"
        " ORDER BY path LIMIT ?"
    )
    found = plan(catalogue, statement)
    assert "dataset_no=? AND path>?" in found
    assert "TEMP B-TREE" not in found


def test_removing_and_replacing_rows_search_by_path(catalogue: Catalogue) -> None:
    for statement in (
        "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?",
        "DELETE FROM files WHERE dataset_no = ? AND path = ? AND valid_from = ?",
        "SELECT 1 FROM segments WHERE blob_id = ?",
        "SELECT 1 FROM objects WHERE digest = ?",
        "SELECT 1 FROM pending_entries WHERE changeset_no = ?",
        "SELECT 1 FROM failures WHERE dataset_no = ? ORDER BY path",
    ):
        found = plan(catalogue, statement)
        assert "SCAN" not in found, (statement, found)
