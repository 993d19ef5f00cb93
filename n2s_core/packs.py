"""Objects: rows of sealed records, written and read (docs/format.md, section 3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.sealing import (
    HEADER_SIZE,
    RECORD_MAGIC,
    Buffer,
    Header,
    Kind,
    Opened,
    Opener,
    Sealer,
    master_prelude,
    open_prelude,
    parse_header,
    public_prelude,
    stated_size,
)

TOGETHER = 128
"""So many pieces are hashed at once, unless one of them is this large, in bytes."""
LARGE = 4096


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A finished object: its BLAKE3, its bytes in pieces, its size in bytes."""

    digest: bytes
    chunks: list[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class Keyring:
    """What a writer needs: the master key, or only the public key of the store."""

    master_key: bytes | None
    store_public: bytes | None = None
    level: int = 1

    def begin(self) -> "Pack":
        """A new, empty object."""
        if self.master_key is not None:
            return Pack(master_prelude(), self.master_key, level=self.level)
        if self.store_public is None:
            message = "A keyring needs the master key or the public key of the store."
            raise ValueError(message)
        prelude, secret = public_prelude(self.store_public)
        return Pack(prelude, secret, level=self.level)


class Pack:
    """One object while it is written; nothing of it is seen before `finish`.

    Each record is parsed back and opened as soon as it is sealed. What is added raises DamageError
    when it does not open, which means that this machine's memory or processor cannot be trusted.
    """

    def __init__(self, prelude: bytes, root_secret: bytes, *, level: int = 1) -> None:
        """`prelude` names where the `root_secret` (32 bytes) of the object comes from."""
        self._seal = Sealer(root_secret, level=level).seal
        self._authenticate = Opener(root_secret).authenticate
        self._chunks = [prelude]
        self._digest = blake3(prelude)
        self._hashed = 1
        self.size = len(prelude)

    def add(self, kind: Kind, meta: bytes, payload: Buffer = b"") -> tuple[int, int]:
        """Seal a record at the end; offset and length of it in bytes."""
        chunks, offset = self._chunks, self.size
        chunks += self._sealed(kind, meta, payload)
        length = HEADER_SIZE + len(chunks[-1])
        self.size = offset + length
        if length >= LARGE + HEADER_SIZE or len(chunks) - self._hashed >= TOGETHER:
            self._hash()
        return offset, length

    def _sealed(self, kind: Kind, meta: bytes, payload: Buffer = b"") -> tuple[bytes, bytes]:
        header, sealed = self._seal(kind, meta, payload)
        if stated_size(header) != HEADER_SIZE + len(sealed):
            message = "A record was not written as it was meant; check this machine's memory."
            raise DamageError(message)
        self._authenticate(header, sealed)
        return header, sealed

    def _hash(self) -> None:
        """Small pieces become one, which is hashed in a third of the time, and leave the cache."""
        pieces = self._chunks[self._hashed :]
        large = [pieces.pop()] if len(pieces[-1]) >= LARGE else []
        together = [b"".join(pieces), *large]
        for one in together:
            self._digest.update(one)
        self._chunks[self._hashed :] = together
        self._hashed = len(self._chunks)

    def body(self) -> bytes:
        """The records so far, without the prelude."""
        return b"".join(self._chunks[1:])

    def with_first(self, kind: Kind, meta: bytes) -> "Pack":
        """The same object with one record more, in front of the others."""
        header, sealed = self._sealed(kind, meta)
        self._chunks[1:1] = [header, sealed]
        self._digest = blake3(self._chunks[0])
        self._hashed = 1
        self.size += HEADER_SIZE + len(sealed)
        return self

    def finish(self) -> SealedObject:
        """The object."""
        if self._hashed < len(self._chunks):
            self._hash()
        return SealedObject(self._digest.digest(), self._chunks, self.size)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of an object that are no whole record."""

    offset: int
    size: int


def scan(data: Buffer, start: int) -> Iterator[tuple[int, Header] | Gap]:
    """Offsets and headers of the records from `start` on, without a key; gaps between them."""
    view = memoryview(data)
    whole = bytes(data) if not isinstance(data, bytes) else data
    offset = start
    while offset < len(view):
        try:
            header = parse_header(view, offset)
            end = offset + header.size
        except DamageError:
            end = 0
        if end and end <= len(view):
            yield offset, header
            offset = end
            continue
        following = _resynchronise(whole, offset + 1)
        yield Gap(offset, following - offset)
        offset = following


def _resynchronise(data: bytes, offset: int) -> int:
    while True:
        found = data.find(RECORD_MAGIC, offset)
        if found < 0:
            return len(data)
        try:
            parse_header(data, found)
        except DamageError:
            offset = found + 1
        else:
            return found


class ObjectReader:
    """Opens the records of one object under the master key."""

    def __init__(self, data: Buffer, master_key: bytes) -> None:
        """Raises DamageError or FormatError when the prelude is not readable."""
        self.data = data
        secret, self.start = open_prelude(data, master_key)
        self._opener = Opener(secret)

    def open(self, offset: int, length: int) -> Opened:
        """The record at `offset`, `length` bytes with its header. Raises DamageError."""
        return self._opener.open(memoryview(self.data)[offset : offset + length])

    def open_bytes(self, record: Buffer) -> Opened:
        """A record of this object that was read by itself. Raises DamageError."""
        return self._opener.open(record)

    def records(self, on_damage: Callable[[str], None]) -> Iterator[tuple[int, int, Opened]]:
        """Offset, length and contents of every record that opens; the rest is reported."""
        for found in scan(self.data, self.start):
            if isinstance(found, Gap):
                on_damage(f"{found.size} bytes at offset {found.offset} are no whole record.")
                continue
            offset, header = found
            try:
                opened = self.open(offset, header.size)
            except DamageError as error:
                on_damage(f"At offset {offset}: {error}")
                continue
            yield offset, header.size, opened
