"""One manifest of dsg: what every tracked path was at one snapshot.

A manifest is JSON of `entries` (by path) and `metadata`. It is believed when its own hashes say
so: `entries_hash` is the xxh3_64 of all entries in the order of the file, each as the shortest
JSON; `snapshot_hash` is that of the entries hash, the message, the project configuration with
sorted keys if there is one, and the snapshot hash of the snapshot before. A manifest is held in
memory, some hundred bytes for each entry.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import xxhash

from n2s_core.relpath import RelPath, is_safe
from n2s_plugins.dsg.nofeed import NoFeed

FILE = "file"
LINK = "link"
_CONTENT = {FILE: "hash", LINK: "reference"}


class Entry(NamedTuple):
    """A tracked path: `content` is the hash of a file or the target of a link.

    Size in bytes and modification time as written are -1 and "" where there is none, as of links.
    """

    type: str
    content: str
    size: int
    mtime: str

    def mtime_s(self) -> int | None:
        """The modification time in whole seconds since 1970; None when it is no time."""
        try:
            moment = datetime.fromisoformat(self.mtime)
            return int(moment.timestamp()) if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one manifest says, after its entries were checked against its metadata."""

    name: str
    entries: dict[RelPath, Entry]
    snapshot_id: str
    snapshot_hash: str
    snapshot_previous: str | None
    _entries_hash: str
    _message: str
    _project_config: object

    def follows(self, previous_hashes: Collection[str]) -> None:
        """Check the snapshot hash with what the snapshot before may have been called.

        Raises NoFeed when no one of them fits: damage, or a chain that is broken.
        """
        before = previous_hashes if self.snapshot_previous else ("",)
        if any(self._hash_after(previous) == self.snapshot_hash for previous in before):
            return
        if not before:
            message = (
                f"The chain of snapshots is broken: {self.name} follows"
                f" {self.snapshot_previous!r}, of which nothing is known here."
            )
            raise NoFeed(message)
        message = f"The snapshot_hash of {self.name} is not that of its content."
        raise NoFeed(message)

    def _hash_after(self, previous: str) -> str:
        hasher = xxhash.xxh3_64(self._entries_hash.encode())
        hasher.update(self._message.encode())
        if self._project_config is not None:
            hasher.update(orjson.dumps(self._project_config, option=orjson.OPT_SORT_KEYS))
        hasher.update(previous.encode())
        return hasher.hexdigest()


def parse(data: bytes, *, name: str) -> Manifest:
    """The manifest in these bytes; `name` is for messages.

    Fields that old versions do not have may be absent; everything else that is not as it should
    be raises NoFeed.
    """
    if not data:
        message = f"{name} is empty."
        raise NoFeed(message)
    try:
        whole = orjson.loads(data)
    except ValueError as error:
        message = f"{name} is not the JSON that it was: {error}."
        raise NoFeed(message) from error
    if not isinstance(whole, dict):
        message = f"{name} is no manifest."
        raise NoFeed(message)
    entries, about = whole.get("entries"), whole.get("metadata")
    if not isinstance(entries, dict) or not isinstance(about, dict):
        message = f"{name} has no entries or no metadata."
        raise NoFeed(message)
    facts = _Facts(name, about)
    count = about.get("entry_count")
    if count is not None and count != len(entries):
        message = f"{name} has {len(entries)} entries, and its metadata say {count!r}."
        raise NoFeed(message)
    entries_hash = facts.required("entries_hash")
    if _hash_of(entries, name) != entries_hash:
        message = f"The entries_hash of {name} is not that of its entries."
        raise NoFeed(message)
    return Manifest(
        name=name,
        entries=dict(_entries(entries, name)),
        snapshot_id=facts.text("snapshot_id"),
        snapshot_hash=facts.required("snapshot_hash"),
        snapshot_previous=facts.text("snapshot_previous") or None,
        _entries_hash=entries_hash,
        _message=facts.text("snapshot_message"),
        _project_config=about.get("project_config"),
    )


class _Facts(NamedTuple):
    name: str
    about: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A text of the metadata; absent or null is ""."""
        found = self.about.get(key)
        if found is None:
            return ""
        if not isinstance(found, str):
            message = f"The {key} of {self.name} is no text."
            raise NoFeed(message)
        return found

    def required(self, key: str) -> str:
        found = self.text(key)
        if not found:
            message = f"{self.name} has no {key}, as manifests of old versions of dsg."
            raise NoFeed(message)
        return found


def _hash_of(entries: Mapping[str, Any], name: str) -> str:
    hasher = xxhash.xxh3_64()
    try:
        for entry in entries.values():
            hasher.update(orjson.dumps(entry))
    except TypeError as error:
        message = f"The entries_hash of {name} cannot be computed: {error}."
        raise NoFeed(message) from error
    return hasher.hexdigest()


def _entries(entries: Mapping[str, Any], name: str) -> Iterator[tuple[RelPath, Entry]]:
    for key, entry in entries.items():
        path = key.encode()
        if not path or not is_safe(path):
            message = f"{name} names {key!r}, which is no path below the root."
            raise NoFeed(message)
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in _CONTENT:
            message = f"{name} has an entry of the unknown type {kind!r}: {key!r}."
            raise NoFeed(message)
        content = entry.get(_CONTENT[kind])
        if not isinstance(content, str) or entry.get("path", key) != key:
            message = f"The entry {key!r} of {name} has no {_CONTENT[kind]} or another path."
            raise NoFeed(message)
        size, mtime = entry.get("filesize"), entry.get("mtime")
        yield (
            path,
            Entry(
                kind,
                content,
                size if isinstance(size, int) else -1,
                mtime if isinstance(mtime, str) else "",
            ),
        )


def changed(old: Manifest, new: Manifest) -> Iterator[RelPath]:
    """Paths that were added, modified or touched, or left the manifest, in byte order.

    The user, the order of the entries and the hash over all of them say nothing: a sync that
    changes no content changes all three. What left the manifest may well be on the disk.
    """
    for path in sorted(old.entries.keys() | new.entries.keys()):
        if old.entries.get(path) != new.entries.get(path):
            yield path
