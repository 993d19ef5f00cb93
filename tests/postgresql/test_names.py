"""Promise: PostgreSQL keeps the names of all files, whatever they are."""

import random

import pytest

from n2s_core.catalogue.database import open_database
from n2s_core.catalogue_address import PostgresqlAddress
from n2s_core.errors import CatalogueError
from tests.postgresql.rows import note, paths


def test_texts_that_postgresql_cannot_hold_do_not_end_anything(address: PostgresqlAddress) -> None:
    with open_database(address) as db:
        note(db, b"a\nb\xff", "NUL \0 and half of a character \udcff")
        rows = [(1, b"%d" % number, "\0\udcff", 0, 0) for number in range(300)]
        with db.transaction():
            db.execute_many(
                "INSERT INTO failures (dataset_no, path, error, first_ns, last_ns)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )
        found = db.all("SELECT error FROM failures WHERE error <> 'why'")
        assert len(found) == 301
        assert not [text for (text,) in found if "\0" in text]


def test_paths_longer_than_an_entry_of_an_index_are_kept_apart_and_in_order(
    address: PostgresqlAddress,
) -> None:
    """Paths of bytes that cannot be compressed, whose beginnings are the same."""
    rng = random.Random(5)
    stem = rng.randbytes(5000).replace(b"\0", b"x")
    wanted = [stem[:length] for length in (1, 2047, 2048, 2049, 5000)]
    wanted += [stem + rng.randbytes(30) for _ in range(50)] + [stem[:2048] + b"\0", b"\xff" * 9000]
    with open_database(address) as db:
        for path in rng.sample(wanted, len(wanted)):
            note(db, path)
        assert paths(db) == sorted([b"first", *wanted])
        for path in wanted:
            assert db.one("SELECT path FROM failures WHERE path = ?", (path,)) == (path,)
            after = db.all("SELECT path FROM failures WHERE path >= ? ORDER BY path", (path,))
            assert [row[0] for row in after] == [one for one in sorted([b"first", *wanted])
                                                 if one >= path]  # fmt: skip
            before = db.all("SELECT path FROM failures WHERE path < ?", (path,))
            assert {row[0] for row in before} == {one for one in [b"first", *wanted] if one < path}
        with pytest.raises(CatalogueError, match="duplicate"):
            note(db, wanted[-1])


def test_of_rows_with_one_key_that_come_together_the_last_counts(
    address: PostgresqlAddress,
) -> None:
    statement = (
        "INSERT INTO failures (dataset_no, path, error, first_ns, last_ns) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (dataset_no, path) DO UPDATE SET error = excluded.error"
    )
    with open_database(address) as db:
        for count in (3, 3000):
            rows = [(1, b"%d" % (number % 50), str(number), 0, 0) for number in range(count)]
            with db.transaction():
                db.execute_many(statement, rows)
            found = db.one("SELECT error FROM failures WHERE path = ?", (b"1",))
            assert found == (str(max(n for n in range(count) if n % 50 == 1)),)
        assert len(paths(db)) == 51
