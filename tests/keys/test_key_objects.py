"""Promise: a key object opens with its passphrase; what is wrong with it is told apart."""

import json
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from n2s_core import keys
from n2s_core.app import costing, secrets
from n2s_core.app.key_objects import KeyObjects
from n2s_core.errors import FormatError, KeyProblem, StoreError, UsageError
from n2s_core.keys import DEFAULT_COST, KdfCost
from tests.fakes import Fault, FaultyStore, MemoryStore

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "format-1.json").read_text("ascii"))
FROZEN = bytes.fromhex(VECTORS["key_object"]["bytes"])
MASTER = bytes.fromhex(VECTORS["master_key"])
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
WHERE = "the store"


@pytest.fixture(autouse=True)
def _real_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here keys cost what they cost users."""
    monkeypatch.setattr(costing, "DEFAULT_COST", DEFAULT_COST)


def wrapped(secret: str, *, label: str = "", created_ns: int = 1, cost: KdfCost = CHEAP) -> bytes:
    return keys.wrap(MASTER, secret, created_ns=created_ns, label=label, cost=cost)


def with_digest(data: bytes) -> tuple[bytes, bytes]:
    return blake3(data).digest(), data


def added(store: MemoryStore | FaultyStore, *secrets_of: str) -> list[bytes]:
    found = KeyObjects(store, None)
    return [found.add(MASTER, one, one, CHEAP) for one in secrets_of]


# -- what is in them ---------------------------------------------------------------------------


@given(secret=st.text(min_size=1), label=st.text(max_size=40), created_ns=st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=40)
def test_a_key_object_says_what_it_was_made_with(secret: str, label: str, created_ns: int) -> None:
    if not _is_utf8(secret) or not _is_utf8(label):
        return
    data = wrapped(secret, label=label, created_ns=created_ns)
    assert keys.unwrap(data, secret) == MASTER
    assert keys.unwrap(data, secret + "x") is None
    facts = keys.describe(data)
    assert (facts.label, facts.created_ns, facts.cost) == (label, created_ns, CHEAP)


def _is_utf8(text: str) -> bool:
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def test_a_passphrase_of_bytes_that_are_no_utf8_opens_its_key() -> None:
    secret = b"p\xff\xfe".decode("utf-8", "surrogateescape")
    assert keys.unwrap(wrapped(secret), secret) == MASTER


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_a_key_object_or_refused_in_a_sentence(data: bytes) -> None:
    for tail in (data, b"N2SKEY" + data, FROZEN[:50] + data):
        if tail == FROZEN:
            continue
        with pytest.raises(FormatError, match=r"\.$"):
            keys.describe(tail)


@given(at=st.integers(0, len(FROZEN) - 1), bit=st.integers(0, 7))
@settings(derandomize=True, max_examples=300)
def test_a_flipped_bit_never_crashes_what_describes_it(at: int, bit: int) -> None:
    flipped = bytearray(FROZEN)
    flipped[at] ^= 1 << bit
    try:
        facts = keys.describe(bytes(flipped))
    except FormatError:
        return
    assert facts.cost.memory_kib <= keys.MOST_MEMORY_KIB


@pytest.mark.parametrize(
    "cost",
    [
        KdfCost(keys.MOST_MEMORY_KIB + 1, 1, 1),
        KdfCost(64, keys.MOST_ITERATIONS + 1, 1),
        KdfCost(1024, 1, keys.MOST_LANES + 1),
        KdfCost(7, 1, 1),
        KdfCost(64, 0, 1),
        KdfCost(64, 1, 0),
    ],
)
def test_a_cost_that_the_format_does_not_allow_is_refused_unasked(cost: KdfCost) -> None:
    data = bytearray(wrapped("one"))
    for at, value in ((8, cost.memory_kib), (12, cost.iterations), (16, cost.lanes)):
        data[at : at + 4] = value.to_bytes(4, "little")
    with pytest.raises(FormatError, match="refused"):
        keys.unwrap(bytes(data), "one")


# -- which one opens, and what is said when none does -----------------------------------------


def test_a_wrong_passphrase_is_not_called_damage() -> None:
    whole = [with_digest(wrapped("one")), with_digest(wrapped("two"))]
    assert secrets.unlock(whole, [], "two", where=WHERE) == MASTER
    with pytest.raises(KeyProblem, match="does not open any key") as caught:
        secrets.unlock(whole, [], "three", where=WHERE)
    assert "damaged" not in str(caught.value)


def test_damage_is_not_called_a_wrong_passphrase() -> None:
    digest, data = with_digest(wrapped("one"))
    for broken in (data[:-1], data[:60] + b"\0" + data[61:], b""):
        with pytest.raises(KeyProblem, match=rf"(?s)Every key object .* damaged.*{digest.hex()}"):
            secrets.unlock([(digest, broken)], [], "one", where=WHERE)
    with pytest.raises(KeyProblem, match="Every key object"):
        secrets.unlock([], [f"keys/{digest.hex()}"], "one", where=WHERE)


def test_beside_a_damaged_one_a_whole_one_opens_and_a_wrong_passphrase_says_both() -> None:
    digest, data = with_digest(wrapped("one"))
    whole = [(digest, data[:-1]), with_digest(wrapped("two"))]
    assert secrets.unlock(whole, [], "two", where=WHERE) == MASTER
    with pytest.raises(KeyProblem, match=rf"does not open .*damaged key objects.*{digest.hex()}"):
        secrets.unlock(whole, [], "one", where=WHERE)


def test_no_key_objects_at_all_is_a_third_sentence() -> None:
    with pytest.raises(KeyProblem, match="has no key objects"):
        secrets.unlock([], [], "one", where=WHERE)


def test_the_cheapest_is_tried_first_and_of_equal_ones_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dear = wrapped("dear", created_ns=3, cost=KdfCost(128, 1, 1))
    old, new = wrapped("old", created_ns=1), wrapped("new", created_ns=2)
    tried: list[bytes] = []

    def unwrap(data: bytes, _secret: str) -> None:
        tried.append(data)

    monkeypatch.setattr(keys, "unwrap", unwrap)
    with pytest.raises(KeyProblem):
        secrets.unlock(list(map(with_digest, (dear, old, new))), [], "x", where=WHERE)
    assert tried == [new, old, dear]


# -- adding and removing -----------------------------------------------------------------------


def test_the_last_key_cannot_be_removed() -> None:
    store = MemoryStore()
    one, two = added(store, "one", "two")
    KeyObjects(store, None).remove(one)
    before = dict(store.objects)
    with pytest.raises(UsageError, match="last key"):
        KeyObjects(store, None).remove(two)
    assert store.objects == before


def test_the_last_whole_key_cannot_be_removed_and_a_damaged_one_can() -> None:
    store = MemoryStore()
    one, two = added(store, "one", "two")
    store.objects[f"keys/{one.hex()}"] = b"damaged"
    with pytest.raises(UsageError, match="last key"):
        KeyObjects(store, None).remove(two)
    KeyObjects(store, None).remove(one)
    assert list(store.objects) == [f"keys/{two.hex()}"]


def test_a_key_of_another_version_does_not_count_as_one_that_opens() -> None:
    store = MemoryStore()
    (one,) = added(store, "one")
    foreign = FROZEN[:6] + b"\x09" + FROZEN[7:]
    store.objects[f"keys/{blake3(foreign).hexdigest()}"] = foreign
    with pytest.raises(UsageError, match="last key"):
        KeyObjects(store, None).remove(one)


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("put", Fault.SAY_OK_BUT_DROP),
        ("put", Fault.TRUNCATE),
        ("put", Fault.WRONG_BYTES),
        ("get", Fault.WRONG_BYTES),
    ],
)
def test_a_new_key_that_the_store_does_not_give_back_is_no_success_and_leaves_nothing(
    method: str, fault: Fault
) -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, [(method, 1, fault)])
    with pytest.raises(KeyProblem, match="does not open as the store gives it back"):
        added(store, "one")
    assert inner.objects == {}


def test_an_id_is_found_by_its_beginning_only_when_that_is_clear() -> None:
    store = MemoryStore()
    one, two = added(store, "one", "two")
    found = KeyObjects(store, None)
    assert found.find(one.hex()[:8]) == one
    assert found.find(two.hex().upper()) == two
    with pytest.raises(UsageError, match="too short"):
        found.find(one.hex()[:3])
    with pytest.raises(UsageError, match="no key"):
        found.find("g" * 8)


def test_a_store_that_cannot_be_listed_is_not_a_store_without_keys() -> None:
    inner = MemoryStore()
    added(inner, "one")
    with pytest.raises(StoreError):
        KeyObjects(FaultyStore(inner, [("list", 1, Fault.UNAVAILABLE)]), None)


# -- what a guess costs ------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.01, 1.0, 3.0, 8.0, 100.0, 10_000.0])
@pytest.mark.parametrize("most_kib", [0, 1 << 10, 1 << 18, 1 << 30])
def test_a_measured_cost_is_never_below_the_default_nor_beyond_the_format(
    factor: float, most_kib: int
) -> None:
    cost = costing.scaled(factor, most_kib)
    assert cost.memory_kib >= DEFAULT_COST.memory_kib
    assert cost.iterations >= DEFAULT_COST.iterations
    assert cost.lanes == DEFAULT_COST.lanes
    assert cost.memory_kib <= max(DEFAULT_COST.memory_kib, min(most_kib, costing.MOST_KIB))
    assert cost.iterations <= keys.MOST_ITERATIONS


def test_what_a_machine_takes_decides_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.5, 1.0, 1.1, 2.0, 2.3])
    monkeypatch.setattr(costing, "derive", lambda *_: b"")
    monkeypatch.setattr(costing, "memory_kib", lambda: 1 << 30)
    cost = costing.measured(0.8, clock=lambda: next(ticks))
    assert cost.memory_kib * cost.iterations == pytest.approx(
        8 * DEFAULT_COST.memory_kib * DEFAULT_COST.iterations, rel=0.01
    )


def test_no_time_means_the_default_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError

    monkeypatch.setattr(costing, "derive", never)
    assert costing.measured(0) == DEFAULT_COST
    for wrong in (-1, 11, float("nan")):
        with pytest.raises(UsageError, match="--kdf-time"):
            costing.measured(wrong)
