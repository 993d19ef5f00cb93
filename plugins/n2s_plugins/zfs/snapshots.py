"""Snapshots: their names, who holds them, and the way into them."""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from n2s_core.clock import SECOND_NS, iso
from n2s_core.errors import DiscoveryError
from n2s_core.relpath import RelPath, show, split
from n2s_plugins.zfs.commands import Snapshot, Zfs
from n2s_plugins.zfs.doubts import UNKNOWN
from n2s_plugins.zfs.mounts import CONTROL

_PARTS = 15
"""So many components of up to 255 bytes are no more than a path may have."""
_TAG = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,99}")
_TIME = r"-\d{8}T\d{6}Z-\d{9}"


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """What the plugin remembers of the last push: the snapshot that it read.

    `doubts` are paths that each push looks at, whatever zfs diff says; see `doubts.py`.
    """

    dataset: str
    guid: str
    doubts: frozenset[RelPath] = frozenset()

    def encode(self) -> bytes:
        """The mark as the core keeps it; each byte of a path is one character."""
        doubts = [path.decode("latin-1") for path in sorted(self.doubts)]
        found = {"zfs": 1, "dataset": self.dataset, "guid": self.guid, "doubts": doubts}
        return json.dumps(found).encode()

    @classmethod
    def decode(cls, mark: bytes) -> "SnapshotMark | None":
        """None for a mark that this version did not write."""
        try:
            found = json.loads(mark)
            if found["zfs"] != 1:
                return None
            doubts = frozenset(path.encode("latin-1") for path in found["doubts"])
            return cls(str(found["dataset"]), str(found["guid"]), doubts)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None


def new_name(dataset: str, prefix: str, time_ns: int) -> str:
    """The name of a snapshot of the plugin's own; the time is UTC."""
    moment = re.sub(r"[-:]", "", iso(time_ns)[:19])
    return f"{dataset}@{prefix}-{moment}Z-{time_ns % SECOND_NS:09d}"


def superfluous(snapshots: Sequence[Snapshot], prefix: str, *, keep: int) -> list[Snapshot]:
    """The plugin's own snapshots that nobody holds, but for the `keep` newest.

    `snapshots` come oldest first. A snapshot that somebody else named is never among them.
    """
    own = re.compile(re.escape(prefix) + _TIME)
    free = [one for one in snapshots if own.fullmatch(one.short) and not one.holds]
    return free[: max(0, len(free) - keep)]


def hold_tag(dataset: str) -> str:
    """The tag of the holds for one dataset of n2s."""
    if _TAG.fullmatch(dataset):
        return f"n2s:{dataset}"
    return f"n2s:{hashlib.sha256(dataset.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


class Holds:
    """The holds with one tag on the snapshots of one dataset."""

    def __init__(self, zfs: Zfs, tag: str, snapshots: Sequence[Snapshot]) -> None:
        """Looks up which of the snapshots are held with the tag."""
        self._zfs = zfs
        self._tag = tag
        tags = zfs.tags([one.name for one in snapshots if one.holds])
        self._held = {name for name, found in tags.items() if tag in found}

    def take(self, snapshot: Snapshot) -> None:
        """Hold it, unless it is held already or is a bookmark."""
        if snapshot.name not in self._held and not snapshot.is_bookmark:
            self._zfs.hold(self._tag, snapshot.name)
            self._held.add(snapshot.name)

    def release(self, name: str) -> None:
        """Give the hold up, if there is one."""
        if name in self._held:
            self._zfs.release(self._tag, name)
            self._held.discard(name)

    def release_all_but(self, *wanted: Snapshot) -> None:
        """Give up every other hold with the tag."""
        for name in sorted(self._held - {one.name for one in wanted}):
            self.release(name)


