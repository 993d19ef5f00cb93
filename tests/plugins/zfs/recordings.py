"""Recorded answers of real ZFS, and a zfs command that plays them back.

Each `data/VERSION.json.xz` has `cases` (a script, the snapshots that it took, the whole tree of
each, what `zfs diff -FHt` said between them, and what `zfs send -L -e -c -i` sent, with zeros for
contents and checksums), `commands` (commands that succeed or fail),
`mounts` (/proc/self/mounts) and `get` (properties).
"""

import json
import lzma
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, Source
from n2s_core.relpath import split
from n2s_plugins.zfs.command import Ran, Take
from n2s_plugins.zfs.commands import Snapshot, Zfs

DATA = Path(__file__).parent / "data"
VERSIONS = ("2.1", "2.3")

ROOT_NUMBER = 34
"""Of the root directory of every dataset that was recorded; its snapshots show another."""
Tree = dict[bytes, dict[str, Any]]


@cache
def recorded(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress((DATA / f"{version}.json.xz").read_bytes()))
    return found


def bytes_of(entry: dict[str, Any], key: str) -> bytes:
    """A byte string, which stands in base64 under another key where it is no UTF-8."""
    return str(entry[key]).encode() if key in entry else b64decode(entry[f"{key}_b64"])


def tree(case: dict[str, Any], snapshot: str) -> Tree:
    """Path below the root (which is b"") to everything that was recorded of it."""
    found = {}
    for entry in case["trees"][snapshot]:
        path = bytes_of(entry, "path")
        found[b"" if path == b"." else path] = {
            key: value for key, value in entry.items() if not key.startswith("path")
        }
    return found


@dataclass(frozen=True, slots=True)
class Diff:
    """One recorded zfs diff."""

    version: str
    case: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.version}-{self.case}-{self.old}-{self.new}"

    @property
    def recording(self) -> dict[str, Any]:
        found: dict[str, Any] = recorded(self.version)["cases"][self.case]
        return found

    @property
    def answer(self) -> dict[str, Any]:
        return next(
            one
            for one in self.recording["diffs"]
            if (one["from"], one["to"]) == (self.old, self.new)
        )

    @property
    def stream(self) -> bytes:
        """What zfs send sent."""
        return next(
            b64decode(one["stream"])
            for one in self.recording["sends"]
            if (one["from"], one["to"]) == (self.old, self.new)
        )


DIFFS = [
    Diff(version, name, one["from"], one["to"])
    for version in VERSIONS
    for name, case in recorded(version)["cases"].items()
    for one in case["diffs"]
]


@dataclass(slots=True)
class Kept:
    """A snapshot of the playback."""

    name: str
    guid: str
    txg: int
    tags: set[str] = field(default_factory=set)


def failed(stderr: str) -> Ran:
    return Ran(1, stderr.encode())


@dataclass(slots=True)
class PlayedZfs:
    """A Runner with a few snapshots; what zfs diff says is given. `ran` is what was asked."""

    dataset: str
    snapshots: list[Kept]
    stdout: bytes = b""
    stream: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    filesystems: str = ""
    bookmarks: str = ""
    refuses: dict[str, str] = field(default_factory=dict)
    piece_bytes: int = 1000
    taken: int = 0
    cannot_be_held: set[str] = field(default_factory=set)
    ran: list[list[str]] = field(default_factory=list)

    def run(self, arguments: Sequence[str], *, take: Take, wait_s: float) -> Ran:
        self.ran.append(list(arguments))
        words = list(arguments[1:]) if arguments[0] == "zfs" else list(arguments)
        verb = words[0]
        if verb in self.refuses:
            return failed(self.refuses[verb])
        if verb in {"diff", "send"}:
            return self._printed(self.stdout if verb == "diff" else self.stream, verb, take)
        answer: Callable[[list[str]], str | Ran] = getattr(self, f"_{verb}")
        found = answer(words[1:])
        if isinstance(found, Ran):
            return found
        take(found.encode())
        return Ran(0, b"")

    def _printed(self, text: bytes, verb: str, take: Take) -> Ran:
        for start in range(0, len(text), self.piece_bytes):
            if not take(text[start : start + self.piece_bytes]):
                return Ran(-9, b"", "it printed more than was wanted")
        return Ran(self.exit_code, self.stderr) if verb == "diff" else Ran(0, b"")

    def _list(self, words: list[str]) -> str:
        if "bookmark" in words:
            return self.bookmarks
        if "filesystem" in words:
            return self.filesystems
        rows = ((one.name, one.guid, str(one.txg), str(len(one.tags))) for one in self.snapshots)
        return "".join("\t".join(row) + "\n" for row in rows)

    def _find(self, name: str) -> Kept:
        return next(one for one in self.snapshots if one.name == name)

    def _snapshot(self, words: list[str]) -> str:
        self.taken += 1
        txg = 1000 + self.taken
        self.snapshots.append(Kept(words[0], f"guid-{self.taken}", txg))
        return ""

    def _destroy(self, words: list[str]) -> str | Ran:
        found = self._find(words[0])
        if found.tags:
            return failed(f"cannot destroy snapshot {words[0]}: it's being held. Run ...")
        self.snapshots.remove(found)
        return ""

    def _holds(self, words: list[str]) -> str:
        return "".join(
            f"{name}\t{tag}\tSat Nov 21 05:23 2026\n"
            for name in words[1:]
            for tag in sorted(self._find(name).tags)
        )

    def _hold(self, words: list[str]) -> str | Ran:
        if words[1] in self.cannot_be_held:
            return failed(f"cannot hold snapshot '{words[1]}': dataset does not exist")
        tags = self._find(words[1]).tags
        if words[0] in tags:
            return failed(f"cannot hold snapshot '{words[1]}': tag already exists on this dataset")
        tags.add(words[0])
        return ""

    def _release(self, words: list[str]) -> str:
        self._find(words[1]).tags.remove(words[0])
        return ""


