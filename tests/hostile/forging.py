"""Bytes that no writer of n2s makes: records around any plaintext, sealed by the right key."""

import struct
import zlib

import msgpack
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from n2s_core.sealing import Kind, Opener, master_prelude

KEY = bytes(range(32))


def plaintext(meta: bytes, payload: bytes = b"", *, codec: int = 0) -> bytes:
    """What a record seals."""
    return struct.pack("<BI", codec, len(meta)) + meta + payload


def record(kind: int, plain: bytes, *, key: bytes = KEY) -> bytes:
    """A record with any plaintext, sealed as docs/format.md says."""
    start = struct.pack("<4sBBHI", b"N2SR", 1, kind, 0, len(plain) + 16)
    siv_key = blake3(key, derive_key_context="n2s format 1 siv").digest()
    header = start + blake3(start + plain, key=siv_key).digest()
    header += struct.pack("<I", zlib.crc32(header))
    record_key = blake3(key, derive_key_context="n2s format 1 record").digest()
    secret = blake3(header[12:44], key=record_key).digest()
    return header + ChaCha20Poly1305(secret).encrypt(bytes(12), plain, header)


def sealed(kind: int, meta: object, payload: bytes = b"", *, key: bytes = KEY) -> bytes:
    """A record with these metadata."""
    return record(kind, plaintext(msgpack.packb(meta), payload), key=key)


def whole(*records: bytes) -> bytes:
    """An object of these records."""
    return master_prelude() + b"".join(records)


def opened_metadata(data: bytes) -> object:
    """The metadata of a record whose metadata are these bytes."""
    return Opener(KEY).open(record(Kind.PACK, plaintext(data))).meta
