"""How changesets stand: forgotten, pinned, tagged; and the verdicts that the store gets of it."""

import json
from collections.abc import Callable, Iterable, Mapping

from n2s_core.catalogue.database import Database, Row
from n2s_core.catalogue.pushes import Pushes
from n2s_core.errors import UsageError
from n2s_core.facts import Changeset, Dataset
from n2s_core.layout import Shelf
from n2s_core.model import ObjectRow
from n2s_core.moves import StoredAnnouncement
from n2s_core.verdicts import KEPT, Standing, StoredVerdict, Verdict

Decide = Callable[[int], Verdict | None]
Seal = Callable[[Verdict], tuple[bytes, bytes]]
NEW_VERDICT = (
    "INSERT INTO verdicts (verdict_no, dataset_no, made_ns, digest, bytes, sent)"
    " SELECT coalesce(max(verdict_no), 0) + 1, ?, ?, ?, ?, ? FROM verdicts"
)
_COLUMNS = "s.changeset_no, s.forgotten_ns, s.marked_ns, s.swept, s.pinned, s.tags"


class Verdicts:
    """The tables `verdicts` and `standings`.

    A verdict and what follows from it are written at once, with the bytes of its object, which the
    store gets afterwards, and once more when it lost them.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def standings(self, dataset_no: int) -> dict[int, Standing]:
        """How the changesets of a dataset stand, by changeset_no; those without a word are kept."""
        rows = self._db.all(
            f"SELECT {_COLUMNS} FROM standings s JOIN changesets c"  # noqa: S608 - only constants
            " ON c.changeset_no = s.changeset_no WHERE c.dataset_no = ?",
            (dataset_no,),
        )
        return {int(row[0]): _standing(row[1:]) for row in rows}

    def of(self, changeset: Changeset) -> Standing:
        """How one changeset stands."""
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM standings s WHERE changeset_no = ?",  # noqa: S608
            (changeset.changeset_no,),
        )
        return KEPT if row is None else _standing(row[1:])

    def require_whole(self, changeset: Changeset) -> Changeset:
        """The same changeset. Raises UsageError when what only it needed was removed."""
        if not self.of(changeset).swept:
            return changeset
        name = (changeset.changeset_id or b"").hex()[:16]
        message = f"Changeset {name} was forgotten, and what only it needed has been pruned."
        raise UsageError(message)

    def begin(self, changeset_no: int, tags: frozenset[str]) -> None:
        """A changeset is made, with these tags; inside a transaction."""
        self._db.execute("DELETE FROM standings WHERE changeset_no = ?", (changeset_no,))
        if tags:
            self._db.execute(
                "INSERT INTO standings (changeset_no, swept, pinned, tags) VALUES (?, 0, 0, ?)",
                (changeset_no, json.dumps(sorted(tags))),
            )

    # -- verdicts ----------------------------------------------------------------------------

    def give(self, dataset: Dataset, now_ns: int, decide: Decide, seal: Seal) -> Verdict | None:
        """Decide and write it down at once; nothing when there is nothing to decide.

        `decide(made_ns)` is called in the transaction, so what it reads is true. Verdicts of one
        dataset have ascending times, whatever the clock does.
        """
        with self._db.transaction(durable=True):
            row = self._db.one(
                "SELECT coalesce(max(made_ns), 0) + 1 FROM verdicts WHERE dataset_no = ?",
                (dataset.dataset_no,),
            )
            assert row is not None
            verdict = decide(max(now_ns, int(row[0])))
            if verdict is None:
                return None
            digest, data = seal(verdict)
            self._db.execute(
                NEW_VERDICT,
                (dataset.dataset_no, verdict.made_ns, digest, data, 0),
            )
            self._apply(dataset.dataset_no, [verdict])
        return verdict

    def _apply(self, dataset_no: int, verdicts: Iterable[Verdict]) -> None:
        numbers, known = self._numbers(dataset_no), self.standings(dataset_no)
        standings = {
            identity: known[number] for identity, number in numbers.items() if number in known
        }
        for verdict in verdicts:
            verdict.apply(standings)
        self._write(numbers, standings)

    def _numbers(self, dataset_no: int) -> dict[bytes, int]:
        rows = self._db.all(
            "SELECT changeset_id, changeset_no FROM changesets"
            " WHERE dataset_no = ? AND status = 'stored' AND changeset_id IS NOT NULL",
            (dataset_no,),
        )
        return {bytes(row[0]): int(row[1]) for row in rows}

    def _write(self, numbers: Mapping[bytes, int], standings: Mapping[bytes, Standing]) -> None:
        self._db.execute_many(
            "INSERT INTO standings (changeset_no, forgotten_ns, marked_ns, swept, pinned, tags)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (changeset_no) DO UPDATE SET"
            " forgotten_ns = excluded.forgotten_ns, marked_ns = excluded.marked_ns,"
            " swept = excluded.swept, pinned = excluded.pinned, tags = excluded.tags",
            [
                (
                    numbers[identity],
                    one.forgotten_ns,
                    one.marked_ns,
                    int(one.swept),
                    int(one.pinned),
                    json.dumps(sorted(one.tags)),
                )
                for identity, one in standings.items()
                if identity in numbers
            ],
        )

    def restore(
        self, dataset_no: int, found: list[StoredVerdict], announced: list[StoredAnnouncement]
    ) -> None:
        """After a rebuild: what the store says, besides the tags that changesets began with."""
        found = sorted(found, key=lambda one: (one.verdict.made_ns, one.digest))
        stored = [(one.verdict.made_ns, one.digest, one.data) for one in found]
        stored += [(one.announcement.made_ns, one.digest, one.data) for one in announced]
        with self._db.transaction():
            self._db.execute_many(NEW_VERDICT, [(dataset_no, *one, 1) for one in stored])
            self._apply(dataset_no, (one.verdict for one in found))

    def unsent(self) -> list[tuple[int, bytes, bytes]]:
        """Number, BLAKE3 and bytes of the verdicts that the store has not confirmed."""
        rows = self._db.all(
            "SELECT verdict_no, digest, bytes FROM verdicts WHERE sent = 0"
            " AND bytes IS NOT NULL ORDER BY verdict_no"
        )
        return [(int(row[0]), bytes(row[1]), bytes(row[2])) for row in rows]

    def sent(self, verdict_no: int, digest: bytes, size: int) -> None:
        """The store has confirmed a verdict: its object is one like any other.

        It has a number below zero, because those above belong to pushes that may be running.
        """
        with self._db.transaction(durable=True):
            self._db.execute("UPDATE verdicts SET sent = 1 WHERE verdict_no = ?", (verdict_no,))
            row = ObjectRow(-verdict_no, Shelf.CHANGESETS.value, digest, size)
            Pushes(self._db).add_objects(0, [row])


def _standing(row: Row) -> Standing:
    forgotten_ns, marked_ns, swept, pinned, tags = row
    tags = frozenset(json.loads(tags))
    return Standing(forgotten_ns, marked_ns, bool(swept), bool(pinned), tags)
