#!/usr/bin/env python3
"""Make a dataset whose catalogue has as many rows of files as you like, without the files.

Below FOLDER come `root` (with the configuration), `store` and the catalogue: `n2s --config
FOLDER/root` then answers whatever it is asked about the tree. The objects in the store have the
right names and sizes and are holes, so nothing of it can be restored. What comes is the same for
the same arguments.
"""

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.database import Database
from n2s_core.layout import Shelf, object_name
from n2s_core.model import LIVE, FileRow, FileType
from tools import PASSPHRASE, clean_environment

HERE = Path(__file__).parent
ID_SIZE = 16
NAMES = 4
MORE_ROWS = 1.85
SHARE_OF_THE_FIRST = 0.9
SHARE_REMOVED = 0.2
UNITS = {"k": 1_000, "M": 1_000_000}
FIRST_NS = 1_700_000_000 * 10**9
DAY_NS = 86_400 * 10**9
PACK_SIZE = 16 << 20
RECORD_OVERHEAD = 300
PER_FOLDER = 100
LEVELS = 300
LONG_NAME = 200
ODD_EVERY = 997
TABLE = 4096
AT_ONCE = 50_000
FILE, DIRECTORY = int(FileType.FILE), int(FileType.DIRECTORY)
OBJECTS_OF_A_CHANGESET = 1 << 20
META_SIZE = 4096
Paths = Iterator[tuple[bytes, bool]]
Rows = Iterator[tuple[Any, ...]]


def number(text: str) -> int:
    """20M, 100k or 5000."""
    return int(float(text[:-1]) * UNITS[text[-1]]) if text[-1] in UNITS else int(text)


# -- shapes of trees: paths in byte order, and whether each is a directory -----------------------


def usual(count: int) -> Paths:
    """A hundred files in each folder, a hundred folders in each part; some names are no UTF-8."""
    at = 0
    for part in range(count):
        top = b"part-%05d" % part
        yield top, True
        for number in range(PER_FOLDER):
            folder = b"%s/folder-%05d" % (top, number)
            yield folder, True
            for name in range(at, min(at + PER_FOLDER, count)):
                end = b"\xff\n" if name % ODD_EVERY == 0 else b".txt"
                yield b"%s/document %09d%s" % (folder, name, end), False
            at += PER_FOLDER
            if at >= count:
                return


def flat(count: int) -> Paths:
    """All in one directory."""
    yield b"flat", True
    for name in range(count):
        yield b"flat/document %09d" % name, False


