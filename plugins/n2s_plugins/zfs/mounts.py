"""Which dataset is mounted where, from /proc/self/mounts."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from n2s_core.relpath import RelPath, is_below, show
from n2s_plugins.zfs.commands import Filesystem

CONTROL = b".zfs"
_ESCAPE = re.compile(rb"\\([0-3][0-7][0-7])")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line: what is mounted, on which absolute path, and of which type."""

    device: bytes
    mountpoint: bytes
    kind: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset and where it is mounted.

    `mountpoint` is the one that the user named, `printed` the one that `zfs diff` prints; they
    differ when the dataset is mounted twice.
    """

    dataset: str
    mountpoint: bytes
    printed: bytes


def parse_mounts(text: bytes) -> list[Mount]:
    """The mounts in their order; spaces, tabs, newlines and backslashes are three octal digits."""
    found = []
    for line in text.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) >= 3:  # noqa: PLR2004 - device, mount point, type; the rest is not needed
            found.append(Mount(_plain(fields[0]), _plain(fields[1]), fields[2]))
    return found


def _plain(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


def find_place(root: bytes, mounts: Sequence[Mount]) -> Place | None:
    """The dataset that is mounted on `root`; None when none is, or something covers it."""
    here = [mount for mount in mounts if mount.mountpoint == root]
    if not here or here[-1].kind != b"zfs" or b"@" in here[-1].device:
        return None
    device = here[-1].device
    first = next(mount for mount in mounts if mount.device == device and mount.kind == b"zfs")
    return Place(os.fsdecode(device), root, first.mountpoint)


def why_not(root: bytes, mounts: Sequence[Mount], filesystems: Sequence[Filesystem]) -> str:
    """Why no dataset is mounted on `root`, and what to do."""
    shown = show(root)
    for filesystem in filesystems:
        if os.fsencode(filesystem.mountpoint) == root and not filesystem.mounted:
            return (
                f"{shown} is the mount point of {filesystem.name}, which {_unmounted(filesystem)}"
            )
    cover = _cover(root, mounts)
    if cover is not None and cover.kind == b"zfs" and b"@" in cover.device:
        return (
            f"{shown} lies in the snapshot {show(cover.device)}. Use the mount point of the dataset"
            f" as root, with -o snapshot={show(cover.device)}."
        )
    if cover is not None and cover.kind == b"zfs" and cover.mountpoint != root:
        return (
            f"{shown} is a directory in the dataset {show(cover.device)}, which is mounted on"
            f" {show(cover.mountpoint)}. zfs diff knows whole datasets only: use that mount point"
            " as root, make a dataset of the directory, or use the plugin find."
        )
    kind = show(cover.kind) if cover is not None else "unknown"
    sentence = f"{shown} lies on a filesystem of type {kind}; no ZFS dataset is mounted there."
    loose = [one.name for one in filesystems if one.mountpoint in {"legacy", "none"}]
    if loose:
        sentence += (
            f" Without a mount point of their own (legacy or none): {', '.join(sorted(loose))};"
            " as root: mount -t zfs DATASET DIRECTORY, or zfs set mountpoint=DIRECTORY DATASET."
        )
    if not filesystems:
        sentence += " No pool is imported; as root: zpool import shows the pools there are."
    return sentence


def _unmounted(filesystem: Filesystem) -> str:
    name = filesystem.name
    if filesystem.key_status == "unavailable":
        return (
            "is encrypted, and its key is not loaded."
            f" As root: zfs load-key {name}, zfs mount {name}."
        )
    if filesystem.can_mount == "off":
        return f"has canmount=off. As root: zfs set canmount=on {name}, zfs mount {name}."
    return f"is not mounted where n2s runs. As root: zfs mount {name}."


def _cover(root: bytes, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that `root` lies in: the deepest, and of several there the last."""
    found = None
    for mount in mounts:
        covers = mount.mountpoint in {root, b"/"} or is_below(root, mount.mountpoint)
        if covers and (found is None or len(mount.mountpoint) >= len(found.mountpoint)):
            found = mount
    return found


def left_out(place: Place, mounts: Sequence[Mount]) -> Iterator[tuple[RelPath, str]]:
    """What is mounted below the dataset and so is not in its snapshot: the uppermost of each.

    Other datasets, devices and network shares; what only the kernel makes up is no loss.
    """
    prefix = place.mountpoint.rstrip(b"/") + b"/"
    below = {
        mount.mountpoint[len(prefix) :]: mount
        for mount in mounts
        if mount.mountpoint.startswith(prefix) and mount.mountpoint != prefix and _has_files(mount)
    }
    last: RelPath | None = None
    for path in sorted(below, key=lambda one: one.split(b"/")):
        if path.split(b"/")[0] == CONTROL or (last is not None and is_below(path, last)):
            continue
        last = path
        mount = below[path]
        if mount.kind == b"zfs":
            sentence = (
                f"another dataset, {show(mount.device)}, is mounted here; it is not in the snapshot"
                f" of {place.dataset}, so nothing below was stored: push it on its own."
            )
        else:
            sentence = (
                f"a filesystem of type {show(mount.kind)} is mounted here; it is not in the"
                f" snapshot of {place.dataset}, so nothing below was stored."
            )
        yield path, sentence


def _has_files(mount: Mount) -> bool:
    return mount.kind == b"zfs" or mount.device.startswith(b"/") or b":" in mount.device
