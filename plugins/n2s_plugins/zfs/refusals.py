"""What zfs says when it refuses, and what to do about it."""

PERMISSIONS = "send,diff,hold,release,snapshot,mount,destroy"

_NO_MODULE = "The kernel module of ZFS is not loaded. As root: modprobe zfs."
_HELD = "Somebody holds or uses this snapshot; zfs holds SNAPSHOT says who."

_KNOWN = {
    "diff delegated permission is needed": (
        "This user may not run zfs diff. As root: zfs allow USER {permissions} {dataset}."
    ),
    "must be run as root": (
        "The device /dev/zfs is closed to this user. Run n2s as root, or open the device"
        " (chmod 666 /dev/zfs) and as root: zfs allow USER {permissions} {dataset}."
    ),
    "permission denied": (
        "This user lacks a permission. As root: zfs allow USER {permissions} {dataset}."
    ),
    "modules cannot be auto-loaded": _NO_MODULE,  # 2.3
    "modules are not loaded": _NO_MODULE,  # 2.1
    "bookmark delimiter": "A bookmark is no snapshot; zfs diff cannot start from it.",
    "no datasets available": (
        "No pool is imported. As root: zpool import shows the pools, zpool import POOL takes one."
    ),
    "dataset does not exist": (
        "There is no dataset {dataset}. If its pool is exported, as root: zpool import POOL;"
        " if the kernel module is not loaded: modprobe zfs."
    ),
    "dataset already exists": "A snapshot of that name exists already; choose another prefix.",
    "Cannot diff an unmounted snapshot": (
        "The dataset {dataset} is not mounted where n2s runs. As root: zfs mount {dataset}"
        " (encrypted: zfs load-key {dataset} first; mountpoint=legacy: mount -t zfs {dataset}"
        " DIRECTORY; mountpoint=none or canmount=off: give it a mount point first)."
    ),
    "Not an earlier snapshot from the same fs": (
        "The two snapshots are not an earlier and a later one of the same dataset."
    ),
    "Unable to determine which snapshots to compare": (
        "zfs diff needs two snapshots, not a dataset; write POOL/DATASET@NAME."
    ),
    "invalid character": "That is no name of a dataset; write POOL/DATASET@NAME.",
    "operation not applicable to datasets of this type": (
        "{dataset} is a volume; it has no files. Use a filesystem dataset."
    ),
    "it's being held": _HELD,  # 2.3
    "dataset is busy": _HELD,  # 2.1
    "could not find any snapshots to destroy": "The snapshot is gone already.",
    "Unable to determine path or stats for object": (
        "zfs diff met an object whose path it could not find, so its answer is incomplete."
    ),
    "No such file or directory": "One of the snapshots is not there any more.",
    "usage:": "This zfs command does not know what n2s asked; OpenZFS 2.1 and 2.3 do.",
}


def advice(stderr: bytes, dataset: str) -> str | None:
    """What the message means and what to do, as a sentence; None for an unknown message."""
    text = stderr.decode("utf-8", "backslashreplace")
    for fragment, sentence in _KNOWN.items():
        if fragment in text:
            return sentence.format(dataset=dataset, permissions=PERMISSIONS)
    return None


def refusal(what: str, dataset: str, *, exit_code: int, stderr: bytes) -> str:
    """A sentence about a command that failed: `what` failed, what to do, what zfs said."""
    said = " ".join(stderr.decode("utf-8", "backslashreplace").split())
    known = advice(stderr, dataset) or "n2s does not know this message."
    return f"{what} failed with status {exit_code}: {known} It said: {said or 'nothing'}"
