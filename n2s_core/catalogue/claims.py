"""What a push refers to is in use from then on, whatever a prune meant to do with it."""

import json

from n2s_core.catalogue.database import Database
from n2s_core.errors import Outdated
from n2s_core.jobs import BatchResult
from n2s_core.model import FileRow
from n2s_core.rows import places_in

_OBJECT = FileRow._fields.index("object_no")
_CONTENT = FileRow._fields.index("content")
_AMONG = "object_no IN (SELECT value FROM json_each(?))"


def claim(db: Database, result: BatchResult) -> None:
    """Older objects that a batch refers to lose their mark; in the transaction that records it.

    Raises Outdated when one of them was removed meanwhile.
    """
    wanted = {row[_OBJECT] for row in result.rows}
    wanted.update(one.object_no for one in result.segments)
    wanted.update(one[2] for one in result.contents)
    for row in result.rows:
        content = row[_CONTENT]
        if isinstance(content, bytes):
            wanted.update(number for number, _, _ in places_in(content))
    wanted.difference_update(one.object_no for one in result.objects)
    if not wanted:
        return
    numbers = json.dumps(list(wanted))
    found = db.one(f"SELECT count(*) FROM objects WHERE {_AMONG}", (numbers,))  # noqa: S608
    assert found is not None
    if found[0] != len(wanted):
        message = "A prune removed an object that this push was about to refer to; push again."
        raise Outdated(message)
    db.execute(f"DELETE FROM marked WHERE {_AMONG}", (numbers,))  # noqa: S608
