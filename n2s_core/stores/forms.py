"""What a remote may hold under the name of an object: the object itself, or a shard of it."""

from collections.abc import Iterable

from blake3 import blake3

from n2s_core.layout import parse_name
from n2s_core.stores.naming import wrong_length

MAGIC = b"N2SSHD"


def is_shard(data: bytes) -> bool:
    """Whether these bytes are a shard and not an object by itself."""
    return data[: len(MAGIC)] == MAGIC


def is_whole(name: str, data: bytes) -> bool:
    """Whether these are the bytes that the name of the object says."""
    parsed = parse_name(name)
    return parsed is not None and blake3(data).digest() == parsed[1]


def whole_stream(name: str, data: Iterable[bytes], size: int) -> list[bytes]:
    """All chunks, to be given to several remotes; raises Refused when they are not `size` bytes."""
    chunks = data if isinstance(data, list) else list(data)
    total = sum(map(len, chunks))
    if total != size:
        raise wrong_length(name, total, size, "in the stream")
    return chunks
