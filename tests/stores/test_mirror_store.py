"""The store that keeps each object on several remotes."""

from collections.abc import Sequence

import pytest

from n2s_core.errors import DamageError, Missing, Refused, Unavailable
from n2s_core.layout import Shelf, object_name
from n2s_core.model import ObjectStat
from n2s_core.remotes import RemoteTable
from n2s_core.stores.fleet import Fleet, Remote
from n2s_core.stores.health import Health
from n2s_core.stores.mirror import MirrorStore
from tests.contracts.store import CONTENT, FOLDER, NAME
from tests.fakes import Fault
from tests.stores.sets import BYTES, RIGHT, Remotes, Schedule, SetContract, each


class Bench(Remotes):
    """A mirror of memories."""

    store: MirrorStore

    def __init__(self, *schedules: Schedule, minimum: int = 1) -> None:
        super().__init__(schedules)
        self.now_s = 0.0
        remotes = [
            Remote(
                RemoteTable(f"r{at}", store.url, priority=at),
                store,
                Health(clock=self.clock),
                Health(clock=self.clock),
            )
            for at, store in enumerate(self.faulty)
        ]
        self.fleet = Fleet(remotes, limit_s=0.5, slowest_bytes_per_s=1 << 40)
        self.store = MirrorStore(self.fleet, minimum=minimum, url="set:")

    def clock(self) -> float:
        return self.now_s

    def put(self) -> None:
        self.store.put(RIGHT, [BYTES], len(BYTES))

    def holders(self) -> list[int]:
        return [at for at, one in enumerate(self.memories) if one.objects.get(RIGHT) == BYTES]

    def owed(self) -> list[str]:
        return [one.remote for one in self.fleet.take_debts()]


class MirrorContract(SetContract):
    """The contract holds for three remotes; `schedules` say what is wrong with each."""

    schedules: Sequence[Schedule] = ([], [], [])
    minimum = 1

    def remotes(self) -> Bench:
        return Bench(*self.schedules, minimum=self.minimum)


class TestMirror(MirrorContract):
    minimum = 3


class TestMirrorWithOneAway(MirrorContract):
    schedules = ([], [], each(Fault.UNAVAILABLE, "put"))
    minimum = 2


class TestMirrorWithOneReadOnly(MirrorContract):
    schedules = ([], each(Fault.REFUSED, "put"), [])
    minimum = 2


class TestMirrorThatLosesAnswers(MirrorContract):
    schedules = (each(Fault.SAY_ERROR_BUT_STORE, "put"), [], [])


class TestMirrorWithOneThatDrops(MirrorContract):
    schedules = ([], [], each(Fault.SAY_OK_BUT_DROP, "put"))


class TestMirrorWithOneThatHangs(MirrorContract):
    schedules = ([], [], each(Fault.HANG, "put"))
    minimum = 2


# -- putting ---------------------------------------------------------------------------------------


def test_a_put_reaches_every_remote_and_nothing_is_owed() -> None:
    bench = Bench([], [], [])
    bench.put()
    assert (bench.holders(), bench.owed()) == ([0, 1, 2], [])


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.REFUSED, Fault.SAY_ERROR_BUT_STORE])
def test_what_a_remote_did_not_confirm_is_owed_by_it(fault: Fault) -> None:
    bench = Bench([], [("put", 1, fault)], [], minimum=2)
    bench.put()
    (debt,) = bench.fleet.take_debts()
    assert (debt.remote, debt.name) == ("r1", RIGHT)
    assert "planned" in debt.error
    assert bench.fleet.take_debts() == []


def test_fewer_than_the_minimum_is_no_put_and_no_debt() -> None:
    bench = Bench([], each(Fault.UNAVAILABLE, "put"), each(Fault.REFUSED, "put"), minimum=2)
    with pytest.raises(Unavailable, match=r"on 1 remotes, and 2 have to.*r1: .*r2: "):
        bench.put()
    assert bench.owed() == []


