"""What is known of how far the feeds of discoverers can be trusted."""

from n2s_core.catalogue.database import Database
from n2s_core.relpath import ROOT, RelPath

MOST_DOUBTED = 10_000


class Audits:
    """The tables `audits` and `doubted`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def position(self, dataset_no: int) -> RelPath:
        """Where the next audit begins."""
        row = self._db.one("SELECT position FROM audits WHERE dataset_no = ?", (dataset_no,))
        return ROOT if row is None else bytes(row[0])

    def counts(self, dataset_no: int) -> tuple[int, int]:
        """Paths that were looked at by all audits, and those that a feed had missed."""
        row = self._db.one("SELECT looked, missed FROM audits WHERE dataset_no = ?", (dataset_no,))
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def note(
        self, dataset_no: int, position: RelPath, *, looked: int, missed: list[RelPath]
    ) -> None:
        """Add the result of an audit; the next one begins at `position`. In a transaction."""
        self._db.execute(
            "INSERT INTO audits (dataset_no, position, looked, missed) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (dataset_no) DO UPDATE SET position = excluded.position,"
            " looked = audits.looked + excluded.looked, missed = audits.missed + excluded.missed",
            (dataset_no, position, looked, len(missed)),
        )
        self._db.execute_many(
            "INSERT INTO doubted (dataset_no, path) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(dataset_no, path) for path in missed[:MOST_DOUBTED]],
        )

    def doubted(self, dataset_no: int) -> list[RelPath]:
        """Paths that a feed missed once; they are looked at each time."""
        rows = self._db.all(
            "SELECT path FROM doubted WHERE dataset_no = ? ORDER BY path LIMIT ?",
            (dataset_no, MOST_DOUBTED),
        )
        return [bytes(row[0]) for row in rows]
