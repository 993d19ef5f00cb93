"""The discoverer: which snapshots, which of them to remove, and the feed between two of them."""

import base64
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, Discovery, Mark, Source
from n2s_core.relpath import show
from n2s_plugins.btrfs import command
from n2s_plugins.btrfs.names import Names
from n2s_plugins.btrfs.stream import commands

OPTIONS = frozenset({"snapshot", "since", "snapshots"})
OWN_FOLDER = b".n2s/snapshots"


@dataclass(frozen=True, slots=True)
class Base:
    """The mark: the snapshot of the push before."""

    uuid: str
    path: bytes

    def pack(self) -> Mark:
        """As the core keeps it."""
        path = base64.b64encode(self.path).decode()
        return json.dumps({"uuid": self.uuid, "path": path}).encode()

    @classmethod
    def unpack(cls, mark: Mark) -> "Base":
        """Raises DiscoveryError for the mark of something else."""
        try:
            found = json.loads(mark)
            return cls(str(found["uuid"]), base64.b64decode(found["path"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            message = f"The mark of the push before cannot be read: {error!r}."
            raise DiscoveryError(message) from error


class Btrfs:
    """Asks btrfs what changed between two read-only snapshots of a subvolume."""

    name = "btrfs"

    def check(self, source: Source) -> None:
        """Raise DiscoveryError when the root is no subvolume, or for options that are unknown."""
        unknown = sorted(set(source.options) - OPTIONS)
        if unknown:
            message = (
                f"The btrfs plugin has no option {unknown[0]!r}; it has"
                f" {', '.join(sorted(OPTIONS))}."
            )
            raise DiscoveryError(message)
        if "since" in source.options and "snapshot" not in source.options:
            message = "-o since=PATH needs -o snapshot=PATH."
            raise DiscoveryError(message)
        if "snapshot" in source.options:
            return
        try:
            command.show(source.root)
        except DiscoveryError as error:
            message = (
                f"{show(source.root)} cannot be used as a btrfs subvolume: {error} Use a subvolume"
                " as root (btrfs subvolume create), or the plugin find."
            )
            raise DiscoveryError(message) from error

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """The feed since the snapshot of the push before; a walk of the snapshot without one."""
        given = source.options.get("snapshot")
        if given is not None:
            return self._given(source, os.path.abspath(os.fsencode(given)), since)
        return self._own(source, since)

    @contextmanager
    def _given(self, source: Source, path: bytes, since: Mark | None) -> Iterator[Discovery]:
        if not os.path.isdir(path):
            message = f"There is no snapshot at {show(path)}; name the folder of a read-only one."
            raise DiscoveryError(message)
        new = command.show(path)
        if not new.read_only:
            message = (
                f"{show(path)} is not read-only, and btrfs compares read-only snapshots only;"
                " take it with 'btrfs subvolume snapshot -r'."
            )
            raise DiscoveryError(message)
        named = source.options.get("since")
        yield _discovery(source, path, new.uuid, since, os.fsencode(named) if named else None)

    @contextmanager
    def _own(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        chosen = source.options.get("snapshots")
        folder = os.fsencode(chosen) if chosen else source.root + b"/" + OWN_FOLDER
        os.makedirs(folder, mode=0o700, exist_ok=True)
        base = _left(source, folder, since)
        path = folder + b"/" + _prefix(source) + b"%d" % time.time_ns()
        command.snapshot(source.root, path)
        try:
            yield _discovery(source, path, command.show(path).uuid, since, None)
        except DiscoveryError:
            command.delete(path)
            raise
        # After any other failure the snapshot stays: the next push may find its changeset sealed.
        for one in [path] if source.dry_run else base:
            command.delete(one)


def _prefix(source: Source) -> bytes:
    """What the names of the snapshots of this dataset begin with; a folder may serve several."""
    named = source.dataset.encode("utf-8", "surrogateescape") + b"\0" + source.root
    return b"n2s-%s-" % hashlib.sha256(named).hexdigest()[:12].encode()


def _left(source: Source, folder: bytes, since: Mark | None) -> list[bytes]:
    """The snapshot of the push before; what pushes left behind that failed is removed."""
    base = b""
    with contextlib.suppress(DiscoveryError):  # the mark of something else
        base = os.path.basename(Base.unpack(since or b"").path)
    names = [one for one in os.listdir(folder) if one.startswith(_prefix(source))]
    for name in names:
        if name != base:
            command.delete(folder + b"/" + name)
    return [folder + b"/" + base] if base in names else []


def _discovery(
    source: Source, path: bytes, uuid: str, since: Mark | None, named: bytes | None
) -> Discovery:
    _name_nested(source)
    until = Base(uuid, path).pack()
    why = None
    if since is not None:
        try:
            base = _base(since, named, path)
        except DiscoveryError as error:
            why = str(error)
        else:
            feed = iter(()) if base.uuid == uuid else _feed(base.path, path)
            return Discovery(path, until, complete=False, changes=feed)
    return Discovery(path, until, complete=True, changes=source.walk(path), fallback=why)


def _base(since: Mark, named: bytes | None, new: bytes) -> Base:
    """The snapshot of the push before, where it is now. Raises DiscoveryError when it is gone."""
    base = Base.unpack(since)
    places = [named, base.path, os.path.join(os.path.dirname(new), os.path.basename(base.path))]
    for place in places:
        if place is None or not os.path.isdir(place):
            continue
        try:
            found = command.show(place)
        except DiscoveryError:
            continue
        if found.uuid == base.uuid and found.read_only:
            return Base(base.uuid, place)
    message = f"The snapshot of the push before, {show(base.path)}, is gone."
    raise DiscoveryError(message)


def _feed(base: bytes, path: bytes) -> Iterator[Change]:
    names = Names()
    with command.send(base, path) as stream:
        for said in commands(stream):
            names.take(said)
    yield from names.changes()


def _name_nested(source: Source) -> None:
    """A snapshot leaves out the subvolumes below; each is named unless it is excluded."""
    try:
        top = command.show(source.root).within
    except DiscoveryError:  # the root is not mounted, and a snapshot of it was given
        return
    prefix = b"" if top in (b"/", b"<FS_TREE>") else top.strip(b"/") + b"/"
    for within in command.nested(source.root):
        path = within.removeprefix(b"<FS_TREE>/").removeprefix(prefix)
        if not path.startswith(OWN_FOLDER + b"/") and not source.leaves_out(path):
            source.report(path, "it is another subvolume; make a dataset of it, or exclude it")