def test_refusals_alone_are_a_refusal() -> None:
    bench = Bench([], each(Fault.REFUSED, "put"), each(Fault.REFUSED, "put"), minimum=2)
    with pytest.raises(Refused):
        bench.put()


def test_a_stream_of_another_length_reaches_no_remote() -> None:
    bench = Bench([], [])
    with pytest.raises(Refused):
        bench.store.put(RIGHT, [BYTES], len(BYTES) + 1)
    assert [one.calls["put"] for one in bench.faulty] == [0, 0]


def test_a_remote_that_hangs_is_left_behind_and_spared() -> None:
    bench = Bench([], each(Fault.HANG, "put"))
    bench.put()
    (debt,) = bench.fleet.take_debts()
    assert (debt.remote, "did not finish" in debt.error) == ("r1", True)
    bench.put()
    assert bench.faulty[1].calls["put"] == 1
    bench.faulty[1].released.set()


def test_a_degraded_remote_gets_no_work_until_its_pause_is_over() -> None:
    bench = Bench([], [("put", nth, Fault.UNAVAILABLE) for nth in (1, 2, 3)])
    for _ in range(6):
        bench.put()
    assert bench.faulty[1].calls["put"] == 3
    assert bench.owed() == ["r1"] * 6
    bench.now_s += 1000
    bench.put()
    bench.put()
    assert bench.faulty[1].calls["put"] == 5
    assert (bench.holders(), bench.owed()) == ([0, 1], [])


def test_degraded_remotes_are_asked_when_the_others_are_too_few() -> None:
    bench = Bench([], [("put", nth, Fault.UNAVAILABLE) for nth in (1, 2, 3)], minimum=2)
    for _ in range(3):
        with pytest.raises(Unavailable):
            bench.put()
    bench.put()
    assert bench.holders() == [0, 1]


def test_the_pause_of_a_remote_that_stays_away_grows_up_to_a_bound() -> None:
    now_s = 0.0
    health = Health(clock=lambda: now_s)
    pauses = []
    for _ in range(20):
        health.failed("away")
        start_s = now_s
        while not health.may_work():
            now_s += 1
        pauses.append(now_s - start_s)
    assert pauses[:6] == [0, 0, 5, 10, 20, 40]
    assert pauses[-1] == pauses[-2] == 300
    health.succeeded()
    assert not health.degraded


# -- getting ---------------------------------------------------------------------------------------


def test_reads_go_to_the_remote_of_the_first_priority() -> None:
    bench = Bench([], [])
    bench.put()
    assert bench.store.get(RIGHT) == BYTES
    assert [one.calls["get"] for one in bench.faulty] == [1, 0]


@pytest.mark.parametrize(
    "fault",
    [Fault.UNAVAILABLE, Fault.REFUSED, Fault.WRONG_BYTES, Fault.TRUNCATE, Fault.HANG],
)
def test_a_whole_object_is_read_from_the_next_remote(fault: Fault) -> None:
    bench = Bench(each(fault, "get"), [])
    bench.put()
    assert bench.store.get(RIGHT) == BYTES
    bench.faulty[0].released.set()


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.REFUSED, Fault.HANG])
def test_a_range_is_read_from_the_next_remote(fault: Fault) -> None:
    bench = Bench(each(fault, "get", "stat"), [])
    bench.put()
    assert bench.store.get(RIGHT, 5, 10) == BYTES[5:15]
    assert bench.store.stat(RIGHT) == ObjectStat(RIGHT, len(BYTES))
    bench.faulty[0].released.set()


def test_what_one_remote_lost_is_read_from_another() -> None:
    bench = Bench([], [])
    bench.put()
    del bench.memories[0].objects[RIGHT]
    assert bench.store.get(RIGHT) == BYTES
    assert bench.store.get(RIGHT, 1, 2) == BYTES[1:3]


