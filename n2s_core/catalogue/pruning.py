"""What a prune reads and writes: which objects are in use, marked, doomed.

Rows are read in pages and the sums lie in temporary tables, so memory does not follow the number
of files or objects. Every write makes sure that no other prune or rebuild took over.
"""

import json
from collections.abc import Iterable, Iterator

from n2s_core.catalogue.database import Database
from n2s_core.catalogue.leases import Leases
from n2s_core.catalogue.repacking import Repacking
from n2s_core.errors import LeaseHeld
from n2s_core.facts import Lease
from n2s_core.layout import Shelf
from n2s_core.rows import places_in
from n2s_core.uses import Doomed, Numbered, Sums, Use, Version

PAGE = 5000
EVERYBODY = 0
"""In the place of a dataset_no: the lease of whoever removes things from the catalogue."""
_AMONG = "object_no IN (SELECT value FROM json_each(?))"
_DATA = Shelf.DATA.value
_VERSION = ", ".join(Version._fields)
_FORGOTTEN = "(s.forgotten_ns IS NOT NULL AND s.pinned = 0 AND c.changeset_no <> d.head_no)"
_STANDINGS = (
    " FROM changesets c JOIN datasets d ON d.dataset_no = c.dataset_no"
    " LEFT JOIN standings s ON s.changeset_no = c.changeset_no WHERE c.status = 'stored'"
)


