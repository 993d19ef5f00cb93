"""Promise: what a push asks for each path is found by an index of PostgreSQL."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.database import Database, Row
from n2s_core.catalogue.leases import Leases
from n2s_core.catalogue.pruning import Pruning
from n2s_core.catalogue.pushes import Pushes
from n2s_core.catalogue.queries import Queries
from n2s_core.catalogue_address import parse_address
from n2s_core.facts import Dataset as DatasetFacts
from n2s_core.model import LIVE
from n2s_core.relpath import Span
from tests.servers.postgresql import Postgresql

ROWS = 20_000
SORTS = re.compile(r"^\s*(->  )?Sort  \(", re.MULTILINE)


@pytest.fixture(scope="module")
def full(postgresql: Postgresql) -> Iterator[Catalogue]:
    """A catalogue with so many rows that an index is worth it."""
    found = parse_address(postgresql.url(), Path("/"))
    with Catalogue.create(found, store_id=b"s" * 16, store_url="file:/x") as made:
        made.add_dataset(b"d" * 16, "d")
        values: list[tuple[Any, ...]] = [
            (1, b"folder-%d/file-%d" % (number % 100, number), number) for number in range(ROWS)
        ]
        with made.db.transaction():
            made.db.execute_many(
                "INSERT INTO files (dataset_no, path, valid_from, valid_to, type, size, mtime_ns,"
                " ctime_ns, mode, uid, gid, inode, nlink, mount, object_no, record_offset,"
                " record_length, segments) VALUES"
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (dataset, path, 1, LIVE, 1, 1, 0, 0, 0, 0, 0, number,
                     1 + number % 2, b"", number, 0, 1, -1)
                    for dataset, path, number in values
                ],
            )  # fmt: skip
            made.pushes.add_objects(1, [])
            made.db.execute_many(
                "INSERT INTO objects (object_no, shelf, digest, size, changeset_no, confirmed_ns)"
                " VALUES (?, 'data', ?, 1, 1, 0)",
                [(number, b"%032d" % number) for number in range(ROWS)],
            )
        made.db.settle()
        yield made


class Explained:
    """A database that notes how each question would be answered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.plans: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        self._explain(statement, values)
        return self._db.one(statement, values)

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        self._explain(statement, values)
        return self._db.all(statement, values)

    def _explain(self, statement: str, values: Sequence[Any]) -> None:
        lines = self._db.all(f"EXPLAIN {statement}", values)
        self.plans.append("\n".join(row[0] for row in lines))


PATH = b"folder-5/file-105"
DATASET = DatasetFacts(1, b"", "", 1, 0, 0, None, None, 0, 0, None)
LOOKUPS: dict[str, Callable[[Database], Any]] = {
    "live": lambda db: next(Pushes(db).live(1, Span(PATH, None))),
    "span": lambda db: next(Pushes(db).live(1, Span(PATH, b"folder-6"))),
    "cut": lambda db: Pushes(db).cut(1, PATH, 10),
    "children": lambda db: next(Pushes(db).live_children(1, b"folder-5")),
    "one path": lambda db: Pushes(db).live_stat(1, PATH),
    "known": lambda db: Pushes(db).known(1, PATH),
    "linked": lambda db: Pushes(db).linked(1, inode=105, mount=b"", ctime_ns=0, size=1),
    "names": lambda db: Pushes(db).names_of(1, 105),
    "several names": lambda db: next(Pushes(db).with_several_names(1)),
    "stored": lambda db: next(Pushes(db).stored(1, Span(PATH, None), 1)),
    "history": lambda db: Queries(db).history(DATASET, PATH),
    "at": lambda db: Queries(db).at(1, 1, PATH),
    "object": lambda db: Queries(db).object_no(b"%032d" % 7),
    "versions": lambda db: next(Pruning(db, Leases(db)).versions()),
}


@pytest.mark.parametrize("what", LOOKUPS)
def test_what_is_asked_for_a_path_or_a_page_is_found_by_an_index(
    full: Catalogue, what: str
) -> None:
    noting: Any = Explained(full.db)
    LOOKUPS[what](noting)
    found = "\n".join(noting.plans)
    assert "Seq Scan" not in found, found
    assert re.search(r"Index (Only )?Scan", found), found
    assert what in {"history", "span"} or not SORTS.search(found), found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE files SET valid_to = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?",
        "DELETE FROM files WHERE dataset_no = ? AND path = ? AND valid_from = ?",
    ],
)
def test_what_is_replaced_or_removed_is_found_by_an_index(full: Catalogue, statement: str) -> None:
    values = (2, 1, PATH, LIVE) if "UPDATE" in statement else (1, PATH, 1)
    rows = full.db.all(f"EXPLAIN {statement}", values)
    assert "files_key" in "\n".join(row[0] for row in rows)