def test_a_listing_of_many_folders_does_not_wait_for_a_remote_that_is_away() -> None:
    bench = Bench(each(Fault.UNAVAILABLE, "list"), [])
    for _ in range(10):
        assert list(bench.store.list(FOLDER)) == []
    assert bench.faulty[0].calls["list"] == 3


def test_an_object_is_missing_only_when_every_remote_says_so() -> None:
    bench = Bench([], each(Fault.UNAVAILABLE, "get", "stat"))
    for call in (bench.store.get, bench.store.stat):
        with pytest.raises(Unavailable, match="may be on a remote that cannot be read"):
            call(RIGHT)
    whole = Bench([], [])
    with pytest.raises(Missing):
        whole.store.get(RIGHT)


def test_bytes_that_are_wrong_everywhere_are_given_to_be_judged_above() -> None:
    bench = Bench([], [])
    for memory in bench.memories:
        memory.objects[RIGHT] = BYTES[:-1]
    assert bench.store.get(RIGHT) == BYTES[:-1]


def test_a_listing_is_that_of_all_remotes_that_answer() -> None:
    bench = Bench([], [], each(Fault.UNAVAILABLE, "list"))
    other = object_name(Shelf.DATA, bytes.fromhex(FOLDER[5:]) + b"\1" * 31)
    bench.memories[0].objects[NAME] = CONTENT
    bench.memories[1].objects[other] = CONTENT
    assert {one.name for one in bench.store.list(FOLDER)} == {NAME, other}
    away = Bench(each(Fault.UNAVAILABLE, "list"), each(Fault.UNAVAILABLE, "list"))
    with pytest.raises(Unavailable):
        list(away.store.list(FOLDER))


def test_a_listing_believes_most_copies_about_a_size() -> None:
    bench = Bench([], [], [])
    for memory, content in zip(bench.memories, (CONTENT[:5], CONTENT, CONTENT), strict=True):
        memory.objects[NAME] = content
    assert list(bench.store.list(FOLDER)) == [ObjectStat(NAME, len(CONTENT))]


def test_a_remote_that_cannot_be_asked_keeps_an_object_from_being_removed_silently() -> None:
    bench = Bench([], each(Fault.UNAVAILABLE, "delete"))
    bench.put()
    with pytest.raises(Unavailable):
        bench.store.delete(RIGHT)


# -- putting right ---------------------------------------------------------------------------------


def test_mending_writes_what_is_lacking_from_a_remote_that_has_it_right() -> None:
    bench = Bench([], [], [])
    bench.put()
    bench.memories[0].objects[RIGHT] = BYTES[:-1]
    del bench.memories[2].objects[RIGHT]
    done = bench.store.mend(RIGHT, ["r0", "r2"])
    assert (set(done.settled), done.debts, done.size) == ({"r0", "r2"}, (), 2 * len(BYTES))
    assert bench.holders() == [0, 1, 2]


def test_mending_that_a_remote_does_not_take_stays_owed() -> None:
    bench = Bench([], each(Fault.REFUSED, "put"))
    bench.put()
    done = bench.store.mend(RIGHT, ["r1"])
    assert [one.remote for one in done.debts] == ["r1"]


def test_nothing_is_mended_from_damaged_bytes() -> None:
    bench = Bench([], [])
    bench.memories[0].objects[RIGHT] = BYTES[:-1]
    with pytest.raises(DamageError):
        bench.store.mend(RIGHT, ["r1"])
    assert RIGHT not in bench.memories[1].objects


def test_each_copy_is_examined_for_itself() -> None:
    bench = Bench([], [], [])
    bench.put()
    bench.memories[1].objects[RIGHT] = b"x" + BYTES[1:]
    del bench.memories[2].objects[RIGHT]
    assert bench.store.examine("r0", RIGHT) == ""
    assert "damaged" in bench.store.examine("r1", RIGHT)
    assert "not in the store" in bench.store.examine("r2", RIGHT)
    assert bench.store.lacking(RIGHT, 5, {"r0": 5, "r1": 4}).keys() == {"r1", "r2"}
