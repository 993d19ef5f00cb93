"""A command `zfs` for tests (and `zpool`): it plays the datasets in the file $ZFS_STATE.

A dataset is a mounted folder of the test; its snapshots are copies in `.zfs/snapshot`, which n2s
walks. Started as `n2s` it is n2s itself, on a machine where those folders are ZFS.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from n2s_core.cli import main
from n2s_plugins.zfs import snapshots
from n2s_plugins.zfs.command import Ran
from n2s_plugins.zfs.commands import Snapshot, Zfs
from tests.plugins.zfs.recordings import Kept, PlayedZfs

STATE = Path(os.environ["ZFS_STATE"])


def copy(root: Path, name: str) -> None:
    """The snapshot `name` of a folder."""
    target = root / ".zfs" / "snapshot" / name
    target.mkdir(parents=True)
    found = [path for path in root.iterdir() if path.name != ".zfs"]
    if found:
        subprocess.run(["cp", "-a", "--", *found, target], check=True)


def zfs(words: list[str]) -> Ran:
    """Run one command and keep what became of the datasets."""
    state = json.loads(STATE.read_text())
    dataset, _, name = words[-1].partition("@")
    if words[0] == "snapshot":
        below = [one for one in state if one.startswith(dataset + "/")] if "-r" in words else []
        for one in (dataset, *below):
            if one not in state:
                return Ran(1, f"cannot open '{one}': dataset does not exist\n".encode())
            number = sum(len(other["snapshots"]) for other in state.values())
            copy(Path(state[one]["root"]), name)
            kept = Kept(f"{one}@{name}", str(1 + number), 1000 + number)
            state[one]["snapshots"].append({**asdict(kept), "tags": []})
        STATE.write_text(json.dumps(state))
        return Ran(0, b"")
    if words[:2] == ["get", "-Hrpt"] or dataset not in state:
        return listed(words, state)
    snapshots = [Kept(**{**one, "tags": set(one["tags"])}) for one in state[dataset]["snapshots"]]
    if words[0] == "list" and name and not any(one.short == name for one in map(shown, snapshots)):
        return Ran(1, f"cannot open '{words[-1]}': dataset does not exist\n".encode())
    refuses = {"diff": "these snapshots are copies, with inodes of their own"}
    played = PlayedZfs(dataset, snapshots, refuses=refuses)
    done = played.run(["zfs", *words], take=written, wait_s=0)
    state[dataset]["snapshots"] = [{**asdict(one), "tags": sorted(one.tags)} for one in snapshots]
    STATE.write_text(json.dumps(state))
    return done


def shown(kept: Kept) -> Snapshot:
    return Snapshot(kept.name, kept.guid, int(kept.txg), len(kept.tags))


def listed(words: list[str], state: dict[str, Any]) -> Ran:
    """What sanoid and zfs-auto-snapshot ask about all datasets."""
    names = [one["name"] for dataset in state.values() for one in dataset["snapshots"]]
    if words[0] == "get":
        lines = [f"{name}\tcreation\t1795205118\t-\n" for name in names]
    elif words[0] == "list" and "snapshot" in words and "@" not in words[-1]:
        lines = [f"{name}\n" for name in names]
    elif words[0] == "list" and "filesystem,volume" in words:
        columns = words[words.index("-o") + 1].count(",")
        lines = [name + "\t-" * columns + "\n" for name in sorted(state)]
    else:
        return Ran(1, f"cannot open '{words[-1]}': dataset does not exist\n".encode())
    written("".join(lines).encode())
    return Ran(0, b"")


def written(data: bytes) -> bool:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return True


def n2s() -> None:
    """n2s, which finds ZFS where tmpfs is mounted and sees the copies as snapshots."""
    mounts: Callable[[snapshots.LinuxMachine], bytes] = snapshots.LinuxMachine.mounts

    def as_zfs(self: snapshots.LinuxMachine) -> bytes:
        lines = mounts(self).split(b"\n")
        return b"\n".join(
            line.replace(b" tmpfs ", b" zfs ", 1) if line.startswith(b"tank") else line
            for line in lines
        )

    @contextmanager
    def entered(
        _self: snapshots.LinuxMachine, _zfs: Zfs, mountpoint: bytes, snapshot: Snapshot
    ) -> Iterator[bytes]:
        yield mountpoint + b"/.zfs/snapshot/" + os.fsencode(snapshot.short)

    snapshots.LinuxMachine.mounts = as_zfs  # type: ignore[method-assign]
    snapshots.LinuxMachine.entered = entered  # type: ignore[method-assign,assignment]
    main()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "n2s":
        sys.argv[1:] = arguments
        n2s()
    if name == "zpool":
        print("  pool: tank\n state: ONLINE\n  scan: none requested")  # noqa: T201 - its answer
        sys.exit(0)
    with open(STATE.with_suffix(".asked"), "a") as asked:
        asked.write(json.dumps(arguments) + "\n")
    ran = zfs(arguments)
    sys.stderr.buffer.write(ran.stderr)
    sys.exit(ran.exit_code)
