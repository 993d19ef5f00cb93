"""What is remembered of objects that the store has and no changeset of the catalogue names."""

import json
from collections.abc import Iterator, Sequence

from n2s_core.catalogue.damages import Damages
from n2s_core.catalogue.database import Database
from n2s_core.catalogue.leases import Leases
from n2s_core.facts import Lease
from n2s_core.layout import Shelf
from n2s_core.model import ObjectRow
from n2s_core.orphans import Adopted

PAGE = 1000
OPENED = "opened"
BELOW = -(1 << 62)
"""Adopted objects are numbered from here downwards, because numbers of objects are never used
again, those above zero belong to pushes, and those just below it to verdicts."""
_COUNTER = "adopted_objects"
_DATA = Shelf.DATA.value
_NUMBERS_IN = ("loose_segments", "older_segments", "segments")


class Orphans:
    """The table `quarantine`, and what `objects`, `contents`, `marked` and `strangers` get.

    Without leases nothing is to be written. What is adopted may be pruned `grace_ns` after it was
    written: it may belong to a push of another machine that has not finished.
    """

    def __init__(
        self, db: Database, leases: Sequence[Lease], *, now_ns: int, grace_ns: int
    ) -> None:
        self._db = db
        self._leases = Leases(db)
        self._held = leases
        self._now_ns = now_ns
        self._grace_ns = grace_ns

    def _guard(self) -> None:
        for one in self._held:
            self._leases.guard(one)

    # -- questions -----------------------------------------------------------------------------

    def unowned(self) -> Iterator[ObjectRow]:
        """Data objects of which a rebuild found no version that needs them; in pages."""
        last = -(1 << 63)
        while True:
            page = self._db.all(
                "SELECT object_no, shelf, digest, size, packed_ns FROM objects"
                " WHERE object_no > ? AND shelf = ? AND changeset_no <= 0"
                " ORDER BY object_no LIMIT ?",
                (last, _DATA, PAGE),
            )
            yield from map(ObjectRow._make, page)
            if len(page) < PAGE:
                return
            last = page[-1][0]

    def is_left_alone(self, digest: bytes) -> bool:
        """Whether it is another's, or a prune is to remove it, or a push has not finished it."""
        row = self._db.one(
            "SELECT EXISTS (SELECT 1 FROM strangers WHERE digest = ?1)"
            " OR EXISTS (SELECT 1 FROM doomed WHERE digest = ?1)"
            " OR EXISTS (SELECT 1 FROM pending_entries WHERE digest = ?1)",
            (digest,),
        )
        return row is not None and bool(row[0])

    def is_needed(self, object_no: int) -> bool:
        """Whether any version needs an unowned object after all; looks at all of them."""
        for table in _NUMBERS_IN:
            found = self._db.one(
                f"SELECT 1 FROM {table} WHERE object_no = ? LIMIT 1",  # noqa: S608 - constants
                (object_no,),
            )
            if found is not None:
                return True
        return next(Damages(self._db).affected({object_no}), None) is not None

    def can_adopt(self, dataset_id: bytes) -> bool:
        """Whether a dataset has a changeset, to which an object can belong."""
        return self._changeset_of(dataset_id) is not None

    def _changeset_of(self, dataset_id: bytes) -> int | None:
        row = self._db.one(
            "SELECT max(c.changeset_no) FROM changesets c JOIN datasets d"
            " ON d.dataset_no = c.dataset_no WHERE d.dataset_id = ?",
            (dataset_id,),
        )
        return None if row is None or row[0] is None else int(row[0])

    # -- orphans -------------------------------------------------------------------------------

    def adopt(self, found: list[Adopted]) -> None:
        """These are ours from now on, were read and are whole; a prune may remove them."""
        with self._db.transaction():
            self._guard()
            for one in found:
                self._adopt(one)

    def _adopt(self, one: Adopted) -> None:
        judged = one.judgement
        changeset_no = self._changeset_of(judged.dataset_id)
        number = self._next_number() if one.object_no is None else one.object_no
        self._db.execute(
            "INSERT INTO objects (object_no, shelf, digest, size, changeset_no, confirmed_ns)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (object_no) DO UPDATE SET"
            " changeset_no = excluded.changeset_no",
            (number, _DATA, one.digest, judged.size, changeset_no, self._now_ns),
        )
        self._db.execute(
            "UPDATE objects SET verified_ns = ?, verified_how = ?, sized_ns = ?, packed_ns = ?"
            " WHERE object_no = ?",
            (self._now_ns, OPENED, self._now_ns, judged.packed_ns, number),
        )
        self._db.execute("DELETE FROM damages WHERE object_no = ?", (number,))
        self._db.execute(
            "INSERT INTO marked (object_no, marked_ns) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (number, max(self._now_ns, min(judged.packed_ns, self._now_ns) + self._grace_ns)),
        )
        self._db.execute_many(
            "INSERT INTO contents (content_hash, kind, object_no, record_offset, record_length)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (each.digest, each.kind, number, each.offset, each.length)
                for each in judged.contents
            ],
        )

    def _next_number(self) -> int:
        row = self._db.one("SELECT value FROM properties WHERE name = ?", (_COUNTER,))
        count = 1 if row is None else int(row[0]) + 1
        self._db.execute(
            "INSERT INTO properties (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_COUNTER, str(count).encode()),
        )
        return BELOW - count

    def note_strangers(self, digests: list[bytes]) -> None:
        """These are another's: they need not be read again, and are no objects of this one."""
        with self._db.transaction():
            self._guard()
            rows = [(digest,) for digest in digests]
            self._db.execute_many(
                "INSERT INTO strangers (digest) VALUES (?) ON CONFLICT DO NOTHING", rows
            )
            for digest in digests:
                found = self._db.all(
                    "SELECT object_no FROM objects"
                    " WHERE digest = ? AND shelf = ? AND changeset_no <= 0",
                    (digest, _DATA),
                )
                self._remove([int(row[0]) for row in found])

    def disown(self, object_no: int) -> None:
        """An unowned object that nobody needs is no object of this catalogue."""
        with self._db.transaction():
            self._guard()
            self._remove([object_no])

    def _remove(self, numbers: list[int]) -> None:
        for table in ("objects", "damages", "contents", "marked"):
            self._db.execute(
                f"DELETE FROM {table}"  # noqa: S608 - constants
                " WHERE object_no IN (SELECT value FROM json_each(?))",
                (json.dumps(numbers),),
            )

    # -- quarantine ----------------------------------------------------------------------------

    def quarantine(self, name: str, size: int, why: str) -> int:
        """Remember it; since when it is known (ns)."""
        with self._db.transaction(durable=True):
            self._guard()
            self._db.execute(
                "INSERT INTO quarantine (name, size, why, since_ns, seen_ns)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " size = excluded.size, why = excluded.why, seen_ns = excluded.seen_ns",
                (name, size, why, self._now_ns, self._now_ns),
            )
        since_ns = self.quarantined_since(name)
        assert since_ns is not None
        return since_ns

    def quarantined_since(self, name: str) -> int | None:
        """Since when it is known (ns), if it is."""
        row = self._db.one("SELECT since_ns FROM quarantine WHERE name = ?", (name,))
        return None if row is None else int(row[0])

    def release(self, name: str | None) -> None:
        """Forget one that is gone, or without a name all that were not seen by this flow."""
        with self._db.transaction():
            self._guard()
            if name is None:
                self._db.execute("DELETE FROM quarantine WHERE seen_ns <> ?", (self._now_ns,))
                return
            self._db.execute("DELETE FROM quarantine WHERE name = ?", (name,))
            self._db.execute("DELETE FROM debts WHERE name = ?", (name,))
