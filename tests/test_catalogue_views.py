"""Promise: the views of a catalogue show people what the tables have."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from tests import catalogues
from tests.conftest import Dataset

NAMES = (b"plain", "gr\xfc\xdfe\nand more".encode(), b"odd \xff\xfe")


def moment(shown: Any) -> float:
    """Seconds since 1970 of a text with a zone, or of what PostgreSQL's adapter makes of a time."""
    found = datetime.fromisoformat(shown) if isinstance(shown, str) else shown
    assert found.tzinfo is not None
    return float(found.timestamp())


@pytest.mark.on_both
def test_views_have_readable_paths_modes_ids_and_times_with_a_zone(dataset: Dataset) -> None:
    begun = datetime.now(UTC).timestamp()
    for number, name in enumerate(NAMES):
        path = os.fsencode(dataset.root) + b"/" + name
        with open(path, "wb") as file:
            file.write(b"x" * number)
        os.chmod(path, 0o640)
        os.utime(path, ns=(0, -1_500_000_000 + number))
    changeset = dataset.push(name="first").changeset_id
    assert changeset is not None
    with catalogues.opened(dataset.address) as db:
        files = db.execute(
            "SELECT path, type, size, mode, modified, is_live FROM files_readable"
            " WHERE type = 'file' AND size < 2 ORDER BY size"
        ).fetchall()
        assert [row[2:4] for row in files] == [(0, "0640"), (1, "0640")]
        assert [row[0] for row in files] == [name.decode() for name in NAMES[:2]]
        assert all(row[5] == 1 and -2 <= moment(row[4]) <= -1.4 for row in files)
        as_it_is = "hex(path)" if dataset.url is None else "path"
        (odd,) = db.execute(f"SELECT {as_it_is} FROM files_readable WHERE size = 2").fetchone()  # noqa: S608
        assert odd == (NAMES[2].hex().upper() if dataset.url is None else "odd \\377\\376")
        (made,) = db.execute(
            "SELECT dataset, changeset_id, changeset_name, status, created, stored, written"
            " FROM changesets_readable"
        ).fetchall()
    assert made[:4] == ("root", changeset.hex(), "first", "stored")
    assert begun - 1 <= moment(made[4]) <= moment(made[5]) + 1
    assert made[6] == 4
