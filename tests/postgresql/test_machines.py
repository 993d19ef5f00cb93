"""Promise: machines that share a catalogue and a store do not get in each other's way.

A machine is a process with a host name of its own here, in a network of its own: what n2s knows of
another one is what that wrote into the catalogue.
"""

import subprocess

import pytest

from n2s_core.catalogue import leases as leasing
from n2s_core.clock import SECOND_NS, now_ns
from n2s_core.errors import LeaseHeld
from tests.beside import beside, fill, push_in_another_process
from tests.conftest import Dataset, MakeDataset, missing
from tests.stopping import Standing, let_the_lease_expire

ROUNDS = 2
HOUR_NS = 3600 * SECOND_NS
_NAMED = 'hostname "$0" && exec "$@"'


def machine(name: str) -> tuple[str, ...]:
    """In front of a command: it runs on a machine of this name."""
    return ("unshare", "--uts", "--net", "--", "sh", "-c", _NAMED, name)


@pytest.fixture(autouse=True)
def _machines(as_root: None) -> None:
    done = subprocess.run([*machine("east"), "hostname"], capture_output=True, check=False)
    if done.stdout != b"east\n":
        missing(f"This test needs other host names, by unshare: {done.stderr.decode()}")


def assert_whole(*datasets: Dataset) -> None:
    for one in datasets:
        one.assert_restores(one.pull())
        assert one.push().changeset_id is None
        found = one.verify()
        assert (found.missing, found.damaged) == ({}, {})


def test_two_machines_push_two_datasets_at_once(
    dataset: Dataset, make_dataset: MakeDataset
) -> None:
    other = beside(dataset, make_dataset)
    for number in range(ROUNDS):
        fill(dataset, number)
        fill(other, 10 + number)
        pushes = [
            push_in_another_process(one, machine(name))
            for name, one in (("east", dataset), ("west", other))
        ]
        for push in pushes:
            said = push.communicate()[1]
            assert push.returncode == 0, said
    assert len(dataset.changesets()) == len(other.changesets()) == ROUNDS
    assert_whole(dataset, other)
    dataset.rebuild()
    assert_whole(dataset, other)


def test_of_two_machines_that_push_one_dataset_one_waits_or_is_refused(dataset: Dataset) -> None:
    done = 0
    for number in range(ROUNDS):
        fill(dataset, number)
        pushes = [push_in_another_process(dataset, machine(name)) for name in ("east", "west")]
        for push in pushes:
            said = push.communicate()[1]
            assert push.returncode == 0 or "Another push of this dataset is running" in said, said
            done += push.returncode == 0
    assert done >= ROUNDS
    numbers = [one.number for one in dataset.changesets()]
    assert numbers == list(range(len(numbers), 0, -1))
    assert_whole(dataset)


def test_what_a_killed_machine_began_is_finished_when_its_lease_is_over(dataset: Dataset) -> None:
    fill(dataset, 1)
    with Standing(dataset, "batch-recorded:2", prefix=machine("east")) as first:
        first.kill()
        with pytest.raises(LeaseHeld, match=f"process {first.pid} on east"):
            dataset.push()
        let_the_lease_expire(dataset)
        assert dataset.push().failures == []
    assert len(dataset.changesets()) == 1
    assert_whole(dataset)


@pytest.mark.parametrize("jump_ns", [-HOUR_NS, HOUR_NS])
def test_a_lease_ends_by_the_clock_of_the_server_whatever_those_of_machines_say(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    fill(dataset, 1)
    with Standing(dataset, "batch-recorded:2", prefix=machine("east")):
        monkeypatch.setattr(leasing, "now_ns", lambda: now_ns() + jump_ns)
        with pytest.raises(LeaseHeld, match="on east"):
            dataset.push()
        let_the_lease_expire(dataset)
        assert dataset.push().failures == []
    assert_whole(dataset)


def test_a_machine_that_stood_still_writes_nothing_when_another_went_on(dataset: Dataset) -> None:
    fill(dataset, 1)
    with Standing(dataset, "head-sealed", prefix=machine("east")) as first:
        let_the_lease_expire(dataset)
        fill(dataset, 2)
        assert dataset.push().failures == []
        code, said = first.wake()
        assert code != 0
        assert "took over the lease" in said
    assert_whole(dataset)
    dataset.rebuild()
    assert_whole(dataset)
