"""Names of objects in a store (docs/format.md, section 1)."""

import re
from enum import StrEnum

_NAME = re.compile(r"(?:(keys|changesets)/|(data|meta)/([0-9a-f]{2})/)([0-9a-f]{64})")


class Shelf(StrEnum):
    """The four prefixes of a store."""

    KEYS = "keys"
    DATA = "data"
    META = "meta"
    CHANGESETS = "changesets"


FANNED_OUT = frozenset({Shelf.DATA, Shelf.META})
FOLDERS = tuple(f"{number:02x}" for number in range(256))


def object_name(shelf: Shelf, digest: bytes) -> str:
    """The name of the object on `shelf` whose bytes have the BLAKE3 `digest`."""
    text = digest.hex()
    if shelf in FANNED_OUT:
        return f"{shelf.value}/{text[:2]}/{text}"
    return f"{shelf.value}/{text}"


def parse_name(name: str) -> tuple[Shelf, bytes] | None:
    """Shelf and digest of an object's name; None for anything that is not an object."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    shelf, fanned, folder, digest = match.groups()
    if fanned and not digest.startswith(folder):
        return None
    return Shelf(shelf or fanned), bytes.fromhex(digest)
