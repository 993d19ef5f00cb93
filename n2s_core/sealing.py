"""Sealing and opening of records (docs/format.md, sections 3 and 4).

The key of a record is a function of the exact bytes that are sealed, so that no key is ever
used for two plaintexts, and the same input gives the same bytes.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgpack
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from n2s_core.errors import DamageError, FormatError
from n2s_core.judging import BAD_MESSAGEPACK, LARGEST_ITEM, look_through

Buffer = bytes | bytearray | memoryview
OBJECT_MAGIC = b"N2SOBJ"
RECORD_MAGIC = b"N2SR"
VERSION = 1
PLAIN_PRELUDE = 8
SEALED_PRELUDE = 88
HEADER_SIZE = 48
TAG_SIZE = 16
LARGEST_SEALED = 64 << 20
LARGEST_PAYLOAD = 64 << 20
LARGEST_WINDOW = 1 << 26
NONCE = bytes(12)
X25519_CONTEXT = "n2s format 1 x25519"
_SIV_CONTEXT = "n2s format 1 siv"
_RECORD_CONTEXT = "n2s format 1 record"
_OBJECT_CONTEXT = "n2s format 1 object secret"
_START = struct.Struct("<4sBBHI")
_START_SIZE = _START.size
_WHOLE = struct.Struct("<4sBBHIBI")
"""What the SIV is made of up to the metadata: start of the header, head of the plaintext."""
_HEAD_OF_PLAINTEXT = struct.Struct("<BI")
_CRC = struct.Struct("<I")
WORTH_COMPRESSING = 64
WORTH_SAMPLING = 256 << 10
SAMPLE = 8 << 10


class Kind(IntEnum):
    """Kinds of records."""

    PACK = 1
    BLOB = 2
    SEGMENT = 3
    FILE = 4
    NODES = 5
    ENTRIES = 6
    HEAD = 7
    FORGET = 8
    MOVED = 9


class Codec(IntEnum):
    """How a payload is stored."""

    PLAIN = 0
    ZSTD = 1


class KeyMode(IntEnum):
    """Where the root secret of an object comes from."""

    MASTER = 0
    X25519 = 1


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of one record: `size` counts header and sealed part, in bytes."""

    kind: int
    siv: bytes
    size: int


def record_size(meta: int) -> int:
    """Bytes of a record without a payload, header included, with so many bytes of metadata."""
    return HEADER_SIZE + _HEAD_OF_PLAINTEXT.size + meta + TAG_SIZE


