"""What a repack reads and writes: which records are in use, and where they went.

Which records are in use lies in a temporary table. A copy is written down before anything refers
to it, so that a repack that was killed is gone on with.
"""

import json
from collections.abc import Callable, Iterable, Iterator

from n2s_core.catalogue.database import Database
from n2s_core.catalogue.verdicts import NEW_VERDICT
from n2s_core.clock import now_ns
from n2s_core.layout import Shelf
from n2s_core.manifest import packb
from n2s_core.model import ObjectRow
from n2s_core.rows import places_in
from n2s_core.uses import Candidate, Copied, NewPlace, Place, Version

FIRST_COPY = -(1 << 40)
"""Copies are numbered downwards from here: far from pushes, which count up, and from verdicts."""
_COUNTER = "copies"
_LIVE = "object_no, record_offset, record_length"
_USED = (
    "SELECT DISTINCT o.object_no FROM objects o JOIN temp.live l ON l.object_no = o.object_no"
    " WHERE o.shelf = ? AND o.changeset_no > 0 AND o.size > 0"
)
_LEFT_ALONE = (
    "SELECT object_no FROM damages UNION SELECT object_no FROM loose_segments"
    " UNION SELECT object_no FROM older_segments UNION SELECT new_no FROM repacked"
)


class Repacking:
    """The table `repacked`: objects of which a copy is in the store, until nothing refers to them.

    `guard` makes sure, inside a transaction, that no other prune or rebuild took over.
    """

    def __init__(self, db: Database, guard: Callable[[], None]) -> None:
        self._db = db
        self._guard = guard

    # -- what is in use ----------------------------------------------------------------------

    def begin(self) -> None:
        """No record is known to be in use."""
        self._db.execute("DROP TABLE IF EXISTS temp.live")
        self._db.execute(
            "CREATE TEMP TABLE live (object_no INTEGER, record_offset INTEGER,"
            " record_length INTEGER, PRIMARY KEY (object_no, record_offset)) WITHOUT ROWID"
        )

    def use(self, versions: Iterable[Version]) -> None:
        """The records of these versions are."""
        found: list[Place] = []
        blobs: set[bytes] = set()
        for one in versions:
            found.append((one.object_no, one.record_offset, one.record_length))
            if one.content is not None:
                found.extend(places_in(one.content))
            if one.segments >= 0 and one.blob_id is not None:
                blobs.add(one.blob_id)
        insert = f"INSERT INTO temp.live ({_LIVE})"
        self._db.execute_many(f"{insert} VALUES (?, ?, ?) ON CONFLICT DO NOTHING", found)
        self._db.execute_many(
            f"{insert} SELECT {_LIVE} FROM segments WHERE blob_id = ? ON CONFLICT DO NOTHING",  # noqa: S608
            [(blob,) for blob in blobs],
        )

    def candidates(self) -> Iterator[Candidate]:
        """Objects with records in use; `movable` ones are whole, and what they hold is known."""
        rows = self._db.all(
            "SELECT o.object_no, o.digest, o.size, d.name,"  # noqa: S608 - only constants
            " (SELECT sum(record_length) FROM temp.live l WHERE l.object_no = o.object_no),"
            f" o.object_no NOT IN ({_LEFT_ALONE}) AND NOT EXISTS (SELECT 1 FROM objects twin"
            " WHERE twin.digest = o.digest AND twin.object_no <> o.object_no) FROM objects o"
            " LEFT JOIN changesets c ON c.changeset_no = o.changeset_no"
            " LEFT JOIN datasets d ON d.dataset_no = c.dataset_no"
            f" WHERE o.object_no IN ({_USED})"
            " AND o.object_no NOT IN (SELECT object_no FROM repacked) ORDER BY o.object_no",
            (Shelf.DATA.value,),
        )
        for number, digest, size, name, live, movable in rows:
            yield Candidate(
                int(number), bytes(digest), int(size), name or "", int(live), bool(movable)
            )

    def records(self, object_no: int) -> list[tuple[int, int]]:
        """Offset and length of the records of an object that are in use, in order."""
        rows = self._db.all(
            "SELECT record_offset, record_length FROM temp.live WHERE object_no = ?"
            " ORDER BY record_offset",
            (object_no,),
        )
        return [(int(row[0]), int(row[1])) for row in rows]

    # -- copies ------------------------------------------------------------------------------

    def copied(self, object_no: int, new: ObjectRow, move: bytes) -> None:
        """The store has a copy of what an object holds in use; nothing refers to it yet.

        The copy belongs to the changeset and has the age of the object.
        """
        with self._db.transaction():
            self._guard()
            known = self._db.one("SELECT object_no FROM objects WHERE digest = ?", (new.digest,))
            new_no = self._next() if known is None else int(known[0])
            if known is None:
                self._db.execute(
                    "INSERT INTO objects (object_no, shelf, digest, size, packed_ns,"
                    " changeset_no, confirmed_ns) SELECT ?, ?, ?, ?, packed_ns, changeset_no, ?"
                    " FROM objects WHERE object_no = ?",
                    (new_no, new.shelf, new.digest, new.size, now_ns(), object_no),
                )
            self._db.execute(
                "UPDATE objects SET changeset_no = (SELECT changeset_no FROM objects"
                " WHERE object_no = ?) WHERE object_no = ? AND changeset_no <= 0",
                (object_no, new_no),
            )
            self._db.execute(
                "INSERT INTO repacked (object_no, new_no, told, move) VALUES (?, ?, 0, ?)",
                (object_no, new_no, move),
            )

    def _next(self) -> int:
        """A number that no object has or ever had; inside a transaction."""
        row = self._db.one("SELECT value FROM properties WHERE name = ?", (_COUNTER,))
        count = 1 if row is None else int(bytes(row[0])) + 1
        self._db.execute(
            "INSERT INTO properties (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_COUNTER, str(count).encode()),
        )
        return FIRST_COPY - count

    def untold(self, dataset_no: int) -> list[Copied]:
        """Copies of a dataset's objects that the store does not say anything about yet."""
        rows = self._db.all(
            "SELECT r.object_no, r.new_no, r.move FROM repacked r"
            " JOIN objects o ON o.object_no = r.new_no"
            " JOIN changesets c ON c.changeset_no = o.changeset_no"
            " WHERE r.told = 0 AND c.dataset_no = ? ORDER BY r.object_no",
            (dataset_no,),
        )
        return [Copied(int(row[0]), int(row[1]), bytes(row[2])) for row in rows]

    def announce(
        self, dataset_no: int, told: list[Copied], seal: Callable[[int], tuple[bytes, bytes]]
    ) -> None:
        """Write down what the store is to say about these copies; `seal(made_ns)` makes it."""
        with self._db.transaction(durable=True):
            self._guard()
            row = self._db.one(
                "SELECT coalesce(max(made_ns), 0) + 1 FROM verdicts WHERE dataset_no = ?",
                (dataset_no,),
            )
            assert row is not None
            made_ns = max(now_ns(), int(row[0]))
            digest, data = seal(made_ns)
            self._db.execute(NEW_VERDICT, (dataset_no, made_ns, digest, data, 0))
            self._db.execute_many(
                "UPDATE repacked SET told = 1 WHERE object_no = ?",
                [(one.object_no,) for one in told],
            )

    # -- new places --------------------------------------------------------------------------

    def told(self) -> list[Copied]:
        """Copies that the store tells of, and that not everything refers to yet."""
        rows = self._db.all(
            "SELECT object_no, new_no, move FROM repacked WHERE told = 1 ORDER BY object_no"
        )
        return [Copied(int(row[0]), int(row[1]), bytes(row[2])) for row in rows]

    def relink(self, versions: Iterable[Version], new_place: NewPlace) -> None:
        """These versions are read at the new places, unless a push changed them meanwhile."""
        own: list[tuple[object, ...]] = []
        contents: list[tuple[object, ...]] = []
        for one in versions:
            place = (one.object_no, one.record_offset, one.record_length)
            new = new_place(place)
            if new != place:
                own.append((*new[:2], *one[:3], *place[:2]))
            places = [] if one.content is None else places_in(one.content)
            moved = [new_place(each) for each in places]
            if moved != places:
                contents.append((packb(moved), *one[:3], one.content))
        if not own and not contents:
            return
        with self._db.transaction():
            self._guard()
            self._db.execute_many(
                "UPDATE files SET object_no = ?, record_offset = ? WHERE dataset_no = ?"
                " AND path = ? AND valid_from = ? AND object_no = ? AND record_offset = ?",
                own,
            )
            self._db.execute_many(
                "UPDATE files SET content = ? WHERE dataset_no = ? AND path = ?"
                " AND valid_from = ? AND content = ?",
                contents,
            )

    def relink_pieces(self, old: list[int], new_place: NewPlace) -> None:
        """Pieces of large files, and contents that can be shared, are read at the new places."""
        numbers = (json.dumps(old),)
        for table in ("segments", "contents"):
            rows = self._db.all(
                f"SELECT DISTINCT {_LIVE} FROM {table}"  # noqa: S608 - only constants
                " WHERE object_no IN (SELECT value FROM json_each(?))",
                numbers,
            )
            places = {(int(row[0]), int(row[1])): int(row[2]) for row in rows}
            moved = {at: new_place((*at, length))[:2] for at, length in places.items()}
            with self._db.transaction():
                self._guard()
                self._db.execute("DROP TABLE IF EXISTS temp.shift")
                self._db.execute(
                    "CREATE TEMP TABLE shift (object_no INTEGER, record_offset INTEGER,"
                    " new_no INTEGER, new_offset INTEGER,"
                    " PRIMARY KEY (object_no, record_offset)) WITHOUT ROWID"
                )
                self._db.execute_many(
                    "INSERT INTO temp.shift VALUES (?, ?, ?, ?)",
                    [(*at, *new) for at, new in moved.items() if new != at],
                )
                self._db.execute(
                    f"UPDATE {table} AS t SET object_no = s.new_no, record_offset = s.new_offset"  # noqa: S608
                    " FROM temp.shift s WHERE s.object_no = t.object_no"
                    " AND s.record_offset = t.record_offset"
                )
                self._db.execute("DROP TABLE temp.shift")

    def finish(self, done: list[Copied], time_ns: int) -> None:
        """What was copied is marked, to be removed when nothing needs it after a time of grace."""
        with self._db.transaction(durable=True):
            self._guard()
            self._db.execute_many(
                "INSERT INTO marked (object_no, marked_ns) SELECT object_no, ? FROM objects"
                " WHERE object_no = ? ON CONFLICT DO NOTHING",
                [(time_ns, one.object_no) for one in done],
            )
            self._db.execute_many(
                "DELETE FROM repacked WHERE object_no = ?", [(one.object_no,) for one in done]
            )
            self._db.execute("DROP TABLE IF EXISTS temp.live")
