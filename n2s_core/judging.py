"""What strangers wrote is of its type and within its bounds, or it is refused with ValueError.

Nothing is converted: `int("7")` and `bytes(1 << 40)` are both more than a store may ask for.
"""

from typing import Any

import msgpack

DIGEST_SIZE = 32
MOST = (1 << 63) - 1
LARGEST_RECORD = 48 + (64 << 20)
"""Bytes of a record with its header."""
LARGEST_ITEM = 8 << 20
"""Bytes of one map or list of MessagePack; bounds the memory that it can take."""
SMALL_ITEM = 4 << 10
BAD_MESSAGEPACK = (ValueError, TypeError, msgpack.UnpackException)
"""What msgpack raises; the TypeError is of a map whose keys are lists."""


def look_through(packed: bytes) -> None:
    """Whether a large value is whole, before room is made for lists that say how long they are.

    Raises one of BAD_MESSAGEPACK.
    """
    if len(packed) > SMALL_ITEM:
        walker = msgpack.Unpacker(max_buffer_size=len(packed))
        walker.feed(packed)
        walker.skip()


def number(value: Any, *, least: int = 0, most: int = MOST) -> int:
    """An int that is no bool, from `least` to `most`."""
    if type(value) is not int:
        message = f"a {type(value).__name__} stands where a number should"
        raise ValueError(message)
    if not least <= value <= most:
        message = f"the number {value} is out of range"
        raise ValueError(message)
    return value


def raw(value: Any) -> bytes:
    """Bytes of any length."""
    if type(value) is not bytes:
        message = f"a {type(value).__name__} stands where bytes should"
        raise ValueError(message)
    return value


def digest(value: Any) -> bytes:
    """Bytes that may be a BLAKE3."""
    if len(raw(value)) != DIGEST_SIZE:
        message = f"a hash has {len(value)} bytes"
        raise ValueError(message)
    found: bytes = value
    return found


def text(value: Any) -> str:
    """A str."""
    if type(value) is not str:
        message = f"a {type(value).__name__} stands where text should"
        raise ValueError(message)
    return value


def array(value: Any, least: int = 0) -> list[Any]:
    """A list of at least so many elements; a reader ignores more than it knows."""
    if type(value) is not list or len(value) < least:
        message = f"a {type(value).__name__} stands where a list of {least} or more should"
        raise ValueError(message)
    return value
