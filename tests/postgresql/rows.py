"""Rows of the table `failures`, for tests of what a catalogue does with rows; and of `files`."""

from typing import Any

from n2s_core.catalogue.database import Database
from tests.conftest import Dataset


def note(db: Database, path: bytes, error: str = "why") -> None:
    with db.transaction():
        add(db, path, error)


def add(db: Database, path: bytes, error: str = "why") -> None:
    """In a transaction."""
    db.execute(
        "INSERT INTO failures (dataset_no, path, error, first_ns, last_ns) VALUES (1, ?, ?, 0, 0)",
        (path, error),
    )


def paths(db: Database) -> list[bytes]:
    return [row[0] for row in db.all("SELECT path FROM failures ORDER BY path")]


def paths_of(dataset: Dataset) -> list[tuple[Any, ...]]:
    """What is the same of versions wherever they are noted, in the order of the database."""
    with dataset.space() as space:
        return space.catalogue.db.all(
            "SELECT path, valid_from, valid_to, type, size, mtime_ns, mode, uid, user_name, inode,"
            " file_hash, blob_id, segments FROM files ORDER BY dataset_no, path, valid_from"
        )
