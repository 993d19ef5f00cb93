"""What remotes owe: objects that the store took although one of its remotes did not."""

from collections.abc import Collection, Iterable, Iterator

from n2s_core.catalogue.database import Database
from n2s_core.clock import now_ns
from n2s_core.facts import RemoteFacts
from n2s_core.model import Debt

PAGE = 1000


class Debts:
    """The tables `debts` and `remotes`.

    A confirmed object that no debt names is on every remote that should have it, as far as pushes
    and verifies know.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, debts: Iterable[Debt]) -> None:
        """Note that these are owed; one that is known keeps its date. In a transaction."""
        now = now_ns()
        self._db.execute_many(
            "INSERT INTO debts (remote, name, since_ns, error) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (remote, name) DO UPDATE SET error = excluded.error",
            [(one.remote, one.name, now, one.error) for one in debts],
        )

    def note(self, debts: Collection[Debt]) -> None:
        """Add them, on the disk when this returns."""
        if debts:
            with self._db.transaction(durable=True):
                self.add(debts)

    def settle(self, name: str, remotes: Iterable[str], open_debts: Collection[Debt] = ()) -> None:
        """Forget that these remotes owe an object, but for what `open_debts` say."""
        with self._db.transaction():
            self._db.execute_many(
                "DELETE FROM debts WHERE remote = ? AND name = ?",
                [(remote, name) for remote in remotes],
            )
            self.add(open_debts)

    def forget_remote(self, remote: str) -> None:
        """It does not belong to the store any more."""
        with self._db.transaction():
            self._db.execute("DELETE FROM debts WHERE remote = ?", (remote,))
            self._db.execute("DELETE FROM remotes WHERE name = ?", (remote,))

    def count(self) -> int:
        """How many are owed by all remotes together."""
        row = self._db.one("SELECT count(*) FROM debts")
        assert row is not None
        return int(row[0])

    def counts(self) -> dict[str, int]:
        """How many each remote owes; one that owes nothing is not named."""
        rows = self._db.all("SELECT remote, count(*) FROM debts GROUP BY remote")
        return {str(row[0]): int(row[1]) for row in rows}

    def first(self, count: int) -> list[Debt]:
        """The oldest debts."""
        rows = self._db.all(
            "SELECT remote, name, error FROM debts ORDER BY since_ns, remote, name LIMIT ?",
            (count,),
        )
        return [Debt(*row) for row in rows]

    def owed(
        self, remote: str | None = None, *, folder: str = ""
    ) -> Iterator[tuple[str, frozenset[str]]]:
        """Names of objects in order, each with the remotes that owe it.

        With `remote` only those that it owes, with `folder` those in it. Reads page by page, so
        debts may be settled meanwhile.
        """
        after = f"{folder}/" if folder else ""
        end = f"{folder}0" if folder else "~"  # the character behind the slash, and behind letters
        while True:
            rows = self._db.all(
                "SELECT DISTINCT name FROM debts WHERE name > ? AND name < ?"
                " AND (? IS NULL OR remote = ?) ORDER BY name LIMIT ?",
                (after, end, remote, remote, PAGE),
            )
            for (name,) in rows:
                found = self._db.all("SELECT remote FROM debts WHERE name = ?", (name,))
                if found:
                    yield str(name), frozenset(str(row[0]) for row in found)
            if len(rows) < PAGE:
                return
            after = str(rows[-1][0])

    def note_remotes(self, remotes: Iterable[RemoteFacts]) -> None:
        """Remember how remotes fared."""
        with self._db.transaction():
            self._db.execute_many(
                "INSERT INTO remotes (name, status, checked_ns, error, failures)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " status = excluded.status, checked_ns = excluded.checked_ns,"
                " error = excluded.error, failures = excluded.failures",
                list(remotes),
            )

    def remotes(self) -> dict[str, RemoteFacts]:
        """How each remote fared when it was last asked."""
        rows = self._db.all("SELECT name, status, checked_ns, error, failures FROM remotes")
        return {row[0]: RemoteFacts(*row) for row in rows}
