"""What is known of how far the feeds of discoverers can be trusted, and what they cannot know."""

from collections.abc import Iterable, Iterator

from n2s_core.catalogue.database import Database
from n2s_core.model import LIVE, LOST, UNSURE
from n2s_core.relpath import ROOT, RelPath

PAGE = 5000


class Audits:
    """The tables `audits` and `doubted`.

    Doubted paths are looked at by each push whatever its feed says: for ever, when a feed missed
    them once; until they are stored again, when what is stored of them is lost or not certain.
    """

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
        self.doubt(dataset_no, missed, lasting=True)

    def doubt(self, dataset_no: int, paths: Iterable[RelPath], *, lasting: bool) -> None:
        """Have these paths looked at by each push. In a transaction."""
        self._db.execute_many(
            "INSERT INTO doubted (dataset_no, path, lasting) VALUES (?, ?, ?)"
            " ON CONFLICT (dataset_no, path) DO UPDATE SET"
            " lasting = CASE WHEN excluded.lasting = 1 THEN 1 ELSE doubted.lasting END",
            ((dataset_no, path, int(lasting)) for path in paths),
        )

    def settle(self, dataset_no: int) -> None:
        """Forget those that are stored, and certain, now. In a transaction."""
        self._db.execute(
            "DELETE FROM doubted WHERE dataset_no = ? AND lasting = 0 AND NOT EXISTS"
            " (SELECT 1 FROM files f WHERE f.dataset_no = doubted.dataset_no"
            " AND f.path = doubted.path AND f.valid_to = ? AND f.ctime_ns IN (?, ?))",
            (dataset_no, LIVE, UNSURE, LOST),
        )

    def doubted(self, dataset_no: int) -> Iterator[list[RelPath]]:
        """Pages of paths in byte order."""
        first = ROOT
        while True:
            rows = self._db.all(
                "SELECT path FROM doubted WHERE dataset_no = ? AND path >= ? ORDER BY path LIMIT ?",
                (dataset_no, first, PAGE),
            )
            page = [bytes(row[0]) for row in rows]
            yield page
            if len(page) < PAGE:
                return
            first = page[-1] + b"\0"
