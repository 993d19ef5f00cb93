"""One push of a dataset at a time, whatever happens to processes and clocks."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app.pushing import PushOrder, push
from n2s_core.app.rebuilding import alone
from n2s_core.app.verifying import verify
from n2s_core.catalogue import leases as leasing
from n2s_core.catalogue.database import open_database
from n2s_core.catalogue.leases import TERM_NS, Leases, kept_lease, this_process
from n2s_core.clock import SECOND_NS, boot_ns, now_ns
from n2s_core.errors import LeaseHeld
from n2s_core.flows.push import Outcome
from n2s_core.model import Progress
from tests.conftest import Dataset, environment, quiet
from tests.stopping import PROGRAM, Standing, database, let_the_lease_expire, rows
from tests.trees import describe, differences

HOUR_NS = 3600 * SECOND_NS
LONG_S = 60


def fill(dataset: Dataset, seed: int) -> None:
    """Several batches of new files."""
    folder = dataset.root / f"folder-{seed}"
    folder.mkdir()
    for number in range(50):
        (folder / f"file-{number}").write_bytes(random.Random(seed * 100 + number).randbytes(500))


@pytest.fixture
def filled(dataset: Dataset) -> Dataset:
    fill(dataset, 1)
    assert dataset.push().failures == []
    return dataset


@pytest.fixture
def leases(filled: Dataset) -> Any:
    with filled.space() as space:
        yield space.catalogue.leases


def set_owner(dataset: Dataset, **parts: str) -> None:
    """Another one has the lease."""
    names = ("host", "boot", "namespace", "pid", "started")
    mine = dict(zip(names, this_process().split(), strict=True))
    with database(dataset) as db:
        db.execute("UPDATE leases SET owner = ?", (" ".join((mine | parts).values()),))


def is_free(dataset: Dataset) -> bool:
    """Whether a push would get the lease."""
    with dataset.space() as space:
        try:
            space.catalogue.leases.acquire(1)
        except LeaseHeld:
            return False
    return True


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.on_both
def test_a_second_push_is_refused_and_says_who_has_the_lease(filled: Dataset) -> None:
    fill(filled, 2)
    with Standing(filled, "batch-recorded:2") as first:
        with pytest.raises(LeaseHeld, match=rf"process {first.pid} on {os.uname().nodename}"):
            filled.push()
        assert first.wake() == (0, "")
    filled.assert_restores()
    assert filled.push().changeset_id is None


def test_of_many_pushes_at_once_each_is_done_or_refused_and_none_is_wrong(filled: Dataset) -> None:
    command = [sys.executable, str(PROGRAM), str(filled.config), "here"]
    done = refused = 0
    for round_number in range(3):
        fill(filled, 10 + round_number)
        pushes = [
            subprocess.Popen(
                command,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for one in pushes:
            said = one.communicate()[1]
            assert one.returncode == 0 or "Another push of this dataset is running" in said, said
            done += one.returncode == 0
            refused += one.returncode != 0
    assert done >= 3
    assert done + refused == 12
    assert filled.push().changeset_id is None
    numbers = [one.number for one in filled.changesets()]
    assert numbers == list(range(len(numbers), 0, -1))
    filled.rebuild_from_store()
    assert len(filled.changesets()) == len(numbers)
    filled.assert_restores(filled.pull(), filled.recover_py())


@pytest.mark.on_both
def test_the_lease_of_a_killed_process_is_taken_at_once(filled: Dataset) -> None:
    """Also while its parent has not asked for its exit code, and it is still listed."""
    fill(filled, 2)
    with Standing(filled, "batch-recorded") as first:
        assert not is_free(filled)
        first.kill()
        assert Path(f"/proc/{first.pid}").exists()
        assert filled.push().failures == []
    filled.assert_restores()


def test_another_process_with_the_same_number_is_not_the_owner(
    filled: Dataset, leases: Leases
) -> None:
    leases.acquire(1)
    assert not is_free(filled)
    set_owner(filled, started="1")
    assert is_free(filled)


def test_after_a_new_start_of_the_machine_the_lease_is_free(
    filled: Dataset, leases: Leases
) -> None:
    leases.acquire(1)
    set_owner(filled, boot="another")
    assert is_free(filled)


@pytest.mark.parametrize(
    "other", [{"host": "elsewhere"}, {"namespace": "pid:[1]", "pid": "999999999"}]
)
def test_of_a_process_that_cannot_be_seen_the_lease_expires(
    filled: Dataset, leases: Leases, other: dict[str, str]
) -> None:
    """On another machine, or in another container of this one."""
    leases.acquire(1)
    set_owner(filled, **other)
    assert not is_free(filled)
    let_the_lease_expire(filled)
    assert is_free(filled)


def test_what_the_system_does_not_say_is_not_taken_for_death(
    filled: Dataset, leases: Leases
) -> None:
    leases.acquire(1)
    set_owner(filled, boot=leasing.UNKNOWN, started="1")
    assert not is_free(filled)


# -- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_ns", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_set_takes_no_lease_away_on_one_machine(
    filled: Dataset, leases: Leases, monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    lease = leases.acquire(1)
    monkeypatch.setattr(leasing, "now_ns", lambda: now_ns() + jump_ns)
    assert not is_free(filled)
    monkeypatch.setattr(leasing, "boot_ns", lambda: boot_ns() + TERM_NS + SECOND_NS)
    assert is_free(filled)
    with pytest.raises(LeaseHeld, match="took over"):
        leases.renew(lease)


def test_a_clock_that_is_set_back_does_not_keep_the_lease_of_another_machine(
    filled: Dataset, leases: Leases, monkeypatch: pytest.MonkeyPatch, on_sqlite: None
) -> None:
    """On a server its clock counts."""
    leases.acquire(1)
    set_owner(filled, host="elsewhere")
    assert not is_free(filled)
    monkeypatch.setattr(leasing, "now_ns", lambda: now_ns() - HOUR_NS)
    assert is_free(filled)


def test_a_push_goes_through_while_the_clock_jumps(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**6))
    monkeypatch.setattr(leasing, "now_ns", lambda: now_ns() + (-1) ** next(jumps) * HOUR_NS)
    fill(filled, 2)
    assert filled.push().failures == []
    filled.assert_restores()


# -- keeping -------------------------------------------------------------------------------------


def expiry(dataset: Dataset) -> int:
    with database(dataset) as db:
        return int(db.execute("SELECT expires_boot_ns FROM leases").fetchone()[0])


def wait_until(what: Any) -> None:
    """For what another thread does; the limit is only so that a failure ends."""
    end = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.on_both
def test_a_lease_is_prolonged_while_its_process_waits_for_something(
    filled: Dataset, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leases.acquire(1)
    begun = expiry(filled)
    monkeypatch.setattr(leasing, "RENEW_NS", SECOND_NS // 100)
    with kept_lease(filled.address, lease):
        wait_until(lambda: expiry(filled) > begun)
        with database(filled) as db:
            db.execute("UPDATE leases SET fencing = fencing + 1")
        wait_until(lambda: "lease" not in {one.name for one in threading.enumerate()})
        taken = expiry(filled)
    assert expiry(filled) == taken


def test_a_push_keeps_its_lease_while_it_discovers(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin may take hours before it says anything."""
    monkeypatch.setattr(leasing, "RENEW_NS", SECOND_NS // 100)
    seen: list[int] = []

    def wait(_: Progress) -> None:
        begun = expiry(filled)
        wait_until(lambda: expiry(filled) > begun)
        seen.append(begun)

    fill(filled, 2)
    with filled.space() as space:
        assert push(space, PushOrder(), wait)[0].failures == []
    assert seen
    assert is_free(filled)


# -- beside a push -------------------------------------------------------------------------------


def test_beside_a_push_older_states_are_pulled_and_verified_but_nothing_is_rebuilt(
    filled: Dataset,
) -> None:
    before = describe(filled.root)
    fill(filled, 2)
    with Standing(filled, "batch-recorded:2") as first:
        assert differences(before, describe(filled.pull())) == []
        with filled.space() as space:
            found = verify(space, percent=100, older_than_ns=None, report=quiet).found
            assert (found.missing, found.damaged) == ({}, {})
        with pytest.raises(LeaseHeld):
            filled.rebuild()
        assert first.wake() == (0, "")
    filled.assert_restores()


def test_a_verify_goes_on_when_a_push_writes_meanwhile(filled: Dataset) -> None:
    for number in range(3):
        fill(filled, 2 + number)
        filled.push()
    pushed: list[Outcome] = []

    def push_once(_: Progress) -> None:
        if not pushed:
            fill(filled, 20)
            pushed.append(filled.push())

    with filled.space() as space:
        found = verify(space, percent=100, older_than_ns=None, report=push_once).found
    assert (found.missing, found.damaged) == ({}, {})
    assert pushed
    assert pushed[0].failures == []
    filled.assert_restores()


@pytest.mark.on_both
def test_rows_are_read_while_this_and_other_connections_write(filled: Dataset) -> None:
    with open_database(filled.address) as ours, open_database(filled.address) as others:
        reading = ours.stream("SELECT path FROM files ORDER BY path")
        first = next(reading)
        for db in (others, ours, others, ours):
            with db.transaction():
                db.execute("DELETE FROM files WHERE path = ?", first)
                db.execute("UPDATE leases SET fencing = fencing + 1")
        assert len([first, *reading]) == 52
        assert len(ours.all("SELECT path FROM files")) == 51


def test_of_two_rebuilds_one_is_refused_also_when_there_is_no_catalogue(filled: Dataset) -> None:
    filled.forget_catalogue()
    with Standing(filled, "rebuild-made", "rebuild") as first:
        with pytest.raises(LeaseHeld, match="Another rebuild"):
            filled.rebuild()
        first.kill()
        assert filled.rebuild().problems == ()
    filled.assert_restores()
    with alone(filled.catalogue.parent / "new" / "catalogue.db"):
        pass


def test_a_refused_push_changes_nothing(filled: Dataset) -> None:
    fill(filled, 2)
    with Standing(filled, "batch-recorded:2"):
        before, objects = rows(filled), filled.objects()
        with pytest.raises(LeaseHeld):
            filled.push()
        assert (rows(filled), filled.objects()) == (before, objects)


def test_each_of_several_leases_is_prolonged(leases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the lease of a dataset and that of prunes must keep both."""
    held = [leases.acquire(number) for number in (0, 1)]
    moment = boot_ns() + leasing.RENEW_NS + 1
    monkeypatch.setattr(leasing, "boot_ns", lambda: moment)
    for lease in held:
        leases.renew(lease)
    rows_ = leases._db.all("SELECT expires_boot_ns FROM leases ORDER BY dataset_no")
    assert [row[0] for row in rows_] == [moment + TERM_NS] * 2
