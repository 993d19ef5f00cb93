"""Shards: any M of N, and headers that notice every flipped bit."""

import random
from itertools import combinations

import pytest
from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.layout import Shelf, object_name
from n2s_core.stores.shards import HEADER_BYTES, Coding, Header, decode, encode, open_shard

BYTES = random.Random(1).randbytes(100_003)
RIGHT = object_name(Shelf.DATA, blake3(BYTES).digest())
HEAD = object_name(Shelf.CHANGESETS, blake3(BYTES).digest())


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1000, 1001])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (3, 3), (3, 5), (4, 6)])
def test_any_m_shards_give_the_object_back(m: int, n: int, size: int) -> None:
    data = BYTES[:size]
    coding = Coding(m, n, size)
    shards = [payload for _, payload in encode(RIGHT, data, coding)]
    assert all(len(one) == coding.payload_size for one in shards)
    for chosen in combinations(range(n), m):
        assert decode({at: shards[at] for at in chosen}, coding)[:size] == data


def test_a_header_says_all_that_is_needed() -> None:
    head, payload = encode(HEAD, BYTES, Coding(10, 15, len(BYTES)))[12]
    found = Header.parse(head)
    assert (found.coding, found.index, found.name) == (Coding(10, 15, len(BYTES)), 12, HEAD)
    assert found.digest == blake3(payload).digest()
    assert len(head) == HEADER_BYTES


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_no_byte_of_a_header_can_be_flipped_unnoticed(at: int) -> None:
    head, payload = encode(RIGHT, BYTES, Coding(2, 3, len(BYTES)))[0]
    shard = bytearray(head + bytes(payload))
    shard[at] ^= 1
    with pytest.raises(DamageError):
        open_shard(bytes(shard), RIGHT)


def test_a_shard_of_another_object_is_none() -> None:
    head, payload = encode(HEAD, BYTES, Coding(2, 3, len(BYTES)))[0]
    with pytest.raises(DamageError):
        open_shard(head + bytes(payload), RIGHT)
