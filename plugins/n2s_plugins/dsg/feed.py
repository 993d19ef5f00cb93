"""What changed since a snapshot: hints for the core, which looks at each of them."""

import os
import stat as statlib
from collections.abc import Iterator
from dataclasses import dataclass

from n2s_core.clock import SECOND_NS
from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind, Source
from n2s_core.relpath import ROOT, RelPath, is_below
from n2s_plugins.dsg.archive import LAST_SYNC
from n2s_plugins.dsg.config import CONFIG
from n2s_plugins.dsg.manifest import FILE, LINK, Manifest, changed
from n2s_plugins.dsg.names import (
    DSG,
    TRANSACTION,
    Twins,
    as_in_manifest,
)

Fingerprint = tuple[int, int, int, int] | None


def fingerprint(root: bytes) -> Fingerprint:
    """What changes when dsg writes its last manifest; None when it is not there."""
    try:
        stat = os.stat(root + b"/" + LAST_SYNC)
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def is_syncing(root: bytes) -> bool:
    """Whether a sync is running, or died."""
    return os.path.lexists(root + b"/" + TRANSACTION)


@dataclass(frozen=True, slots=True)
class Feed:
    """The hints from the snapshot `old` to `new`, the last one.

    `print_before` is the fingerprint from before `new` was read. `since_ns` None: believe the
    manifests alone; else the tree is walked too, for what they cannot know.
    """

    source: Source
    old: Manifest
    new: Manifest
    print_before: Fingerprint
    since_ns: int | None

    @property
    def root_changed(self) -> bool:
        """Whether names came to or went from the root itself, below which it all lies."""
        if self.since_ns is None:
            return False
        try:
            return os.stat(self.source.root).st_ctime_ns >= self.since_ns
        except OSError:  # the walk says so
            return False

    def changes(self) -> Iterator[Change]:
        """All hints. Raises DiscoveryError when a sync began or ended meanwhile."""
        yield Change(CONFIG)
        yield Change(DSG, ChangeKind.SUBTREE_WRITTEN)  # no manifest names what is in it
        if self.since_ns is None:
            yield from self._of_manifests()
        else:
            yield from self._of_tree(self.since_ns)
        if is_syncing(self.source.root) or fingerprint(self.source.root) != self.print_before:
            message = "A dsg sync ran during the push, so its list of changes is not the whole one."
            raise DiscoveryError(message)

    def _of_manifests(self) -> Iterator[Change]:
        """What differs between the manifests, and what the disk may call it instead."""
        twins = Twins(self.source.root)
        for path in changed(self.old, self.new):
            yield Change(path)
            for twin in twins.of(path):
                yield Change(twin)

    def _of_tree(self, since_ns: int) -> Iterator[Change]:
        """What differs between the manifests, and what changed without a sync, tracked or not.

        That is any path with a newer change time, which nobody can set; of a directory all that
        is below, since it may have been moved here; and tracked paths that are not as the manifest
        says, or gone. What the walk leaves out is excluded by the user.
        """
        differing = set(changed(self.old, self.new))
        unseen = differing.union(self.new.entries)
        inside: RelPath | None = None
        for change in self.source.walk(self.source.root):
            path, stat = change.path, change.stat
            unseen.discard(path)
            if is_below(path, DSG) or path == DSG or stat is None:
                continue
            if inside is not None and is_below(path, inside):
                continue
            if stat.st_ctime_ns >= since_ns:
                if statlib.S_ISDIR(stat.st_mode) and path != ROOT:
                    inside = path
                    yield Change(path, ChangeKind.SUBTREE_WRITTEN)
                else:
                    yield Change(path)
                continue
            tracked = as_in_manifest(path)
            if tracked in differing or self._disagrees(tracked, path, stat):
                yield Change(path)
        for path in sorted(unseen):
            if _is_gone(self.source.root + b"/" + path):
                yield Change(path)

    def _disagrees(self, tracked: RelPath, path: RelPath, stat: os.stat_result) -> bool:
        """Whether a tracked path is not what the manifest says, as far as a stat can tell."""
        entry = self.new.entries.get(tracked)
        if entry is None:
            return False
        if statlib.S_ISREG(stat.st_mode):
            if entry.type != FILE or entry.size != stat.st_size:
                return True
            return entry.mtime_s() != stat.st_mtime_ns // SECOND_NS
        if statlib.S_ISLNK(stat.st_mode):
            return entry.type != LINK or not self._leads_to(path, entry.content)
        return True

    def _leads_to(self, path: RelPath, target: str) -> bool:
        try:
            return os.readlink(self.source.root + b"/" + path) == target.encode()
        except OSError:
            return False


def _is_gone(path: bytes) -> bool:
    """Whether nothing is there; of what cannot be looked at that is not known."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