@dataclass(slots=True)
class PlayedMachine:
    """A Machine where every snapshot can be entered. `inside` names those that are, `now`."""

    text: bytes
    used: int = 1000
    closed: set[str] = field(default_factory=set)
    inside: list[str] = field(default_factory=list)
    trees: dict[str, Tree] = field(default_factory=lambda: defaultdict(dict))

    def mounts(self) -> bytes:
        return self.text

    def resolve(self, path: bytes) -> bytes:
        return path

    def objects(self, directory: bytes) -> int:
        return self.used

    def inode(self, directory: bytes, path: bytes) -> int | None:
        if b"/.zfs/snapshot/" not in directory:
            return ROOT_NUMBER
        entry = self._tree(directory).get(path)
        return None if entry is None else int(entry["ino"])

    def entries(self, directory: bytes, path: bytes) -> Iterator[tuple[bytes, int]]:
        for one, entry in self._tree(directory).items():
            parent, name = split(one)
            if one and parent == path:
                yield name, int(entry["ino"])

    def _tree(self, directory: bytes) -> Tree:
        return self.trees[directory.rpartition(b"/")[2].decode()]

    @contextmanager
    def entered(self, zfs: Zfs, mountpoint: bytes, snapshot: Snapshot) -> Iterator[bytes]:
        if snapshot.short in self.closed:
            message = f"{snapshot.name} cannot be entered"
            raise DiscoveryError(message)
        self.inside.append(snapshot.short)
        try:
            yield mountpoint.rstrip(b"/") + b"/.zfs/snapshot/" + snapshot.short.encode()
        finally:
            self.inside.remove(snapshot.short)


def played(diff: Diff) -> tuple[PlayedZfs, PlayedMachine]:
    """The machine as it was when the diff was recorded."""
    case, answer = diff.recording, diff.answer
    kept = [Kept(one["name"], str(one["guid"]), int(one["createtxg"])) for one in case["snapshots"]]
    zfs = PlayedZfs(
        case["dataset"],
        kept,
        bytes_of(answer, "stdout"),
        diff.stream,
        bytes_of(answer, "stderr"),
        answer["rc"],
    )
    lines = (f"{case['dataset']} {where} zfs rw,xattr 0 0\n" for where in case["mounts"])
    trees = {name: tree(case, name) for name in (diff.old, diff.new)}
    return zfs, PlayedMachine("".join(lines).encode(), trees=trees)


@dataclass(slots=True)
class Asker:
    """A Source whose walk yields nothing; `walked` and `reported` are what was asked of it."""

    root: bytes
    options: dict[str, str] = field(default_factory=dict)
    dataset: str = "home"
    dry_run: bool = False
    walked: list[bytes] = field(default_factory=list)
    reported: list[tuple[bytes, str]] = field(default_factory=list)
    stored: Tree = field(default_factory=dict)
    searched: list[set[int]] = field(default_factory=list)

    @property
    def source(self) -> Source:
        def walk(directory: bytes) -> Iterator[Change]:
            self.walked.append(directory)
            return iter(())

        def report(path: bytes, error: str) -> None:
            self.reported.append((path, error))

        return Source(
            self.root,
            self.dataset,
            walk,
            report,
            self.options,
            dry_run=self.dry_run,
            names_of=self._names_of,
            search=self._search,
        )

    def _names_of(self, number: int) -> list[bytes]:
        return [
            path
            for path, entry in self.stored.items()
            if entry["ino"] == number and (entry["nlink"] > 1 or entry["type"] == "dir")
        ]

    def _search(self, numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
        self.searched.append(set(numbers))
        found = ((entry["ino"], path) for path, entry in self.stored.items())
        return (one for one in found if one[0] in numbers)
