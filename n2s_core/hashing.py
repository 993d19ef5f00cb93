"""Identity of contents and blobs (docs/format.md, section 5.1)."""

from blake3 import blake3

DIGEST_SIZE = 32
EMPTY_HASH: bytes = blake3(b"").digest()


def content_hash(data: "bytes | bytearray | memoryview") -> bytes:
    """BLAKE3 of `data`, 32 bytes."""
    return blake3(data).digest()


def blob_id(path: bytes, digest: bytes) -> bytes:
    """`BLAKE3(path || ":" || hex(digest))`, 32 bytes."""
    return blake3(path + b":" + digest.hex().encode()).digest()


_ZEROS = bytes(1 << 20)


def feed_zeros(hasher: blake3, count: int) -> None:
    """Hash a hole of `count` bytes without reading it; nothing for a count that is not positive."""
    while count > 0:
        hasher.update(_ZEROS[: min(count, len(_ZEROS))])
        count -= len(_ZEROS)
