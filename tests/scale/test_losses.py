"""Promise: what a lost store costs is not memory, however many versions were in it."""

import tracemalloc

import pytest

import scale_data
from n2s_core.catalogue import losses
from n2s_core.model import LOST, UNSURE
from tests.conftest import KINDS
from tests.scale.conftest import Make, Synthetic

MORE = 1.5
pytestmark = pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)


def count(synthetic: Synthetic, ctime_ns: int) -> int:
    with synthetic.space() as space:
        row = space.catalogue.db.one("SELECT count(*) FROM files WHERE ctime_ns = ?", (ctime_ns,))
    assert row is not None
    return int(row[0])


def test_all_of_it_is_lost_and_found_in_the_memory_of_a_part(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "AT_ONCE", 200)
    peaks: dict[str, list[int]] = {"note": [], "settle": []}
    for rows in (1_500, 12_000):
        made = make(scale_data.Plan(rows, changesets=3))
        with made.space() as space:
            db = space.catalogue.db
            numbers = {row[0] for row in db.all("SELECT object_no FROM objects")}
            (live,) = db.one("SELECT count(*) FROM files WHERE valid_to > 3") or (0,)
            for what, peak in peaks.items():
                tracemalloc.start()
                if what == "note":
                    losses.note_losses(db, numbers)
                else:
                    losses.settle_losses(db)
                peak.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                assert count(made, LOST if what == "note" else UNSURE) == live
        assert live > rows * 0.7
    for few, many in peaks.values():
        assert many < MORE * few