class Pruning:
    """The tables `marked`, `doomed` and `strangers`, and the temporary one of a scan."""

    def __init__(self, db: Database, leases: Leases) -> None:
        self._db = db
        self._leases = leases
        self._lease: Lease | None = None
        self.repacking = Repacking(db, self._guard)

    # -- alone -------------------------------------------------------------------------------

    def acquire(self) -> None:
        """From now on nobody else prunes or rebuilds. Raises LeaseHeld."""
        try:
            self._lease = self._leases.acquire(EVERYBODY)
        except LeaseHeld as error:
            message = "A prune or a rebuild of this catalogue is running. Wait for it, or stop it."
            raise LeaseHeld(message) from error

    def renew(self) -> None:
        """Prolong that when it is time."""
        if self._lease is not None:
            self._leases.renew(self._lease)

    def release(self) -> None:
        """Others may."""
        if self._lease is not None:
            self._leases.release(self._lease)
        self._lease = None

    def _guard(self) -> None:
        """Inside a transaction. Without a lease the catalogue is a new one, not in use yet."""
        if self._lease is not None:
            self._leases.guard(self._lease)

    # -- changesets --------------------------------------------------------------------------

    def numbers(
        self, *, before_ns: int | None = None, now_ns: int = 0
    ) -> dict[int, list[Numbered]]:
        """The stored changesets of each dataset, oldest first.

        With `before_ns` those count as swept that a sweep up to that time would take; what is not
        marked counts as marked at `now_ns`. The state of a dataset is never forgotten.
        """
        found: dict[int, list[Numbered]] = {}
        for row in self._db.all(
            f"SELECT c.dataset_no, c.changeset_no, CASE WHEN {_FORGOTTEN} THEN 1 ELSE 0 END,"
            " CASE WHEN coalesce(s.swept, 0) = 1"
            f" OR {_FORGOTTEN} AND coalesce(s.marked_ns, ?) <= ? THEN 1 ELSE 0 END"
            f"{_STANDINGS} ORDER BY c.changeset_no",
            (now_ns, before_ns),
        ):
            one = Numbered(int(row[1]), forgotten=bool(row[2]), swept=bool(row[3]))
            found.setdefault(int(row[0]), []).append(one)
        return found

    def mark_changesets(self, time_ns: int) -> None:
        """Forgotten changesets are marked: from now on their time of grace counts."""
        with self._db.transaction():
            self._guard()
            self._db.execute(
                "UPDATE standings SET marked_ns = ?"
                " WHERE forgotten_ns IS NOT NULL AND marked_ns IS NULL",
                (time_ns,),
            )

    def due(self, dataset_no: int, before_ns: int) -> list[bytes]:
        """Ids of forgotten changesets that were marked up to a time and are not swept yet."""
        rows = self._db.all(
            f"SELECT c.changeset_id{_STANDINGS} AND c.dataset_no = ? AND s.swept = 0"
            f" AND {_FORGOTTEN} AND s.marked_ns <= ? ORDER BY c.changeset_no",
            (dataset_no, before_ns),
        )
        return [bytes(row[0]) for row in rows]

    def is_known(self, digest: bytes) -> bool:
        """Whether an object in `changesets/` is one of this catalogue's, or surely another's."""
        row = self._db.one(
            "SELECT EXISTS (SELECT 1 FROM changesets WHERE head_digest = ?1)"
            " OR EXISTS (SELECT 1 FROM verdicts WHERE digest = ?1)"
            " OR EXISTS (SELECT 1 FROM strangers WHERE digest = ?1)",
            (digest,),
        )
        return row is not None and bool(row[0])

    def note_stranger(self, digest: bytes) -> None:
        """Remember an object in `changesets/` that belongs to a dataset of another catalogue."""
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO strangers (digest) VALUES (?) ON CONFLICT DO NOTHING", (digest,)
            )

    # -- a scan ------------------------------------------------------------------------------

    def begin_scan(self, newest: Use) -> None:
        """Take down which data objects there are, and since when they are marked.

        What a push stores from now on is not among them. Objects of which nobody knows the
        changeset are left out: they may be those of another machine. The newest of all is taken
        to be of the use `newest`: a push counts on from its number, and no number is used twice.
        """
        self._db.execute("DROP TABLE IF EXISTS temp.examined")
        self._db.execute(
            "CREATE TEMP TABLE examined (object_no INTEGER PRIMARY KEY, used INTEGER NOT NULL,"
            " size INTEGER NOT NULL, marked_ns INTEGER)"
        )
        self._db.execute(
            "INSERT INTO temp.examined SELECT o.object_no,"
            " CASE WHEN o.object_no = (SELECT max(object_no) FROM objects) THEN ? ELSE 0 END,"
            " o.size, m.marked_ns FROM objects o LEFT JOIN marked m ON m.object_no = o.object_no"
            " WHERE o.shelf = ? AND o.changeset_no > 0",
            (int(newest), _DATA),
        )

    def versions(self) -> Iterator[list[Version]]:
        """Pages of all rows of `files`, in the order of their key, each as things are then."""
        last: tuple[int, bytes, int] = (-1, b"", 0)
        while True:
            rows = self._db.all(
                f"SELECT {_VERSION} FROM files WHERE (dataset_no, path, valid_from) > (?, ?, ?)"  # noqa: S608 - only constants
                " ORDER BY dataset_no, path, valid_from LIMIT ?",
                (*last, PAGE),
            )
            page = [Version(*row) for row in rows]
            yield page
            if len(page) < PAGE:
                return
            last = page[-1][:3]

    def use(self, versions: Iterable[Version], use: Use) -> None:
        """These versions need their records, their contents and their segments."""
        numbers: set[int] = set()
        for one in versions:
            numbers.update(self._needs(one))
        self._use(numbers, use)

    def _needs(self, one: Version) -> set[int]:
        """The objects that a version needs, also to be read by whoever has the store alone."""
        found = {one.object_no}
        if one.content is not None:
            found.update(number for number, _, _ in places_in(one.content))
        if one.segments >= 0 and one.blob_id is not None:
            for table in ("segments", "older_segments"):
                rows = self._db.all(
                    f"SELECT DISTINCT object_no FROM {table} WHERE blob_id = ?",  # noqa: S608
                    (one.blob_id,),
                )
                found.update(int(row[0]) for row in rows)
        return found

    def use_of_pending(self) -> None:
        """A push that is not finished needs the pieces that it has stored, a repack its copies."""
        rows = self._db.all(
            "SELECT DISTINCT object_no FROM loose_segments UNION SELECT new_no FROM repacked"
        )
        self._use({int(row[0]) for row in rows}, Use.KEPT)

    def _use(self, numbers: set[int], use: Use) -> None:
        self._db.execute(
            f"UPDATE temp.examined SET used = ? WHERE used < ? AND {_AMONG}",  # noqa: S608
            (int(use), int(use), json.dumps(sorted(numbers))),
        )

    def remove_versions(self, versions: list[Version]) -> None:
        """Rows that no changeset sees any more."""
        with self._db.transaction():
            self._guard()
            self._db.execute_many(
                "DELETE FROM files WHERE dataset_no = ? AND path = ? AND valid_from = ?"
                " AND valid_to = ?",
                [one[:4] for one in versions],
            )

    # -- after it ----------------------------------------------------------------------------

    def unused(self) -> Sums:
        """Objects that no kept changeset needs."""
        return self._sums("used < ?", (int(Use.KEPT),))

    def due_objects(self, before_ns: int, now_ns: int) -> Sums:
        """Objects that nobody needs, marked up to a time, or at `now_ns` if they are not yet."""
        return self._sums("used = 0 AND coalesce(marked_ns, ?) <= ?", (now_ns, before_ns))

    def early(self, before_ns: int, marked_ns: int, *, now_ns: int, minimum_ns: int) -> float:
        """Bytes of `due_objects`, each times what it lacks now of an age of `minimum_ns`.

        What is not marked counts as marked at `marked_ns`.
        """
        row = self._db.one(
            "SELECT sum(CAST(e.size AS DOUBLE PRECISION) * (o.confirmed_ns - ?))"
            " FROM temp.examined e JOIN objects o ON o.object_no = e.object_no"
            " WHERE e.used = 0 AND coalesce(e.marked_ns, ?) <= ? AND o.confirmed_ns > ?",
            (now_ns - minimum_ns, marked_ns, before_ns, now_ns - minimum_ns),
        )
        return 0.0 if row is None or row[0] is None else float(row[0])

    def _sums(self, condition: str, values: tuple[int, ...]) -> Sums:
        row = self._db.one(
            f"SELECT count(*), coalesce(sum(size), 0) FROM temp.examined WHERE {condition}",  # noqa: S608
            values,
        )
        assert row is not None
        return Sums(*row)

    def mark(self, time_ns: int) -> None:
        """Mark what no kept changeset needs, unmark what one does; what is marked keeps its time.

        An object that a push took into use since the scan began, and which it unmarked, gets a new
        mark, so that the next scan sees what it is used for before it goes.
        """
        with self._db.transaction():
            self._guard()
            self._db.execute(
                "DELETE FROM marked WHERE object_no IN"
                " (SELECT object_no FROM temp.examined WHERE used = ?)",
                (int(Use.KEPT),),
            )
            self._db.execute(
                "INSERT INTO marked (object_no, marked_ns) SELECT object_no, ?"
                " FROM temp.examined WHERE used < ? AND object_no IN"
                " (SELECT object_no FROM objects) ON CONFLICT DO NOTHING",
                (time_ns, int(Use.KEPT)),
            )

    def doom(self, marked_before_ns: int) -> list[Doomed]:
        """The next page of objects to remove; nothing can refer to them any more afterwards.

        Those that were marked up to a time when the scan began, still are, and are of no use to
        anybody. Durable: the store may lose them from now on.
        """
        with self._db.transaction(durable=True):
            self._guard()
            rows = self._db.all(
                "SELECT e.object_no, o.digest, o.size FROM temp.examined e"
                " JOIN marked m ON m.object_no = e.object_no AND m.marked_ns = e.marked_ns"
                " JOIN objects o ON o.object_no = e.object_no"
                " WHERE e.used = 0 AND e.marked_ns <= ? AND NOT EXISTS (SELECT 1 FROM objects twin"
                " WHERE twin.digest = o.digest AND twin.object_no <> o.object_no)"
                " ORDER BY e.object_no LIMIT ?",
                (marked_before_ns, PAGE),
            )
            found = [Doomed(int(row[0]), bytes(row[1]), int(row[2])) for row in rows]
            numbers = (json.dumps([one.object_no for one in found]),)
            self._db.execute_many(
                "INSERT INTO doomed (object_no, digest, size) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                found,
            )
            for table in ("objects", "marked", "damages", "temp.examined"):
                self._db.execute(f"DELETE FROM {table} WHERE {_AMONG}", numbers)  # noqa: S608
            self._db.execute_many(
                "DELETE FROM debts WHERE name = ?", [(one.name,) for one in found]
            )
        return found

    def doomed(self) -> list[Doomed]:
        """A page of what an earlier prune did not come to remove."""
        rows = self._db.all(
            "SELECT object_no, digest, size FROM doomed ORDER BY object_no LIMIT ?", (PAGE,)
        )
        return [Doomed(int(row[0]), bytes(row[1]), int(row[2])) for row in rows]

    def removed(self, gone: Iterable[Doomed]) -> None:
        """The store does not have these any more."""
        with self._db.transaction():
            self._guard()
            self._db.execute_many(
                "DELETE FROM doomed WHERE object_no = ?", [(one.object_no,) for one in gone]
            )

    def tidy(self) -> None:
        """Remove what says where contents lay that are gone."""
        for table in ("segments", "older_segments", "contents"):
            with self._db.transaction():
                self._guard()
                self._db.execute(
                    f"DELETE FROM {table}"  # noqa: S608
                    " WHERE object_no NOT IN (SELECT object_no FROM objects)"
                )
        self._db.execute("DROP TABLE IF EXISTS temp.examined")

    # -- after a rebuild ---------------------------------------------------------------------

    def note_origins(self, versions: Iterable[Version]) -> None:
        """Objects that these versions need are ours, of the changeset that wrote them."""
        origins: dict[int, int] = {}
        for one in versions:
            for number in self._needs(one):
                origins.setdefault(number, one.valid_from)
        with self._db.transaction():
            self._db.execute_many(
                "UPDATE objects SET changeset_no = ? WHERE object_no = ? AND changeset_no <= 0",
                [(changeset_no, number) for number, changeset_no in origins.items()],
            )

    def note_repacked(self, dataset_no: int, digests: set[bytes]) -> None:
        """Objects that were copied, and copies, are of this dataset, if they are not of another."""
        with self._db.transaction():
            self._db.execute_many(
                "UPDATE objects SET changeset_no = (SELECT max(changeset_no) FROM changesets"
                " WHERE dataset_no = ?) WHERE digest = ? AND changeset_no <= 0",
                [(dataset_no, digest) for digest in digests],
            )

    def forget_lost(self) -> None:
        """Objects without bytes that nothing needs, after a scan, are no loss."""
        with self._db.transaction():
            self._db.execute(
                "DELETE FROM objects WHERE size = 0 AND object_no IN"
                " (SELECT object_no FROM temp.examined WHERE used = 0)"
            )

    def has(self, dataset_no: int, path: bytes, valid_from: int, digest: bytes) -> bool:
        """Whether a version is there whose record is in the object with this BLAKE3."""
        row = self._db.one(
            "SELECT 1 FROM files f JOIN objects o ON o.object_no = f.object_no"
            " WHERE dataset_no = ? AND path = ? AND valid_from = ? AND digest = ?",
            (dataset_no, path, valid_from, digest),
        )
        return row is not None
