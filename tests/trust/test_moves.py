"""Promise: where records went is read as it was written, and nonsense about it is refused."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

from n2s_core import packs, sealing
from n2s_core.errors import DamageError
from n2s_core.manifest import Ref
from n2s_core.moves import Announcement, Move, Moves, Source, parse_sources
from tests.vectors.make_moved import MASTER, SOURCES, announcement, frozen

VECTOR: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "moved-1.json").read_text("ascii")
)
OLD, NEWER, NEW = b"o" * 32, b"n" * 32, b"N" * 32
MOVE = Move(NEW, 1000, (Source(OLD, ((100, 50), (200, 50))), Source(NEWER, ((300, 100),))))


def test_the_same_moves_give_the_frozen_bytes() -> None:
    assert frozen() == VECTOR


def test_the_frozen_objects_open_to_the_moves() -> None:
    data = bytes.fromhex(VECTOR["announcement"])
    ((_, _, found),) = packs.ObjectReader(data, MASTER).records(pytest.fail)
    assert found.kind == sealing.Kind.MOVED
    assert Announcement.parse(found.meta, found.payload) == announcement()
    copy = bytes.fromhex(VECTOR["copy"])
    (move,) = announcement().moves
    assert blake3(copy).digest() == move.to
    (_, _, first), (at, size, moved) = packs.ObjectReader(copy, MASTER).records(lambda _: None)
    assert (first.kind, moved.kind) == (sealing.Kind.PACK, sealing.Kind.MOVED)
    assert parse_sources(moved.meta["M"]) == SOURCES
    assert at + size == move.start


def test_a_record_is_found_from_each_place_that_it_ever_had() -> None:
    moves = Moves(exists=lambda name: name == NEW)
    moves.add(MOVE)
    assert moves.place(Ref(OLD, 210, 30)) == Ref(NEW, 1060, 30)
    assert moves.place(Ref(NEWER, 360, 30)) == Ref(NEW, 1060, 30)
    assert moves.origin(Ref(NEW, 1060, 30)) == OLD
    assert moves.origin(Ref(NEW, 8, 30)) == NEW
    assert moves.origin(Ref(OLD, 100, 30)) == OLD
    for stays in (Ref(OLD, 140, 30), Ref(OLD, 10, 30), Ref(OLD, 251, 1), Ref(NEW, 1000, 1),
                  Ref(None, 100, 50)):  # fmt: skip
        assert moves.place(stays) == stays


def test_of_several_copies_one_that_exists_is_taken() -> None:
    moves = Moves(exists=lambda name: name == NEW)
    moves.add(Move(b"x" * 32, 8, (Source(OLD, ((100, 50),)),)))
    moves.add(MOVE)
    assert moves.place(Ref(OLD, 100, 50)) == Ref(NEW, 1000, 50)
    moves.exists = lambda _: True
    assert moves.place(Ref(OLD, 100, 50)) == Ref(OLD, 100, 50)
    moves.exists = lambda _: False
    assert moves.place(Ref(OLD, 100, 50)) == Ref(OLD, 100, 50)


@pytest.mark.parametrize(
    "sources",
    [None, [], 7, [[OLD]], [[OLD, []]], [[OLD, [1]]], [[OLD, [1, 2, 3]]], [[OLD, [1, 0]]],
     [[b"short", [1, 2]]], [[OLD, [5, 5, 9, 5]]], [[OLD, [9, 5, 5, 4]]], [[OLD, [-1, 5]]],
     [[OLD, [1, 5]], [NEW, [1, 4]]], [[OLD, [1, 1 << 63]]], [[OLD, [True, 5]]],
     [[OLD, [0, (1 << 63) - 1]]]],
)  # fmt: skip
def test_moves_that_say_nonsense_are_damage(sources: Any) -> None:
    with pytest.raises(DamageError, match="format says"):
        parse_sources(sources)
    payload = msgpack.packb((NEW, 8, sources))
    with pytest.raises(DamageError, match="format says"):
        Announcement.parse({"d": b"d", "N": "n", "t": 1}, payload)


@pytest.mark.parametrize("change", [{"d": 1}, {"N": b"n"}, {"t": -1}, {"t": 1 << 63}])
def test_an_announcement_that_says_nonsense_is_damage(change: dict[str, Any]) -> None:
    with pytest.raises(DamageError, match="format says"):
        Announcement.parse({"d": b"d", "N": "n", "t": 1, **change}, MOVE.pack())
    with pytest.raises(DamageError, match="format says"):
        Announcement.parse({}, MOVE.pack())
    with pytest.raises(DamageError):
        Announcement.parse({"d": b"d", "N": "n", "t": 1}, MOVE.pack()[:-1])
