"""The master key and the key objects that wrap it (docs/format.md, section 2)."""

import os
import struct
from dataclasses import dataclass

import msgpack
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from n2s_core.errors import FormatError

MAGIC = b"N2SKEY"
VERSION = 1
ARGON2ID = 1
KEY_SIZE = 32
_STORE_ID_CONTEXT = "n2s format 1 store id"
_FIXED = struct.Struct("<6sBBIII16s12sH")
MOST_MEMORY_KIB = 4 << 20
MOST_ITERATIONS = 64
MOST_LANES = 64
LEAST_KIB_PER_LANE = 8
_MOST_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class KdfCost:
    """Cost of Argon2id: memory in KiB, passes, lanes."""

    memory_kib: int = 65536
    iterations: int = 3
    lanes: int = 4


DEFAULT_COST = KdfCost()


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a key object says of itself without a passphrase; `created_ns` None: it does not say."""

    created_ns: int | None
    label: str
    cost: KdfCost


def new_master_key() -> bytes:
    """32 random bytes."""
    return os.urandom(KEY_SIZE)


def store_id(master_key: bytes) -> bytes:
    """16 bytes that tell stores apart; not secret."""
    return blake3(master_key, derive_key_context=_STORE_ID_CONTEXT).digest()[:16]


def derive(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    """The key under which a key object wraps the master key; slow on purpose."""
    kdf = Argon2id(
        salt=salt,
        length=KEY_SIZE,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return kdf.derive(passphrase.encode("utf-8", "surrogateescape"))


def wrap(
    master_key: bytes,
    passphrase: str,
    *,
    created_ns: int,
    label: str = "",
    cost: KdfCost = DEFAULT_COST,
) -> bytes:
    """The bytes of a new key object."""
    salt, nonce = os.urandom(16), os.urandom(12)
    info: bytes = msgpack.packb({"t": created_ns, "l": label})
    head = _FIXED.pack(
        MAGIC,
        VERSION,
        ARGON2ID,
        cost.memory_kib,
        cost.iterations,
        cost.lanes,
        salt,
        nonce,
        len(info),
    )
    head += info
    return head + ChaCha20Poly1305(derive(passphrase, salt, cost)).encrypt(nonce, master_key, head)


def _parse(data: bytes) -> tuple[KdfCost, bytes, bytes, bytes, bytes]:
    damaged = "A key object is damaged: it is not as long as it says, or not a key object at all."
    if len(data) < _FIXED.size or data[:6] != MAGIC:
        raise FormatError(damaged)
    _, version, kdf, memory, iterations, lanes, salt, nonce, size = _FIXED.unpack_from(data)
    if version != VERSION or kdf != ARGON2ID:
        message = f"A key object has version {version} and KDF {kdf}; this n2s reads 1 and 1."
        raise FormatError(message)
    if len(data) != _FIXED.size + size + KEY_SIZE + 16:
        raise FormatError(damaged)
    bounded = 1 <= iterations <= MOST_ITERATIONS and 1 <= lanes <= MOST_LANES
    if not bounded or not LEAST_KIB_PER_LANE * lanes <= memory <= MOST_MEMORY_KIB:
        message = (
            f"A key object asks for {memory} KiB, {iterations} passes, {lanes} lanes: refused."
        )
        raise FormatError(message)
    head = data[: _FIXED.size + size]
    return KdfCost(memory, iterations, lanes), salt, nonce, head, data[len(head) :]


def unwrap(data: bytes, passphrase: str) -> bytes | None:
    """The master key in a key object, None when it has another passphrase.

    Raises FormatError for bytes that are no key object of this version.
    """
    cost, salt, nonce, head, sealed = _parse(data)
    try:
        key = derive(passphrase, salt, cost)
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, head)
    except InvalidTag:
        return None
    except (ValueError, MemoryError) as error:
        message = f"A key object asks for an Argon2id that cannot be computed here: {error}."
        raise FormatError(message) from error


def describe(data: bytes) -> KeyFacts:
    """What a key object says of itself. Raises FormatError for bytes that are no key object.

    What its information map does not say as it should counts as not said.
    """
    cost, _, _, head, _ = _parse(data)
    try:
        found = msgpack.unpackb(head[_FIXED.size :])
    except (ValueError, msgpack.UnpackException):
        found = None
    told = found if isinstance(found, dict) else {}
    created_ns, label = told.get("t"), told.get("l")
    return KeyFacts(
        created_ns if type(created_ns) is int and 0 <= created_ns <= _MOST_NS else None,
        label if type(label) is str else "",
        cost,
    )
