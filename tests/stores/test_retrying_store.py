"""The store that asks again."""

import pytest

from n2s_core.errors import Missing, Refused, Unavailable
from n2s_core.ports import Store
from n2s_core.stores.retrying import RetryingStore
from tests.contracts.store import CONTENT, FOLDER, NAME, Plant, StoreContract
from tests.fakes import Fault, FaultyStore, MemoryStore

AWAY = Fault.UNAVAILABLE


def retrying(inner: Store, waits: list[float], attempts: int = 4) -> RetryingStore:
    return RetryingStore(
        inner,
        attempts=attempts,
        base_s=1.5,
        sleep=waits.append,
        random=lambda low, high: (low + high) / 2,
    )


class TestRetryingStore(StoreContract):
    """The contract holds when the first call of every method finds the store away."""

    @pytest.fixture
    def memory(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def store(self, memory: MemoryStore) -> Store:
        away = [(method, 1, AWAY) for method in ("put", "get", "stat", "list", "delete")]
        return retrying(FaultyStore(memory, away), [])

    @pytest.fixture
    def plant(self, memory: MemoryStore) -> Plant:
        return memory.objects.__setitem__


def test_a_stream_that_can_be_read_once_is_put_whole_by_the_last_attempt() -> None:
    memory, waits = MemoryStore(), list[float]()
    faulty = FaultyStore(memory, [("put", nth, AWAY) for nth in (1, 2, 3)])
    retrying(faulty, waits).put(NAME, iter([CONTENT[:9], CONTENT[9:]]), len(CONTENT))
    assert memory.objects == {NAME: CONTENT}
    assert waits == [1.5, 3.0, 6.0]


def test_a_put_whose_answer_was_lost_is_put_again() -> None:
    memory = MemoryStore()
    faulty = FaultyStore(memory, [("put", 1, Fault.SAY_ERROR_BUT_STORE)])
    retrying(faulty, []).put(NAME, [CONTENT], len(CONTENT))
    assert memory.objects == {NAME: CONTENT}
    assert faulty.calls["put"] == 2


def test_a_store_that_stays_away_is_asked_as_often_as_agreed() -> None:
    waits = list[float]()
    faulty = FaultyStore(MemoryStore(), [("get", nth, AWAY) for nth in range(1, 9)])
    with pytest.raises(Unavailable, match="Asked 4 times"):
        retrying(faulty, waits).get(NAME)
    assert faulty.calls["get"] == 4
    assert len(waits) == 3


def test_one_attempt_means_no_repetition() -> None:
    faulty = FaultyStore(MemoryStore(), [("stat", 1, AWAY)])
    with pytest.raises(Unavailable):
        retrying(faulty, [], attempts=1).stat(NAME)


def test_what_is_refused_or_missing_is_not_asked_again() -> None:
    faulty = FaultyStore(MemoryStore(), [("put", 1, Fault.REFUSED)])
    store = retrying(faulty, [])
    with pytest.raises(Refused):
        store.put(NAME, [CONTENT], len(CONTENT))
    with pytest.raises(Missing):
        store.get(NAME)
    assert faulty.calls == {"put": 1, "get": 1}


def test_a_listing_that_breaks_is_listed_anew_without_doubles() -> None:
    memory = MemoryStore()
    memory.objects[NAME] = CONTENT
    faulty = FaultyStore(memory, [("list", 1, AWAY)])
    assert [found.name for found in retrying(faulty, []).list(FOLDER)] == [NAME]


def test_waits_grow_up_to_five_minutes_and_jitter_by_a_fifth() -> None:
    waits, asked = list[float](), list[tuple[float, float]]()

    def highest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    faulty = FaultyStore(MemoryStore(), [("stat", nth, AWAY) for nth in range(1, 2000)])
    store = RetryingStore(faulty, attempts=1200, base_s=100, sleep=waits.append, random=highest)
    with pytest.raises(Unavailable):
        store.stat(NAME)
    assert waits[:4] == [120.0, 240.0, 360.0, 360.0]
    assert set(waits[2:]) == {360.0}
    assert set(asked) == {(0.8, 1.2)}


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Fault.SAY_OK_BUT_DROP, None),
        (Fault.TRUNCATE, CONTENT[:-1]),
        (Fault.WRONG_BYTES, b"\xff" + CONTENT[1:]),
    ],
)
def test_the_faulty_store_lies_as_planned(fault: Fault, kept: bytes | None) -> None:
    memory = MemoryStore()
    FaultyStore(memory, [("put", 1, fault)]).put(NAME, [CONTENT], len(CONTENT))
    assert memory.objects.get(NAME) == kept
