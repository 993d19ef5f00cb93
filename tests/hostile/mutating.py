"""A mutation fuzzer: good bytes with a few things wrong."""

import random
from collections.abc import Callable, Iterator, Sequence

NUMBERS = (
    b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 4,
    b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x80" + b"\x00" * 7,
)  # fmt: skip
MESSAGEPACK = (
    b"\xc0", b"\xc3", b"\xc1", b"\xcb\x7f\xf0" + bytes(6), b"\xcb\x7f\xf8" + bytes(6),
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x81\x90\xc0", b"\xd6\xff" + bytes(4),
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xa1\xff", b"\x90", b"\x80", b"\x91" * 600, b"\xc4\x00", b"\xa0",
)  # fmt: skip
WORDS = (
    b"null", b"1e999", b"-1", b"NaN", b"Infinity", b"[" * 2000, b'{"a":' * 500, b"9" * 5000,
    b"\\u0000", b"..", b"/", b"//", b"\0", b"\n", b"\t", b"[]", b"{}", b'"', b"'", "²".encode(),
    b"\xed\xa0\x80",
    b"- " * 200, b"&a [*a]", b"!!python/object:os.system x", b"\\",
)  # fmt: skip

Change = Callable[[random.Random, bytearray], None]


def _at(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[_at(chance, data) :]


def _remove(chance: random.Random, data: bytearray) -> None:
    at = _at(chance, data)
    del data[at : at + chance.choice((1, 2, 4, 8, 32, 48))]


def _double(chance: random.Random, data: bytearray) -> None:
    at, end = sorted((_at(chance, data), _at(chance, data)))
    data[end:end] = data[at:end]


def _overwrite(chance: random.Random, data: bytearray) -> None:
    piece, at = chance.choice((*NUMBERS, *MESSAGEPACK)), _at(chance, data)
    data[at : at + len(piece)] = piece


def _insert(chance: random.Random, data: bytearray) -> None:
    at = _at(chance, data)
    data[at : at + chance.choice((0, 0, 1))] = chance.choice((*MESSAGEPACK, *WORDS))


CHANGES: Sequence[Change] = (_flip, _cut, _remove, _double, _overwrite, _insert, _insert)


def mutants(good: Sequence[bytes], *, seed: int, count: int) -> Iterator[bytes]:
    """`count` spoilt versions of the good ones; the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(good))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
            chance.choice(CHANGES)(chance, data)
        yield bytes(data)
