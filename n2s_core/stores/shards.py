"""Shards of objects (docs/format.md, section "Shards"): coding, headers, decoding."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from blake3 import blake3

from n2s_core.errors import DamageError, UsageError
from n2s_core.layout import Shelf, object_name
from n2s_core.stores.forms import MAGIC

try:
    import zfec
except ImportError as error:
    message = "Erasure coding takes the library zfec: pip install 'n2s[erasure]'."
    raise UsageError(message) from error

VERSION = 1
HEADER = struct.Struct("<6sBBBBBBxxxxQ32s32s")
CHECK = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CHECK.size
_SHELVES = tuple(Shelf)


@dataclass(frozen=True, slots=True)
class Coding:
    """Objects of `size` bytes in `n` shards, of which any `m` suffice."""

    m: int
    n: int
    size: int

    @property
    def payload_size(self) -> int:
        """Bytes of one shard without its header."""
        return -(-self.size // self.m)

    @property
    def shard_size(self) -> int:
        """Bytes of one shard."""
        return HEADER_BYTES + self.payload_size


@dataclass(frozen=True, slots=True)
class Header:
    """What a shard says of itself: `name` of the object, `digest` is the BLAKE3 of the payload."""

    coding: Coding
    index: int
    name: str
    digest: bytes

    def pack(self) -> bytes:
        """As it stands in front of the payload."""
        shelf, digest = self.name.split("/")[0], bytes.fromhex(self.name[-64:])
        coding = self.coding
        packed = HEADER.pack(
            MAGIC, VERSION, coding.m, coding.n, self.index,
            _SHELVES.index(Shelf(shelf)), 0, coding.size, digest, self.digest,
        )  # fmt: skip
        return packed + CHECK.pack(zlib.crc32(packed))

    @classmethod
    def parse(cls, data: bytes | memoryview) -> "Header":
        """The header at the beginning of `data`. Raises DamageError."""
        head = bytes(data[:HEADER_BYTES])
        if len(head) < HEADER_BYTES or head[:6] != MAGIC:
            message = "it does not begin as a shard does"
            raise DamageError(message)
        (check,) = CHECK.unpack(head[HEADER.size :])
        if zlib.crc32(head[: HEADER.size]) != check:
            message = "the header of the shard is damaged"
            raise DamageError(message)
        _, version, m, n, index, shelf, _, size, name, digest = HEADER.unpack(head[: HEADER.size])
        if version != VERSION or not 1 <= m <= n or index >= n or shelf >= len(_SHELVES):
            message = f"it is a shard of version {version}, {m} of {n}, with index {index}"
            raise DamageError(message)
        return cls(Coding(m, n, size), index, object_name(_SHELVES[shelf], name), digest)


def open_shard(data: bytes, name: str) -> tuple[Header, memoryview]:
    """Header and payload of a whole shard of the object `name`. Raises DamageError."""
    header = Header.parse(data)
    payload = memoryview(data)[HEADER_BYTES:]
    if header.name != name:
        message = f"it is a shard of {header.name}"
        raise DamageError(message)
    if blake3(payload).digest() != header.digest:
        message = "the shard is damaged"
        raise DamageError(message)
    return header, payload


def encode(name: str, data: bytes, coding: Coding) -> list[tuple[bytes, bytes | memoryview]]:
    """Header and payload of every shard, by index: the pieces of the object, then the parities."""
    pieces = _pieces(data, coding)
    payloads: list[bytes | memoryview] = [*pieces]
    if coding.size and coding.n > coding.m:
        indexes = tuple(range(coding.m, coding.n))
        payloads.extend(_encoder(coding.m, coding.n).encode(pieces, indexes))
    payloads.extend([b""] * (coding.n - len(payloads)))
    return [
        (Header(coding, index, name, blake3(payload).digest()).pack(), payload)
        for index, payload in enumerate(payloads)
    ]


def decode(payloads: Mapping[int, bytes | memoryview], coding: Coding) -> bytes:
    """The bytes that the pieces have in common, from the same part of at least `m` shards.

    Of whole payloads it is the object with the zeros that fill up its last piece.
    """
    indexes = sorted(payloads)[: coding.m]
    blocks = [payloads[index] for index in indexes]
    if not len(blocks[0]) or indexes == list(range(coding.m)):
        return b"".join(blocks)
    found: Sequence[bytes] = _decoder(coding.m, coding.n).decode(blocks, indexes)
    return b"".join(found)


def _pieces(data: bytes, coding: Coding) -> list[memoryview]:
    view, length = memoryview(data), coding.payload_size
    pieces = [view[at * length : (at + 1) * length] for at in range(coding.m)]
    return [
        one if len(one) == length else memoryview(bytes(one) + bytes(length - len(one)))
        for one in pieces
    ]


@lru_cache(16)
def _encoder(m: int, n: int) -> "zfec.Encoder":
    return zfec.Encoder(m, n)


@lru_cache(16)
def _decoder(m: int, n: int) -> "zfec.Decoder":
    return zfec.Decoder(m, n)