@dataclass(frozen=True, slots=True)
class Opened:
    """One opened record; `payload` is decompressed."""

    kind: int
    meta_bytes: bytes
    payload: bytes

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata map. Raises DamageError when it is none."""
        return unpack_map(self.meta_bytes)


def unpack_map(packed: bytes) -> dict[str, Any]:
    """A MessagePack map with str keys at the top. Raises DamageError when it is none."""
    if len(packed) > LARGEST_ITEM:
        message = f"A record opens but its metadata has {len(packed)} bytes, more than is allowed."
        raise DamageError(message)
    try:
        look_through(packed)
        value = msgpack.unpackb(packed, strict_map_key=False)
    except BAD_MESSAGEPACK as error:
        message = "A record opens but its metadata is not MessagePack."
        raise DamageError(message) from error
    if not isinstance(value, dict):
        message = "A record opens but its metadata is not a map."
        raise DamageError(message)
    return value


class Sealer:
    """Seals records under one root secret.

    Not for several threads at once: the compressor is one object.
    """

    def __init__(self, root_secret: bytes, *, level: int = 1) -> None:
        """`root_secret`: 32 bytes; `level`: of zstd, 0 means never compress."""
        self._siv_key = blake3(root_secret, derive_key_context=_SIV_CONTEXT).digest()
        self._record_key = blake3(root_secret, derive_key_context=_RECORD_CONTEXT).digest()
        self._compress = zstandard.ZstdCompressor(level=level).compress if level else None

    def seal(self, kind: Kind, meta: bytes, payload: Buffer = b"") -> tuple[bytes, bytes]:
        """Header and sealed part of one record; `meta` is a packed map.

        Raises ValueError when the record would be larger than the format allows.
        """
        codec = 0
        size = len(payload)
        if size > LARGEST_PAYLOAD:
            message = f"A payload of {size} bytes is larger than the format allows."
            raise ValueError(message)
        if (
            size > WORTH_COMPRESSING
            and self._compress is not None
            and (size < WORTH_SAMPLING or not self._seems_random(payload))
        ):
            packed = self._compress(payload)
            if len(packed) < size:
                payload, size, codec = packed, len(packed), 1
        sealed_size = 5 + len(meta) + size + TAG_SIZE
        if sealed_size > LARGEST_SEALED:
            message = f"A record of {sealed_size} bytes is larger than the format allows."
            raise ValueError(message)
        start = _WHOLE.pack(RECORD_MAGIC, VERSION, kind, 0, sealed_size, codec, len(meta))
        whole = b"".join((start, meta, payload))
        siv = blake3(whole, key=self._siv_key).digest()
        header = start[:_START_SIZE] + siv
        header += _CRC.pack(zlib.crc32(header))
        key = blake3(siv, key=self._record_key).digest()
        plain = memoryview(whole)[_START_SIZE:]
        return header, ChaCha20Poly1305(key).encrypt(NONCE, plain, header)

    def _seems_random(self, payload: Buffer) -> bool:
        """Whether none of three samples of a large payload gets smaller."""
        assert self._compress is not None
        view = memoryview(payload)
        quarter = len(view) // 4
        return all(
            len(self._compress(view[at : at + SAMPLE])) >= SAMPLE * 0.98
            for at in (quarter, 2 * quarter, 3 * quarter)
        )


class Opener:
    """Opens records under one root secret; not for several threads at once."""

    def __init__(self, root_secret: bytes) -> None:
        """`root_secret`: 32 bytes."""
        self._siv_key = blake3(root_secret, derive_key_context=_SIV_CONTEXT).digest()
        self._record_key = blake3(root_secret, derive_key_context=_RECORD_CONTEXT).digest()
        self._decompress = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompress

    def authenticate(self, header: Buffer, sealed: Buffer) -> bytes:
        """The plaintext of a record. Raises DamageError when the bytes are not what was sealed."""
        key = blake3(header[12:44], key=self._record_key).digest()
        try:
            return ChaCha20Poly1305(key).decrypt(NONCE, sealed, header)
        except InvalidTag:
            message = "A record does not open: its bytes were altered, or sealed with another key."
            raise DamageError(message) from None

    def open(self, record: Buffer) -> Opened:
        """One whole record, header included. Raises DamageError or FormatError."""
        view = memoryview(record)
        header = parse_header(view)
        if header.size != len(view):
            message = f"A record of {header.size} bytes was expected, {len(view)} are there."
            raise DamageError(message)
        plain = self.authenticate(view[:HEADER_SIZE], view[HEADER_SIZE:])
        if len(plain) < _HEAD_OF_PLAINTEXT.size:
            message = "A record opens but is too short."
            raise DamageError(message)
        codec, meta_size = _HEAD_OF_PLAINTEXT.unpack_from(plain)
        if 5 + meta_size > len(plain):
            message = "A record opens but its metadata is longer than the record."
            raise DamageError(message)
        payload = plain[5 + meta_size :]
        if codec == Codec.ZSTD:
            payload = self._inflate(payload)
        elif codec != Codec.PLAIN:
            message = f"A record uses codec {codec}, which this version of n2s does not know."
            raise FormatError(message)
        return Opened(header.kind, plain[5 : 5 + meta_size], payload)

    def _inflate(self, packed: bytes) -> bytes:
        try:
            size = zstandard.frame_content_size(packed)
            if not 0 <= size <= LARGEST_PAYLOAD:
                message = f"A record says that it inflates to {size} bytes."
                raise DamageError(message)
            return self._decompress(packed, max_output_size=size or 1)
        except zstandard.ZstdError as error:
            message = f"A record opens but does not decompress: {error}."
            raise DamageError(message) from error


def parse_header(view: Buffer, offset: int = 0) -> Header:
    """The header at `offset`. Raises DamageError, or FormatError for another version."""
    if len(view) - offset < HEADER_SIZE:
        message = "An object ends in the middle of a record."
        raise DamageError(message)
    magic, version, kind, _, size = _START.unpack_from(view, offset)
    (crc,) = _CRC.unpack_from(view, offset + 44)
    if magic != RECORD_MAGIC or zlib.crc32(view[offset : offset + 44]) != crc:
        message = "The header of a record is damaged."
        raise DamageError(message)
    if version != VERSION:
        message = f"A record has format version {version}; this n2s reads version {VERSION}."
        raise FormatError(message)
    if not TAG_SIZE < size <= LARGEST_SEALED:
        message = f"A record says that it is {size} bytes long, which the format does not allow."
        raise DamageError(message)
    return Header(kind, bytes(view[offset + 12 : offset + 44]), HEADER_SIZE + size)


def stated_size(header: bytes) -> int:
    """Length in bytes of the record with this header, which is yet to be authenticated."""
    return HEADER_SIZE + int(_START.unpack_from(header)[4])


def x25519_private(master_key: bytes) -> X25519PrivateKey:
    """The private key of the store."""
    return X25519PrivateKey.from_private_bytes(
        blake3(master_key, derive_key_context=X25519_CONTEXT).digest()
    )


def master_prelude() -> bytes:
    """The prelude of an object whose root secret is the master key."""
    return OBJECT_MAGIC + bytes((VERSION, KeyMode.MASTER))


def public_prelude(store_public: bytes) -> tuple[bytes, bytes]:
    """A prelude that only the owner of the store can open, and the new root secret in it."""
    secret = os.urandom(32)
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    start = OBJECT_MAGIC + bytes((VERSION, KeyMode.X25519)) + public
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(store_public))
    wrapped = _wrapping(shared, public, store_public).encrypt(NONCE, secret, start)
    return start + wrapped, secret


def _wrapping(shared: bytes, public: bytes, store_public: bytes) -> ChaCha20Poly1305:
    material = shared + public + store_public
    return ChaCha20Poly1305(blake3(material, derive_key_context=_OBJECT_CONTEXT).digest())


def open_prelude(data: Buffer, master_key: bytes) -> tuple[bytes, int]:
    """Root secret of an object and the length of its prelude.

    Raises DamageError, or FormatError for a version or key mode that is not known.
    """
    head = bytes(data[:SEALED_PRELUDE])
    if len(head) < PLAIN_PRELUDE or head[:6] != OBJECT_MAGIC:
        message = "An object does not begin as an n2s object."
        raise DamageError(message)
    if head[6] != VERSION:
        message = f"An object has format version {head[6]}; this n2s reads version {VERSION}."
        raise FormatError(message)
    if head[7] == KeyMode.MASTER:
        return master_key, PLAIN_PRELUDE
    if head[7] != KeyMode.X25519:
        message = f"An object uses key mode {head[7]}, which this version of n2s does not know."
        raise FormatError(message)
    if len(head) < SEALED_PRELUDE:
        message = "An object ends in the middle of its prelude."
        raise DamageError(message)
    private = x25519_private(master_key)
    own_public = private.public_key().public_bytes_raw()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(head[8:40]))
        secret = _wrapping(shared, head[8:40], own_public).decrypt(NONCE, head[40:88], head[:40])
    except (InvalidTag, ValueError):  # ValueError: a point of low order, which has no secret
        message = "The sealed key of an object does not open."
        raise DamageError(message) from None
    return secret, SEALED_PRELUDE
