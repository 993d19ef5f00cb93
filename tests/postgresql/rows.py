"""Rows of the table `failures`, for tests of what a catalogue does with rows."""

from n2s_core.catalogue.database import Database


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
