"""What a verify found to be gone or damaged, so that the next push stores it again."""

from collections.abc import Iterator

from n2s_core.catalogue.audits import Audits
from n2s_core.catalogue.database import Database, Row
from n2s_core.model import LIVE, LOST
from n2s_core.rows import places_in

CHECKPOINT_IS_DUE = 1 << 40
AT_ONCE = 5000


def note_losses(db: Database, object_nos: set[int]) -> None:
    """Live versions whose content is in one of these objects count as not stored any more.

    Content in them is not shared with other paths from now on. When entries or a head are among
    them, the next changeset carries a checkpoint, from which the present tree can be rebuilt.
    """
    blobs = {
        bytes(row[0])
        for row in db.stream("SELECT blob_id, object_no FROM segments")
        if row[1] in object_nos
    }
    lost: list[Row] = []
    for row in _live(db):
        dataset_no, path, object_no, content, blob_id = row
        if object_no in object_nos or blob_id in blobs or _holds(content, object_nos):
            lost.append((LOST, dataset_no, path, LIVE))
    with db.transaction(durable=True):
        for at in range(0, len(lost), AT_ONCE):
            db.execute_many(
                "UPDATE files SET ctime_ns = ? WHERE dataset_no = ? AND path = ? AND valid_to = ?",
                lost[at : at + AT_ONCE],
            )
        audits = Audits(db)
        for dataset_no in {row[1] for row in lost}:
            paths = (row[2] for row in lost if row[1] == dataset_no)
            audits.doubt(dataset_no, paths, lasting=False)
        numbers = [(number,) for number in sorted(object_nos)]
        db.execute_many("DELETE FROM contents WHERE object_no = ?", numbers)
        db.execute_many(
            "UPDATE datasets SET changesets_since_checkpoint = ? WHERE dataset_no IN"
            " (SELECT c.dataset_no FROM changesets c JOIN objects o"
            " ON o.changeset_no = c.changeset_no WHERE o.object_no = ? AND o.shelf <> 'data')",
            [(CHECKPOINT_IS_DUE, number) for number in sorted(object_nos)],
        )


def _live(db: Database) -> Iterator[Row]:
    return db.stream(
        "SELECT dataset_no, path, object_no, content, blob_id FROM files WHERE valid_to = ?",
        (LIVE,),
    )


def _holds(content: bytes | None, object_nos: set[int]) -> bool:
    return content is not None and not object_nos.isdisjoint(
        number for number, _, _ in places_in(content)
    )