class Machine(Protocol):
    """What is needed of the machine besides the zfs command; a recording can stand in."""

    def mounts(self) -> bytes:
        """What is mounted, as /proc/self/mounts shows it."""

    def resolve(self, path: bytes) -> bytes:
        """The path without symlinks."""

    def objects(self, directory: bytes) -> int:
        """How many objects the dataset has; about the number of its files."""

    def inode(self, directory: bytes, path: RelPath) -> int | None:
        """The inode number of a path; None when it is not there, UNKNOWN when that is unknown."""

    def entries(self, directory: bytes, path: RelPath) -> Iterator[tuple[bytes, int]]:
        """Names in the directory `path` with their inode numbers; none when there is none."""

    def entered(
        self, zfs: Zfs, mountpoint: bytes, snapshot: Snapshot
    ) -> AbstractContextManager[bytes]:
        """The directory where the snapshot can be read, as long as the context lasts."""


class LinuxMachine:
    """The machine that n2s runs on."""

    def mounts(self) -> bytes:
        """See `Machine`."""
        with open("/proc/self/mounts", "rb") as file:
            return file.read()

    def resolve(self, path: bytes) -> bytes:
        """See `Machine`."""
        return os.path.realpath(path)

    def objects(self, directory: bytes) -> int:
        """See `Machine`; ZFS counts its objects as inodes."""
        found = os.statvfs(directory)
        return max(0, found.f_files - found.f_ffree)

    def inode(self, directory: bytes, path: RelPath) -> int | None:
        """See `Machine`."""
        try:
            with _folder(directory, split(path)[0]) as folder:
                name = split(path)[1] or b"."
                return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
        except OSError as error:
            gone = error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
            return None if gone else UNKNOWN

    def entries(self, directory: bytes, path: RelPath) -> Iterator[tuple[bytes, int]]:
        """See `Machine`. What cannot be read is as good as empty: its files are searched."""
        with suppress(OSError), _folder(directory, path) as folder, os.scandir(folder) as found:
            for entry in found:
                yield os.fsencode(entry.name), entry.inode()

    @contextmanager
    def entered(self, zfs: Zfs, mountpoint: bytes, snapshot: Snapshot) -> Iterator[bytes]:
        """See `Machine`. Entering mounts it, and an open directory keeps it from expiring."""
        directory = b"/".join(
            (mountpoint.rstrip(b"/"), CONTROL, b"snapshot", os.fsencode(snapshot.short))
        )
        descriptor = _open_snapshot(directory, mountpoint)
        if descriptor is None:
            with _mounted(zfs, snapshot) as own:
                yield own
            return
        try:
            yield directory
        finally:
            os.close(descriptor)


@contextmanager
def _folder(root: bytes, path: RelPath) -> Iterator[int]:
    """A directory below `root`, opened piece by piece: a path may be longer than the kernel takes.

    Raises OSError, for a symlink on the way as well.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(root, flags)
    try:
        for at in range(0, len(parts := path.split(b"/")) if path else 0, _PARTS):
            inside = os.open(b"/".join(parts[at : at + _PARTS]), flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inside
        yield descriptor
    finally:
        os.close(descriptor)


def _open_snapshot(directory: bytes, mountpoint: bytes) -> int | None:
    """None when the snapshot is not to be seen there: only what is mounted has its own device."""
    try:
        descriptor = os.open(directory + b"/.", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.EPERM, errno.EACCES, errno.ENOTDIR}:
            return None
        message = f"The snapshot {show(directory)} cannot be entered: {error.strerror}."
        raise DiscoveryError(message) from error
    if os.fstat(descriptor).st_dev != os.stat(mountpoint).st_dev:
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def _mounted(zfs: Zfs, snapshot: Snapshot) -> Iterator[bytes]:
    """The snapshot on a directory of its own, where .zfs does not show it."""
    with tempfile.TemporaryDirectory(prefix="n2s-zfs-") as directory:
        try:
            zfs.mount(snapshot.name, directory)
        except DiscoveryError as error:
            message = (
                f"The snapshot {snapshot.name} is not to be seen in .zfs/snapshot of its dataset"
                f" and could not be mounted: {error} Run n2s as root, or as root:"
                f" zfs set snapdir=hidden {snapshot.name.partition('@')[0]}."
            )
            raise DiscoveryError(message) from error
        try:
            yield os.fsencode(directory)
        finally:
            zfs.unmount(directory)
