"""The store that spreads shards of each object over several remotes."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from blake3 import blake3

from n2s_core.errors import Missing, Refused, Unavailable
from n2s_core.layout import Shelf, object_name
from n2s_core.model import ObjectStat
from n2s_core.remotes import Metadata, Mode, RemoteSet, RemoteTable
from n2s_core.stores.erasure import ErasureStore
from n2s_core.stores.fleet import Fleet, Remote
from n2s_core.stores.mirror import MirrorStore
from n2s_core.stores.shards import Coding, Header, open_shard
from tests.fakes import Fault
from tests.stores.sets import BYTES, RIGHT, Remotes, Schedule, SetContract, each

HEAD = object_name(Shelf.CHANGESETS, blake3(BYTES).digest())


class Bench(Remotes):
    """M of N shards over memories."""

    store: ErasureStore

    def __init__(
        self,
        m: int,
        n: int,
        remotes: int | None = None,
        *,
        faults: Mapping[int, Schedule] | None = None,
        groups: Sequence[str] = (),
        **keys: Any,
    ) -> None:
        super().__init__([(faults or {}).get(at, ()) for at in range(remotes or n)])
        self.open(m, n, groups=groups, **keys)

    def open(self, m: int, n: int, *, groups: Sequence[str] = (), **keys: Any) -> None:
        tables = tuple(
            RemoteTable(f"r{at}", store.url, group=groups[at] if groups else "")
            for at, store in enumerate(self.faulty)
        )
        wanted = RemoteSet(Mode.ERASURE, tables, minimal_shards=m, expected_shards=n, **keys)
        assert wanted.problem() == ""
        pairs = zip(tables, self.faulty, strict=True)
        self.fleet = Fleet(
            [Remote(*one) for one in pairs], limit_s=0.5, slowest_bytes_per_s=1 << 40
        )
        self.store = ErasureStore(self.fleet, wanted)

    def put(self, name: str = RIGHT) -> None:
        self.store.put(name, [BYTES[:77], BYTES[77:]], len(BYTES))

    def holders(self, name: str = RIGHT) -> list[int]:
        return [at for at, one in enumerate(self.memories) if name in one.objects]

    def indexes(self) -> list[int]:
        """Of the shards that are whole, by remote."""
        found = [one.objects[RIGHT] for one in self.memories if RIGHT in one.objects]
        return sorted(open_shard(one, RIGHT)[0].index for one in found)

    def lose(self, *remotes: int) -> None:
        for at in remotes:
            self.memories[at].objects.clear()


class ErasureContract(SetContract):
    """The contract holds for 3 of 5 shards; `faults` say what is wrong with some of 6 remotes."""

    faults: Mapping[int, Schedule] = {}
    keys: Mapping[str, Any] = {}

    def remotes(self) -> Bench:
        return Bench(3, 5, 6, faults=self.faults, **self.keys)


class TestErasure(ErasureContract):
    keys = {"minimum": 5}  # noqa: RUF012 - never changed


class TestErasureWithZstorsMetadata(ErasureContract):
    keys = {"metadata": Metadata.ZSTOR}  # noqa: RUF012 - never changed


class TestErasureWithTwoAway(ErasureContract):
    faults = {0: each(Fault.UNAVAILABLE, "put"), 3: each(Fault.REFUSED, "put")}  # noqa: RUF012


class TestErasureThatLosesAnswers(ErasureContract):
    faults = {1: each(Fault.SAY_ERROR_BUT_STORE, "put")}  # noqa: RUF012 - never changed


class TestErasureWithTwoThatDrop(ErasureContract):
    faults = {n: each(Fault.SAY_OK_BUT_DROP, "put") for n in (2, 4)}  # noqa: RUF012 - never changed


class TestErasureWithOneThatHangs(ErasureContract):
    faults = {5: each(Fault.HANG, "put")}  # noqa: RUF012 - never changed


# -- putting ---------------------------------------------------------------------------------------


def test_each_shard_is_on_another_remote() -> None:
    bench = Bench(3, 5, 8)
    bench.put()
    assert bench.indexes() == [0, 1, 2, 3, 4]
    assert bench.fleet.take_debts() == []


def test_keys_and_changesets_are_whole_on_every_remote() -> None:
    bench = Bench(2, 3, 4)
    bench.put(HEAD)
    assert [one.objects[HEAD] for one in bench.memories] == [BYTES] * 4


def test_a_remote_that_fails_is_replaced_by_one_that_holds_nothing() -> None:
    bench = Bench(3, 5, 6, faults={at: each(Fault.REFUSED, "put") for at in (1,)})
    for number in range(20):
        content = bytes([number]) * 999
        name = object_name(Shelf.DATA, blake3(content).digest())
        bench.store.put(name, [content], len(content))
        assert bench.holders(name) == [0, 2, 3, 4, 5]
    assert bench.fleet.take_debts() == []


def test_a_replacement_must_fit_the_rule() -> None:
    groups = ["a", "a", "b", "b", "c", "c"]
    bench = Bench(
        1,
        3,
        6,
        groups=groups,
        redundant_groups=2,
        faults={at: each(Fault.REFUSED, "put") for at in (4, 5)},
    )
    bench.put()
    assert len(bench.holders()) == 2
    assert [one.remote in ("r4", "r5") for one in bench.fleet.take_debts()] == [True]


def test_fewer_remotes_than_shards_are_a_debt_and_fewer_than_the_minimum_a_refusal() -> None:
    away = {at: each(Fault.REFUSED, "put") for at in (0, 1)}
    bench = Bench(3, 5, faults=away, minimum=3)
    bench.put()
    assert sorted(one.remote for one in bench.fleet.take_debts()) == ["r0", "r1"]
    strict = Bench(3, 5, faults=away)
    with pytest.raises(Unavailable, match="3 remotes, and 4 have to"):
        strict.put()
    assert strict.fleet.take_debts() == []


def test_the_zstor_rule_writes_nothing_when_one_of_the_four_is_away() -> None:
    bench = Bench(3, 5, metadata=Metadata.ZSTOR)
    bench.put(HEAD)
    assert bench.holders(HEAD) == [0, 1, 2, 3]
    for lost in combinations(range(4), 2):
        whole = Bench(3, 5, metadata=Metadata.ZSTOR)
        whole.put(HEAD)
        whole.lose(*lost)
        assert whole.store.get(HEAD) == BYTES
    away = Bench(3, 5, metadata=Metadata.ZSTOR, faults={2: each(Fault.UNAVAILABLE, "put")})
    with pytest.raises(Unavailable, match="3 remotes, and 4 have to"):
        away.put(HEAD)
    away.put(RIGHT)


def test_copies_of_changesets_survive_what_the_data_survive() -> None:
    away = {at: each(Fault.REFUSED, "put") for at in (0, 1, 2)}
    with pytest.raises(Unavailable, match="2 remotes, and 3 have to"):
        Bench(3, 5, faults=away, minimum=3).put(HEAD)


def test_a_remote_without_room_gets_no_shard() -> None:
    bench = Bench(3, 5, 6)
    bench.fleet.named("r2").room.note(len(BYTES) // 3)
    bench.put()
    assert bench.holders() == [0, 1, 3, 4, 5]
    assert bench.faulty[2].calls["put"] == 0


# -- getting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", list(combinations(range(5), 2)))
def test_any_n_minus_m_remotes_may_be_lost(lost: tuple[int, ...]) -> None:
    bench = Bench(3, 5)
    bench.put()
    bench.put(HEAD)
    bench.lose(*lost)
    assert bench.store.get(RIGHT) == BYTES
    assert bench.store.get(HEAD) == BYTES
    assert bench.store.stat(RIGHT) == ObjectStat(RIGHT, len(BYTES))
    assert list(bench.store.list(RIGHT[:7])) == [ObjectStat(RIGHT, len(BYTES))]
    for start, length in ((0, 10), (33_330, 20), (66_000, 40_000), (99_999, None)):
        end = None if length is None else start + length
        assert bench.store.get(RIGHT, start, length) == BYTES[start:end]


def test_one_more_loss_is_missing_and_one_more_away_is_unavailable() -> None:
    bench = Bench(3, 5)
    bench.put()
    bench.lose(0, 1, 2)
    with pytest.raises(Missing, match="2 shards are left"):
        bench.store.get(RIGHT)
    assert list(bench.store.list(RIGHT[:7])) == []
    away = Bench(3, 5, faults={at: each(Fault.UNAVAILABLE, "get") for at in (0, 1, 2)})
    away.put()
    with pytest.raises(Unavailable):
        away.store.get(RIGHT)


@pytest.mark.parametrize("fault", [Fault.WRONG_BYTES, Fault.TRUNCATE, Fault.HANG, Fault.REFUSED])
def test_shards_that_are_read_wrong_are_taken_from_elsewhere(fault: Fault) -> None:
    bench = Bench(3, 5, faults={at: each(fault, "get") for at in (1, 3)})
    bench.put()
    assert bench.store.get(RIGHT) == BYTES
    bench.release()


def test_flipped_bits_in_two_shards_do_no_harm() -> None:
    bench = Bench(3, 5)
    bench.put()
    for at in (0, 4):
        shard = bytearray(bench.memories[at].objects[RIGHT])
        shard[-1] ^= 1
        bench.memories[at].objects[RIGHT] = bytes(shard)
    assert bench.store.get(RIGHT) == BYTES


def test_a_range_is_read_from_the_shard_that_holds_it() -> None:
    bench = Bench(4, 6)
    bench.put()
    assert bench.store.get(RIGHT, 10, 100) == BYTES[10:110]
    for one in bench.faulty:
        one.calls.clear()
    assert bench.store.get(RIGHT, 500, 100) == BYTES[500:600]
    assert sum(one.calls["get"] for one in bench.faulty) == 1


# -- putting right ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", list(combinations(range(5), 2)))
def test_lost_shards_are_made_anew_and_the_others_stay(lost: tuple[int, ...]) -> None:
    bench = Bench(3, 5)
    bench.put()
    before = [dict(one.objects) for one in bench.memories]
    bench.lose(*lost)
    for one in bench.faulty:
        one.calls.clear()
    done = bench.store.mend(RIGHT, [])
    assert (done.debts, [dict(one.objects) for one in bench.memories]) == ((), before)
    assert sum(one.calls["put"] for one in bench.faulty) == 2


def test_a_damaged_shard_is_written_again_in_its_place() -> None:
    bench = Bench(3, 5)
    bench.put()
    whole = bench.memories[2].objects[RIGHT]
    bench.memories[2].objects[RIGHT] = whole[:-1] + bytes([whole[-1] ^ 1])
    assert "damaged" in bench.store.examine("r2", RIGHT)
    bench.store.mend(RIGHT, ["r2"])
    assert bench.memories[2].objects[RIGHT] == whole
    assert bench.store.examine("r2", RIGHT) == ""


def test_a_shard_of_a_remote_that_stays_away_is_made_anew_elsewhere() -> None:
    bench = Bench(3, 5, 6)
    bench.put()
    (spare,) = set(range(6)) - set(bench.holders())
    gone = bench.holders()[0]
    bench.faulty[gone]._faults |= {
        (method, nth): Fault.UNAVAILABLE for method, nth, _ in each(Fault.HANG, "get", "put")
    }
    assert bench.store.mend(RIGHT, []).debts == ()
    assert spare in bench.holders()


def test_too_few_shards_are_not_mended() -> None:
    bench = Bench(3, 5)
    bench.put()
    bench.lose(0, 1, 2)
    with pytest.raises(Missing):
        bench.store.mend(RIGHT, [])


@pytest.mark.parametrize(("m", "n"), [(2, 4), (4, 6), (1, 5), (6, 6)])
def test_another_coding_is_written_after_a_change_of_configuration(m: int, n: int) -> None:
    bench = Bench(3, 5, 6)
    bench.put()
    bench.open(m, n)
    assert bench.store.get(RIGHT) == BYTES
    assert bench.store.mend(RIGHT, []).debts == ()
    codings = [Header.parse(one.objects[RIGHT]).coding for one in bench.memories if one.objects]
    assert codings.count(Coding(m, n, len(BYTES))) == n


@pytest.mark.parametrize("puts", range(1, 9))
def test_a_change_of_coding_that_breaks_off_loses_nothing(puts: int) -> None:
    bench = Bench(3, 5, 6)
    bench.put()
    bench.open(4, 6)
    allowed = iter([True] * puts)
    for store in bench.faulty:
        plain = store._inner.put

        def put(name: str, data: Any, size: int, plain: Any = plain) -> None:
            if not next(allowed, False):
                message = "This store has had enough."
                raise Refused(message)
            plain(name, data, size)

        store._inner.put = put  # type: ignore[method-assign]
    try:
        bench.store.mend(RIGHT, [])
    except Unavailable:
        assert puts == 0
    assert bench.store.get(RIGHT) == BYTES


def test_a_mirror_becomes_shards() -> None:
    bench = Bench(3, 5)
    MirrorStore(bench.fleet, minimum=5, url="set:").put(RIGHT, [BYTES], len(BYTES))
    assert bench.store.get(RIGHT) == BYTES
    assert bench.store.get(RIGHT, 5, 9) == BYTES[5:14]
    assert bench.store.stat(RIGHT).size == len(BYTES)
    assert bench.store.mend(RIGHT, []).debts == ()
    assert bench.indexes() == [0, 1, 2, 3, 4]


def test_a_listing_of_remotes_tells_what_is_lacking() -> None:
    bench = Bench(2, 3, 4)
    bench.put()
    size = Coding(2, 3, len(BYTES)).shard_size
    held = {f"r{at}": size for at in bench.holders()}
    assert bench.store.lacking(RIGHT, len(BYTES), held) == {}
    gone = next(iter(held))
    rest = {name: size for name in held if name != gone}
    assert bench.store.lacking(RIGHT, len(BYTES), rest).keys() == {gone}
    assert bench.store.lacking(RIGHT, len(BYTES), {**rest, gone: 5}).keys() == {gone}
