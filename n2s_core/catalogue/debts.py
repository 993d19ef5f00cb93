"""What remotes owe: objects that the store took although one of its remotes did not."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from n2s_core.catalogue.database import Database
from n2s_core.clock import now_ns
from n2s_core.facts import RemoteFacts
from n2s_core.model import Debt

PAGE = 1000
AWAY = "away_since:"
FORM = "form"
_BEHIND_AWAY = AWAY[:-1] + chr(ord(AWAY[-1]) + 1)


class Debts:
    """The tables `debts` and `remotes`, and two kinds of properties.

    `form` says how objects lie on the remotes, `away_since:NAME` since when a remote is away.

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
            self._db.execute("DELETE FROM properties WHERE name = ?", (AWAY + remote,))

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
                " AND remote = coalesce(?, remote) ORDER BY name LIMIT ?",
                (after, end, remote, PAGE),
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

    # -- since when a remote is away, and in which form objects lie --------------------------------

    def note_away(self, is_away: Mapping[str, bool]) -> None:
        """Remember since when remotes are away; the date stays until one is there again."""
        with self._db.transaction():
            self._db.execute_many(
                "INSERT INTO properties (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(AWAY + one, str(now_ns()).encode()) for one, away in is_away.items() if away],
            )
            self._db.execute_many(
                "DELETE FROM properties WHERE name = ?",
                [(AWAY + one,) for one, away in is_away.items() if not away],
            )

    def away_since(self) -> dict[str, int]:
        """Since when each remote that is away did not answer."""
        rows = self._db.all(
            "SELECT name, value FROM properties WHERE name >= ? AND name < ?", (AWAY, _BEHIND_AWAY)
        )
        return {str(name).removeprefix(AWAY): int(value) for name, value in rows}

    def form(self) -> str | None:
        """How objects lie on the remotes, or will when nothing is owed; None when not known."""
        row = self._db.one("SELECT value FROM properties WHERE name = ?", (FORM,))
        return None if row is None else bytes(row[0]).decode()

    def note_form(self, form: str) -> None:
        """Objects that lie otherwise are owed from now on."""
        with self._db.transaction(durable=True):
            self._db.execute(
                "INSERT INTO properties (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (FORM, form.encode()),
            )
