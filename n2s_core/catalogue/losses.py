"""What a verify found to be gone or damaged, so that the next push stores it again."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from n2s_core.catalogue.audits import Audits
from n2s_core.catalogue.database import Database, Row
from n2s_core.model import LIVE, LOST, UNSURE
from n2s_core.relpath import ROOT
from n2s_core.rows import places_in

CHECKPOINT_IS_DUE = 1 << 40
AT_ONCE = 5000
_SET_CTIME = "UPDATE files SET ctime_ns = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?"
_Row = TypeVar("_Row")


def note_losses(db: Database, object_nos: set[int]) -> None:
    """Live versions whose content is in one of these objects count as not stored any more.

    Content in them is not shared with other paths from now on. When entries or a head are among
    them, the next push makes a changeset, whatever has changed, which carries a checkpoint, from
    which the present tree can be rebuilt.
    """
    needs = _needing(db, object_nos)
    lost = ((row[0], row[1]) for row in _live(db) if needs(row[2:5]))
    for page in _pages(lost):
        with db.transaction(durable=True):
            _lose(db, page)
    with db.transaction(durable=True):
        _lose(db, [(dataset_no, ROOT) for dataset_no in _with_lost_lists(db, object_nos)])
        numbers = [(number,) for number in sorted(object_nos)]
        db.execute_many("DELETE FROM contents WHERE object_no = ?", numbers)
        db.execute_many(
            "UPDATE verdicts SET sent = 0"
            " WHERE digest = (SELECT digest FROM objects WHERE object_no = ?)",
            numbers,
        )
        db.execute_many(
            "UPDATE datasets SET changesets_since_checkpoint = ? WHERE dataset_no IN"
            " (SELECT c.dataset_no FROM changesets c JOIN objects o"
            " ON o.changeset_no = c.changeset_no WHERE o.object_no = ? AND o.shelf <> 'data')",
            [(CHECKPOINT_IS_DUE, number) for number in sorted(object_nos)],
        )


def settle_losses(db: Database) -> None:
    """Paths that need no missing or damaged object any more are only looked at again.

    Their objects are whole after all, so the next push reads the files and stores what differs.
    """
    bad = {int(row[0]) for row in db.stream("SELECT object_no FROM damages")}
    needs, roots = _needing(db, bad), _with_lost_lists(db, bad)
    over = (
        (UNSURE, dataset_no, path, LIVE)
        for dataset_no, path, *places, ctime_ns in _live(db)
        if ctime_ns == LOST
        and not needs(tuple(places))
        and not (path == ROOT and dataset_no in roots)
    )
    for page in _pages(over):
        with db.transaction(durable=True):
            db.execute_many(_SET_CTIME, page)


def _lose(db: Database, lost: list[tuple[int, bytes]]) -> None:
    """These live versions count as not stored any more; in a transaction."""
    db.execute_many(_SET_CTIME, [(LOST, dataset_no, path, LIVE) for dataset_no, path in lost])
    audits = Audits(db)
    for dataset_no in {dataset_no for dataset_no, _ in lost}:
        paths = (path for one, path in lost if one == dataset_no)
        audits.doubt(dataset_no, paths, lasting=False)


def _pages(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """However many there are, memory is that of a page."""
    waiting = iter(rows)
    while page := list(islice(waiting, AT_ONCE)):
        yield page


def _needing(db: Database, object_nos: set[int]) -> Callable[[Row], bool]:
    """Whether object_no, content and blob_id of a version lead to one of these objects."""
    blobs = {
        bytes(row[0])
        for row in db.stream("SELECT blob_id, object_no FROM segments")
        if row[1] in object_nos
    }

    def needs(places: Row) -> bool:
        object_no, content, blob_id = places
        return object_no in object_nos or blob_id in blobs or _holds(content, object_nos)

    return needs


def _with_lost_lists(db: Database, object_nos: set[int]) -> set[int]:
    """Datasets of whose changesets a head or a list of entries is among these objects."""
    rows = db.stream(
        "SELECT c.dataset_no, o.object_no FROM changesets c JOIN objects o"
        " ON o.changeset_no = c.changeset_no WHERE o.shelf <> 'data'"
    )
    return {int(dataset_no) for dataset_no, number in rows if number in object_nos}


def _live(db: Database) -> Iterator[Row]:
    return db.stream(
        "SELECT dataset_no, path, object_no, content, blob_id, ctime_ns FROM files"
        " WHERE valid_to = ?",
        (LIVE,),
    )


def _holds(content: bytes | None, object_nos: set[int]) -> bool:
    return content is not None and not object_nos.isdisjoint(
        number for number, _, _ in places_in(content)
    )
