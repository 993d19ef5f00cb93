"""Discovery by a journal: whatever writes into the tree appends the path to `-o journal=FILE`.

Each path is relative to the root, ends with a NUL byte, and is appended after the change.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.relpath import is_safe, show
from n2s_plugins import hookimpl


class Journal:
    """The mark is how much of the journal was read, and a hash of that much."""

    name = "journal"

    def check(self, source: Source) -> None:
        """Raise DiscoveryError unless the journal is there."""
        if set(source.options) != {"journal"} or not os.path.isfile(source.options["journal"]):
            message = "The journal plugin needs -o journal=FILE, a file that is there, and no more."
            raise DiscoveryError(message)

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """What was appended since the mark; a walk when the journal is not the one of before."""
        with open(source.options["journal"], "rb") as file:
            said = file.read()
        said = said[: said.rfind(b"\0") + 1]  # the last path may be half written
        read = 0 if since is None else int.from_bytes(since[:8])
        if since is None or since != _mark(said[:read]):
            why = None if since is None else "The journal does not begin as it did."
            changes = source.walk(source.root)
            return nullcontext(
                Discovery(source.root, _mark(said), complete=True, changes=changes, fallback=why)
            )
        changes = _changes(said[read:])
        return nullcontext(Discovery(source.root, _mark(said), complete=False, changes=changes))


def _mark(said: bytes) -> Mark:
    return len(said).to_bytes(8) + sha256(said).digest()


def _changes(said: bytes) -> Iterator[Change]:
    for path in said.split(b"\0")[:-1]:
        if not is_safe(path):
            message = f"The journal names {show(path)}, which is no path below the root."
            raise DiscoveryError(message)
        yield Change(path, ChangeKind.SUBTREE_WRITTEN)


@hookimpl
def n2s_discoverers() -> list[Journal]:
    """One discoverer, called journal."""
    return [Journal()]
