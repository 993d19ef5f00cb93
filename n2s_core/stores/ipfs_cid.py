"""CIDs: the names that IPFS gives to bytes (github.com/multiformats/cid)."""

import base64

from n2s_core.errors import Unavailable

RAW_SHA256 = b"\x01\x55\x12\x20"
_VERSION_0 = b"\x12\x20"
_VERSION_1 = b"\x01"
_DAG_PB = b"\x01\x70"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LONGEST = 128


def parse_cid(text: str) -> bytes:
    """The bytes of a CID that is written in base 32, 58 or 16; one of version 0 as version 1.

    So two spellings of one CID are equal. Raises ValueError.
    """
    try:
        if len(text) <= _LONGEST:
            return _decoded(text)
    except ValueError as error:
        message = f"{text!r} is no CID in base 32, 58 or 16."
        raise ValueError(message) from error
    message = f"{text[:_LONGEST]!r}... is too long for a CID."
    raise ValueError(message)


def cid_text(cid: bytes) -> str:
    """The usual spelling of a CID of version 1: base 32."""
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def said_cid(said: object) -> bytes:
    """The CID in an answer of a node; raises Unavailable when it is none."""
    try:
        return parse_cid(str(said))
    except ValueError as error:
        message = "The IPFS node gave an answer without a CID in it."
        raise Unavailable(message) from error


def _decoded(text: str) -> bytes:
    if text.startswith("Qm"):
        return _DAG_PB + _marked(_from_base58(text), _VERSION_0)
    base, digits = text[:1], text[1:]
    if base == "b":
        padded = digits.upper() + "=" * (-len(digits) % 8)
        return _marked(base64.b32decode(padded), _VERSION_1)
    if base == "z":
        return _marked(_from_base58(digits), _VERSION_1)
    if base == "f":
        return _marked(bytes.fromhex(digits), _VERSION_1)
    raise ValueError


def _marked(cid: bytes, mark: bytes) -> bytes:
    if not cid.startswith(mark):
        raise ValueError
    return cid


def _from_base58(text: str) -> bytes:
    number = 0
    for letter in text:
        number = number * 58 + _BASE58.index(letter)
    return number.to_bytes((number.bit_length() + 7) // 8)
