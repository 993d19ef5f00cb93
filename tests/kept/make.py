"""Writes a store of the present format version, to be kept for ever and read by every later n2s.

Run once for a format version: `python tests/kept/make.py` writes format-1.tar and format-1.json.
"""

import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from n2s_core import init, push

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.trees import as_json, describe

VERSION = 1
PASSPHRASE = "kept for later readers"
START_NS = 1_600_000_000_000_000_001


def first(root: Path) -> None:
    """Everything that has a form of its own in the format."""
    (root / "dir" / "empty").mkdir(parents=True)
    (root / "dir" / "text.txt").write_text("some words to compress " * 50)
    (root / "dir" / "zero").touch()
    (root / "dir" / "link").symlink_to("text.txt")
    (root / os.fsdecode(b"caf\xe9\n")).write_bytes(b"latin-1 name\x00")
    os.link(root / "dir" / "text.txt", root / "second name")
    with (root / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"island")
    (root / "all hole").touch()
    os.truncate(root / "all hole", 1 << 20)
    os.mkfifo(root / "fifo", 0o640)
    (root / "large").write_bytes(bytes(range(256)) * ((17 << 20) // 256))
    os.setxattr(root / "dir" / "text.txt", b"user.note", b"\x00\xff")
    os.chmod(root / "dir" / "empty", 0o1750)


def second(root: Path) -> None:
    """Edits of every kind."""
    (root / "dir" / "text.txt").write_text("other words")
    (root / "dir" / "zero").unlink()
    (root / "dir" / "link").unlink()
    (root / "dir" / "link").mkdir()
    (root / "dir" / "link" / "now a directory").write_text("x")
    os.chmod(root / "sparse", 0o600)
    with (root / "large").open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"changed in the middle")


def settle(root: Path) -> None:
    """Fixed times, so that the kept answer does not depend on the day."""
    paths = sorted(root.rglob("*"), reverse=True)
    for number, path in enumerate(paths):
        if ".n2s" not in path.parts:
            time_ns = START_NS + number * 1_000_000_007
            os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)


def main() -> None:
    """Write the two files beside this one."""
    os.environ["N2S_PASSPHRASE"] = PASSPHRASE
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder) / "tree", Path(folder) / "store"
        root.mkdir()
        states: list[dict[str, object]] = []
        first(root)
        init(root, store=str(store), dataset="kept")
        for edit in (None, second, *(None for _ in range(16))):
            if edit is not None:
                edit(root)
            else:
                (root / "counter").write_text(str(len(states)))
            settle(root)
            done = push(root=root)
            tree = describe(root, ignore=frozenset({b".n2s"}))
            states.append({"changeset_id": done.changeset_id, "tree": as_json(tree)})
        kept = [states[0], states[1], states[-1]]
        (here / f"format-{VERSION}.json").write_text(json.dumps(kept, indent=1) + "\n")
        with tarfile.open(here / f"format-{VERSION}.tar.xz", "w:xz") as archive:
            archive.add(store, "store")


if __name__ == "__main__":
    main()
