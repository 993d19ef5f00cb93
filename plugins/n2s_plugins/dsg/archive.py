"""What `.dsg` remembers of earlier snapshots."""

import contextlib
import gzip
import os
import re
import zlib
from collections.abc import Iterator

import lz4.frame  # type: ignore[import-untyped]
import orjson

from n2s_core.relpath import RelPath, show
from n2s_plugins.dsg.manifest import Manifest, parse
from n2s_plugins.dsg.nofeed import NoFeed, read

LAST_SYNC: RelPath = b".dsg/last-sync.json"
MESSAGES: RelPath = b".dsg/sync-messages.json"
ARCHIVE: RelPath = b".dsg/archive"
_NAME = re.compile(rb"s?(\d{1,18})(?:-sync)?\.json\.(lz4|gz)")
_NUMBER = re.compile(r"s?(\d{1,18})")


class Snapshots:
    """The snapshots of one repository: the last one, and those before it.

    Snapshots are told apart by their hash; the ids of a clone begin at s1 again, so one id may
    mean several snapshots.
    """

    def __init__(self, root: bytes) -> None:
        """Nothing is read yet."""
        self._root = root
        self._known: list[tuple[str, str]] | None = None

    def last(self) -> Manifest:
        """The manifest of the last sync, checked. Raises NoFeed."""
        return self._checked(parse(read(self._root, LAST_SYNC), name=show(LAST_SYNC)))

    def with_hash(self, snapshot_hash: str) -> Manifest:
        """The archived manifest of the snapshot with this hash, checked. Raises NoFeed."""
        damage = None
        for path in self._candidates(snapshot_hash):
            try:
                found = parse(_unpacked(self._root, path), name=show(path))
                if found.snapshot_hash == snapshot_hash:
                    return self._checked(found)
            except NoFeed as problem:
                damage = damage or problem
        if damage is not None:
            message = f"The manifest of the last push cannot be had: {damage}"
            raise NoFeed(message) from damage
        message = f"The snapshot {snapshot_hash} of the last push is not in .dsg/archive."
        raise NoFeed(message)

    def _checked(self, manifest: Manifest) -> Manifest:
        previous = manifest.snapshot_previous
        known = {one for name, one in self._all_known() if name == previous}
        manifest.follows(known or set(self._archived_as(previous)))
        return manifest

    def _archived_as(self, snapshot_id: str | None) -> Iterator[str]:
        """Hashes of archived snapshots of this id, for when the messages do not tell."""
        wanted = _NUMBER.fullmatch(snapshot_id or "")
        for number, path in self._archive():
            if wanted is not None and number == int(wanted[1]):
                with contextlib.suppress(NoFeed):
                    yield parse(_unpacked(self._root, path), name=show(path)).snapshot_hash

    def _candidates(self, snapshot_hash: str) -> Iterator[RelPath]:
        """Archive files that may hold it, the likeliest first.

        Only those of the right number when the messages know the hash, else all of them.
        """
        numbered = sorted(self._archive(), reverse=True)
        ids = {name for name, one in self._all_known() if one == snapshot_hash}
        numbers = {int(match[1]) for one in ids if (match := _NUMBER.fullmatch(one))}
        for number, path in numbered:
            if not numbers or number in numbers:
                yield path

    def _archive(self) -> Iterator[tuple[int, RelPath]]:
        try:
            names = os.listdir(self._root + b"/" + ARCHIVE)
        except OSError:
            return
        for name in names:
            match = _NAME.fullmatch(name)
            if match is not None:
                yield int(match[1]), ARCHIVE + b"/" + name

    def _all_known(self) -> list[tuple[str, str]]:
        """(id, hash) of every snapshot that the messages tell of; damage there is silence."""
        if self._known is None:
            try:
                self._known = list(_told(orjson.loads(read(self._root, MESSAGES))))
            except (NoFeed, ValueError):
                self._known = []
        return self._known


def _told(messages: object) -> Iterator[tuple[str, str]]:
    if not isinstance(messages, dict):
        return
    for key in ("snapshots", "messages", "legacy_messages"):
        group = messages.get(key)
        named = group.items() if isinstance(group, dict) else []
        listed = [(None, about) for about in group] if isinstance(group, list) else []
        for name, about in (*named, *listed):
            if not isinstance(about, dict):
                continue
            identity = name or about.get("snapshot_id")
            snapshot_hash = about.get("snapshot_hash")
            if isinstance(identity, str) and isinstance(snapshot_hash, str):
                yield identity, snapshot_hash


def _unpacked(root: bytes, path: RelPath) -> bytes:
    """The bytes of an archived manifest. Raises NoFeed for an empty or damaged file."""
    packed = read(root, path)
    if not packed:
        message = f"{show(path)} is empty."
        raise NoFeed(message)
    try:
        if path.endswith(b".lz4"):
            return bytes(lz4.frame.decompress(packed))
        return gzip.decompress(packed)
    except (RuntimeError, ValueError, OSError, EOFError, MemoryError, zlib.error) as error:
        message = f"{show(path)} is damaged: {error}."
        raise NoFeed(message) from error