def deep(count: int) -> Paths:
    """Three hundred levels, in each of them some of the files."""
    share = -(-count // LEVELS)
    folder = b""
    for level in range(LEVELS):
        for name in range(level * share, min((level + 1) * share, count)):
            yield folder + b"document %09d" % name, False
        yield folder + b"level %03d" % level, True
        folder += b"level %03d/" % level


def long(count: int) -> Paths:
    """Names of two hundred bytes, four folders above each another."""
    filler = b"n" * (LONG_NAME - 10)
    at = 0
    above = b"/".join(filler + b"%09d" % level for level in range(3))
    for folder in above.split(b"/"):
        yield above[: above.index(folder) + len(folder)], True
    while at < count:
        folder = b"%s/%s%09d" % (above, filler, at)
        yield folder, True
        for name in range(at, min(at + PER_FOLDER, count)):
            yield b"%s/%s%09d" % (folder, filler, name), False
        at += PER_FOLDER


SHAPES: dict[str, Callable[[int], Paths]] = {
    "usual": usual,
    "flat": flat,
    "deep": deep,
    "long": long,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a catalogue is to hold.

    `rows` versions of paths; `changed` is the share of paths with a history, `linked` that of the
    files which share their inode with others.
    """

    rows: int
    shape: str = "usual"
    changesets: int = 100
    changed: float = 0.06
    linked: float = 0.0


class Sums(NamedTuple):
    """What came of a plan."""

    rows: int
    live_files: int
    live_bytes: int


@dataclass(slots=True)
class Tallies:
    """What is counted for each changeset while rows are made; index 0 is not used."""

    written: list[int]
    removed: list[int]
    files: list[int]
    bytes: list[int]
    stored: list[int]
    ends: list[list[int]] = field(default_factory=list)

    def add(self, changeset: int, files: int, size: int) -> None:
        """A version of a file comes with a changeset, or goes."""
        self.files[changeset] += files
        self.bytes[changeset] += size

    @classmethod
    def of(cls, changesets: int) -> "Tallies":
        """Nothing yet."""
        empty = [0] * (changesets + 1)
        ends: list[list[int]] = [[] for _ in empty]
        return cls(empty[:], empty[:], empty[:], empty[:], empty[:], ends)

    def place(self, changeset: int, length: int) -> tuple[int, int]:
        """Object and offset of the next record of a changeset."""
        offset = self.stored[changeset]
        if offset + length > PACK_SIZE and offset:
            self.ends[changeset].append(offset)
            offset = 0
        self.stored[changeset] = offset + length
        return changeset * OBJECTS_OF_A_CHANGESET + len(self.ends[changeset]), offset

    def objects(self) -> Iterator[tuple[int, int, int]]:
        """Number, size and changeset of every data object."""
        for changeset, ends in enumerate(self.ends):
            last = self.stored[changeset]
            for at, size in enumerate([*ends, last] if last else ends):
                yield changeset * OBJECTS_OF_A_CHANGESET + at, size, changeset


def _history(chance: random.Random, changesets: int) -> list[tuple[int, int]]:
    """When the versions of one path begin and end."""
    most = min(changesets, 2 + int(chance.expovariate(1.0)))
    begins = sorted(chance.sample(range(1, changesets + 1), most))
    if chance.random() < SHARE_OF_THE_FIRST:
        begins[0] = 1
    ends = [*begins[1:], LIVE]
    if begins[-1] < changesets and chance.random() < SHARE_REMOVED:
        ends[-1] = chance.randint(begins[-1] + 1, changesets)
    return list(zip(begins, ends, strict=True))


def rows_of(plan: Plan, tallies: Tallies) -> Rows:
    """The fields of FileRow of every version, in the order of the primary key."""
    chance = random.Random(plan.rows)  # noqa: S311 - the same each time
    sizes = [int(chance.lognormvariate(8, 2)) for _ in range(TABLE)]
    noise = chance.randbytes(TABLE + 64)
    whole = [(1, LIVE)]
    groups = plan.linked / (NAMES - (NAMES - 1) * plan.linked)
    files = int(plan.rows / (1 + MORE_ROWS * plan.changed)) if plan.changesets > 1 else plan.rows
    left = inode = 0
    links = 1
    for path, is_folder in chain([(b"", True)], SHAPES[plan.shape](files)):
        versions = whole
        if path and not is_folder and chance.random() < plan.changed:
            versions = _history(chance, plan.changesets)
        if left and not is_folder:
            left -= 1
        else:
            inode += 1
            left = NAMES - 1 if not is_folder and chance.random() < groups else 0
            links = NAMES if left else 1
        kind, mode = (DIRECTORY, 0o755) if is_folder else (FILE, 0o644)
        for begins, ends in versions:
            size = 0 if is_folder else sizes[(inode * 31 + begins) % TABLE]
            length = RECORD_OVERHEAD + size // 2
            object_no, offset = tallies.place(begins, length)
            changed_ns = FIRST_NS + begins * DAY_NS + inode
            at = (inode + begins) % TABLE
            digest = None if is_folder else b"%020d" % (inode * 128 + begins) + noise[at : at + 12]
            tallies.written[begins] += 1
            if not is_folder:
                tallies.add(begins, 1, size)
                if ends != LIVE:
                    tallies.add(ends, -1, -size)
            yield (
                path, begins, ends, kind, size, changed_ns, changed_ns, mode, 1000, 1000,
                "user", "users", inode, links, b"", digest,
                noise[at : at + 32] if digest else None, object_no, offset, length, None, -1, None,
            )  # fmt: skip
        if ends != LIVE:
            tallies.removed[ends] += 1


# -- the catalogue ---------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """For the n2s of this folder of sources."""
    folders = os.pathsep.join([str(HERE.parents[1]), str(HERE.parents[1] / "plugins"), str(HERE)])
    return clean_environment({"N2S_PASSPHRASE": PASSPHRASE, "PYTHONPATH": folders, **more})


def prepare(folder: Path, catalogue: str | None = None) -> Path:
    """A new dataset with nothing in it; its configuration."""
    root, config = folder / "root", folder / "root" / ".n2s" / "config.toml"
    root.mkdir(parents=True)
    words = ["init", str(root), "--store", str(folder / "store"), "--dataset", "bench"]
    words += [] if catalogue is None else ["--catalogue", catalogue]
    command = [sys.executable, "-m", "n2s_core", *words]
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)
    return config


def fill(config: Path, plan: Plan) -> Sums:
    """Write the rows of a plan into the empty catalogue of a dataset, and holes into its store."""
    tallies = Tallies.of(plan.changesets)
    with Workspace.find(config) as space:
        db, dataset = space.catalogue.db, space.dataset
        counted = _files(db, dataset.dataset_no, rows_of(plan, tallies))
        with db.transaction(durable=True):
            _objects(db, tallies, config.parents[2] / "store")
            _changesets(db, dataset.dataset_no, tallies)
            db.execute(
                "UPDATE datasets SET head_no = ?, live_files = ?, live_bytes = ?"
                " WHERE dataset_no = ?",
                (plan.changesets, sum(tallies.files), sum(tallies.bytes), dataset.dataset_no),
            )
        db.settle()
    return Sums(counted, sum(tallies.files), sum(tallies.bytes))


def _files(db: Database, dataset_no: int, rows: Rows) -> int:
    count = 0
    marks = ", ?" * len(FileRow._fields)
    statement = f"INSERT INTO files (dataset_no, {', '.join(FileRow._fields)}) VALUES (?{marks})"  # noqa: S608
    while page := [(dataset_no, *row) for row in islice(rows, AT_ONCE)]:
        with db.transaction():
            db.execute_many(statement, page)
        count += len(page)
    return count


def _objects(db: Database, tallies: Tallies, store: Path) -> None:
    rows = []
    for object_no, size, changeset in tallies.objects():
        rows.append((object_no, Shelf.DATA, size, changeset))
    for changeset in range(1, len(tallies.ends)):
        last = (changeset + 1) * OBJECTS_OF_A_CHANGESET - 1
        rows.append((last - 1, Shelf.META, META_SIZE, changeset))
        rows.append((last, Shelf.CHANGESETS, META_SIZE, changeset))
    for object_no, shelf, size, _ in rows:
        path = store / object_name(shelf, _digest(object_no))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)
    db.execute_many(
        "INSERT INTO objects (object_no, shelf, digest, size, packed_ns, changeset_no,"
        " confirmed_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (no, shelf.value, _digest(no), size, made(changeset), changeset, made(changeset))
            for no, shelf, size, changeset in rows
        ],
    )


def _digest(object_no: int) -> bytes:
    return blake3(b"object %d" % object_no).digest()


def made(changeset: int) -> int:
    """When a changeset was made (ns)."""
    return FIRST_NS + changeset * DAY_NS


def _changesets(db: Database, dataset_no: int, tallies: Tallies) -> None:
    numbers = range(1, len(tallies.ends))
    db.execute_many(
        "INSERT INTO changesets (changeset_no, dataset_no, number, changeset_id, parent_id,"
        " changeset_name, status, created_ns, stored_ns, plugin, complete, written, touched,"
        " removed, unchanged, failed, bytes_read, bytes_stored, objects_stored, files_delta,"
        " bytes_delta, head_digest) VALUES (?, ?, ?, ?, ?, ?, 'stored', ?, ?, 'find', 1, ?, 0, ?,"
        " 0, 0, ?, ?, ?, ?, ?, ?)",
        [
            (
                number, dataset_no, number, _identity(number),
                _identity(number - 1) if number > 1 else None, f"day {number}",
                made(number), made(number), tallies.written[number], tallies.removed[number],
                tallies.bytes[number], sum(tallies.ends[number]) + tallies.stored[number],
                len(tallies.ends[number]) + 1, tallies.files[number], tallies.bytes[number],
                _digest((number + 1) * OBJECTS_OF_A_CHANGESET - 1),
            )
            for number in numbers
        ],
    )  # fmt: skip


def _identity(number: int) -> bytes:
    return blake3(b"changeset %d" % number).digest()[:ID_SIZE]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="made, and to be removed by you")
    parser.add_argument("--rows", type=number, default=number("1M"), help="such as 20M (1M)")
    parser.add_argument("--shape", choices=SHAPES, default="usual", help="of the tree (usual)")
    parser.add_argument("--linked", type=float, default=0.0, help="share of hard links (0)")
    parser.add_argument("--changesets", type=int, default=100, help="how many (100)")
    parser.add_argument("--catalogue", metavar="URL", help="its database (a file below FOLDER)")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    config = prepare(given.folder.absolute(), given.catalogue)
    plan = Plan(given.rows, given.shape, given.changesets, linked=given.linked)
    sums = fill(config, plan)
    print(f"{config}: {sums.rows:,} rows, {sums.live_files:,} files, {sums.live_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
