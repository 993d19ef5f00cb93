"""What is remembered of objects: when and how each was verified, and what is wrong with which."""

from collections.abc import Iterable, Iterator

from n2s_core.catalogue.database import Database
from n2s_core.clock import now_ns
from n2s_core.model import Affected, Damage, ObjectRow, Remembered
from n2s_core.rows import places_in

PAGE = 1000
_OBJECT = "o.object_no, o.shelf, o.digest, o.size, o.packed_ns"
_FOLDER = "shelf = ? AND digest >= ? AND digest < ?"


def _row(values: tuple[object, ...]) -> ObjectRow:
    return ObjectRow._make(values[:5])


def _bounds(first: int | None) -> tuple[bytes, bytes]:
    """The BLAKE3s that begin with the byte `first`, or all of them."""
    low = b"" if first is None else bytes([first])
    return low, b"\xff" * 33 if first in (None, 255) else bytes([low[0] + 1])


class Damages:
    """The table `damages`, and the columns of `objects` about verifying."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- what is there -----------------------------------------------------------------------

    def in_folder(self, shelf: str, first: int | None) -> list[Remembered]:
        """The confirmed objects of a shelf whose BLAKE3 begins with a byte, or all of them."""
        rows = self._db.all(
            f"SELECT {_OBJECT}, o.verified_ns FROM objects o WHERE {_FOLDER} ORDER BY digest",  # noqa: S608
            (shelf, *_bounds(first)),
        )
        return [Remembered(_row(row), row[5]) for row in rows]

    def oldest(self, before_ns: int) -> Iterator[ObjectRow]:
        """Objects that were not read since `before_ns`, those first that were read longest ago.

        Read in pages, each as things are then; none comes twice when what was read is noted.
        """
        time_ns, number = -1, -1
        while True:
            page = self._db.all(
                f"SELECT {_OBJECT}, coalesce(o.verified_ns, 0) AS read_ns FROM objects o"  # noqa: S608
                " WHERE (coalesce(o.verified_ns, 0), o.object_no) > (?, ?)"
                " AND coalesce(o.verified_ns, 0) < ? ORDER BY read_ns, o.object_no LIMIT ?",
                (time_ns, number, before_ns, PAGE),
            )
            yield from map(_row, page)
            if len(page) < PAGE:
                return
            number, time_ns = page[-1][0], page[-1][5]

    def all(self) -> Iterator[Damage]:
        """The objects that are known to be missing or damaged."""
        rows = self._db.stream(
            f"SELECT {_OBJECT}, d.kind, d.why, d.found_ns FROM damages d"  # noqa: S608
            " JOIN objects o ON o.object_no = d.object_no ORDER BY o.object_no"
        )
        return (Damage(_row(row), *row[5:]) for row in rows)

    def numbers(self) -> set[int]:
        """Numbers of the objects that are known to be missing or damaged."""
        return {one.row.object_no for one in self.all()}

    # -- what was found ----------------------------------------------------------------------

    def note_sized(self, shelf: str, first: int | None, time_ns: int) -> None:
        """The objects of a folder that are not known to be wrong were listed with their sizes."""
        with self._db.transaction():
            self._db.execute(
                f"UPDATE objects SET sized_ns = ? WHERE {_FOLDER}"  # noqa: S608
                " AND object_no NOT IN (SELECT object_no FROM damages)",
                (time_ns, shelf, *_bounds(first)),
            )

    def note_verified(self, object_nos: list[int], time_ns: int, how: str) -> None:
        """These were found whole; what was known to be wrong with them is forgotten."""
        with self._db.transaction():
            self._db.execute_many(
                "UPDATE objects SET verified_ns = ?, verified_how = ? WHERE object_no = ?",
                [(time_ns, how, number) for number in object_nos],
            )
            self._db.execute_many(
                "DELETE FROM damages WHERE object_no = ?", [(number,) for number in object_nos]
            )

    def note(self, found: Iterable[tuple[int, str, str]]) -> None:
        """Objects (number, kind, why) are missing or damaged; the first time is remembered."""
        now = now_ns()
        with self._db.transaction(durable=True):
            self._db.execute_many(
                "INSERT INTO damages (object_no, kind, why, found_ns) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (object_no) DO UPDATE SET kind = excluded.kind, why = excluded.why",
                [(number, kind, why, now) for number, kind, why in found],
            )

    # -- whom it concerns --------------------------------------------------------------------

    def affected(self, object_nos: set[int]) -> Iterator[Affected]:
        """Versions, by path, that need one of these objects, with all of those that they need.

        A version needs the objects of its record, its content and its segments; a damaged head or
        list of entries is needed by what its changeset wrote or removed, in that changeset.
        """
        changesets, blobs = self._needed_by(object_nos)
        for path, begun, ended, object_no, content, blob_id in self._db.stream(
            "SELECT path, valid_from, valid_to, object_no, content, blob_id FROM files"
            " ORDER BY path, valid_from"
        ):
            needs = {object_no} & object_nos
            if content is not None:
                needs |= object_nos.intersection(number for number, _, _ in places_in(content))
            if blob_id is not None and blob_id in blobs:
                needs |= blobs[blob_id]
            if needs:
                yield Affected(path, frozenset(needs), begun, ended)
            for changeset_no in {begun, ended} & changesets.keys():
                lists = frozenset(changesets[changeset_no])
                yield Affected(path, lists, changeset_no, changeset_no + 1)

    def _needed_by(self, object_nos: set[int]) -> tuple[dict[int, set[int]], dict[bytes, set[int]]]:
        """Which of these objects belong to a changeset, or hold segments of a blob."""
        changesets: dict[int, set[int]] = {}
        blobs: dict[bytes, set[int]] = {}
        for number in object_nos:
            row = self._db.one(
                "SELECT changeset_no FROM objects WHERE object_no = ? AND shelf <> 'data'",
                (number,),
            )
            if row is not None:
                changesets.setdefault(int(row[0]), set()).add(number)
        for blob_id, number in self._db.stream("SELECT blob_id, object_no FROM segments"):
            if number in object_nos:
                blobs.setdefault(blob_id, set()).add(number)
        return changesets, blobs

    def changeset_ids(self) -> dict[int, bytes]:
        """The stored changesets by their numbers in the catalogue, oldest first."""
        rows = self._db.all(
            "SELECT changeset_no, changeset_id FROM changesets"
            " WHERE changeset_id IS NOT NULL ORDER BY changeset_no"
        )
        return {int(number): bytes(identity) for number, identity in rows}
