"""Entries of a changeset that is not finished."""

from typing import NamedTuple


class PendingEntries(NamedTuple):
    """One list of entries: an object in `meta/` (digest), or metadata and payload for the head."""

    object_no: int
    digest: bytes | None
    entries: int
    meta: bytes | None
    payload: bytes | None
