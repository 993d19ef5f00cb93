"""A store whose writer had the key and meant no good: every command ends with a sentence.

Each seed makes a changeset of nodes that lie about themselves in every field, and one good file.
The commands run in processes of bounded memory and time. More seeds: N2S_TEST_SEEDS.
"""

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

from n2s_core.hashing import blob_id
from n2s_core.layout import Shelf, object_name
from n2s_core.sealing import Kind
from tests.conftest import RECOVER, Dataset, environment
from tests.hostile.forging import sealed, whole
from tests.trees import describe

SEEDS = range(int(os.environ.get("N2S_TEST_SEEDS", "3")))
NODES = 120
MOST_MEMORY = 2 << 30
MOST_SECONDS = 120
"""Of a processor; on a busy machine that may take longer."""
GOOD = b"the good file"
Chance = random.Random
Node = dict[str, Any]

HUGE = (1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -(1 << 63))
ODD: tuple[object, ...] = (
    None, True, False, "", "text", b"", b"\0", [], {}, [[]] * 3, 1.5, float("inf"), float("nan"),
    *HUGE, "\ud800".encode("utf-8", "surrogatepass"), b"x" * 70_000, [0] * 5000, {b"a": {b"b": {}}},
)  # fmt: skip
PATHS = (
    b"", b"a", b"a/b", b"a/b/c", b"d", b"d/own", b"d/own/x", b"../outside/own",
    b"a/../../outside/x", b"/OUTSIDE/own", b".", b"..", b"./x", b"x/", b"//x", b"x//y", b"x\0y",
    b"\xff\n\r\x1b[2J", b"-rf", b"n" * 255, b"n" * 256, b"p/" * 3000 + b"p", b"q" * (1 << 20),
    b"/".join([b"e"] * 1200), b"x" * 70,
)  # fmt: skip
LINKS = (b"/OUTSIDE", b"../outside", b"d", b".", b"/", b"", b"x" * 5000, b"\0", b"/proc/self/root")


class Forger:
    """Makes one hostile changeset; `outside` is what nobody may touch."""

    def __init__(self, dataset: Dataset, outside: Path, chance: Chance) -> None:
        self._dataset, self._outside, self._chance = dataset, os.fsencode(outside), chance
        self._key = dataset.master_key()
        facts = dataset.facts()
        self._about = {"d": facts.dataset_id, "N": facts.name, "k": 1, "t": 1}
        self._records = [sealed(Kind.PACK, self._about, key=self._key)]
        self._places: list[list[int]] = []

    def _put(self, shelf: Shelf, data: bytes) -> bytes:
        digest = blake3(data).digest()
        path = self._dataset.store / object_name(shelf, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def _add(self, kind: int, meta: object, payload: bytes = b"") -> list[int]:
        offset = 8 + sum(map(len, self._records))
        self._records.append(sealed(kind, meta, payload, key=self._key))
        self._places.append([0, offset, len(self._records[-1])])
        return self._places[-1]

    def _named(self, text: bytes) -> bytes:
        return text.replace(b"/OUTSIDE", self._outside)

    def _node(self) -> Node:
        chance = self._chance
        content = bytes(chance.choice((0, 1, 5, 5000)))
        kind = chance.choice((1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7))
        path = self._named(chance.choice(PATHS))
        node: Node = {
            "p": path, "t": kind, "s": len(content), "m": 5, "o": chance.choice((0o644, 0o7777, 0)),
            "u": chance.choice((0, 1000)), "g": 0,
        }  # fmt: skip
        if kind == 1:
            node |= {"h": blake3(content).digest(), "b": blob_id(path, blake3(content).digest())}
        if kind == 3:
            node["l"] = self._named(chance.choice(LINKS))
        if kind in (5, 6):
            node["d"] = [1, 3]
        if chance.random() < 0.2:
            node |= {"n": 2, "i": chance.choice((1, 2)), "f": chance.choice((b"", b"d", b"../x"))}
        if chance.random() < 0.2:
            node["x"] = {chance.choice((b"user.a", b"trusted.b", b"\0", b"no")): b"v"}
        for _ in range(chance.choice((0, 0, 1, 2))):
            key = chance.choice("ptsmougUGxldhbnifqaOk")
            node[key] = chance.choice(ODD)
        return node

    def _refs(self) -> object:
        chance = self._chance
        if chance.random() < 0.7 and self._places:
            return [chance.choice(self._places) for _ in range(chance.choice((1, 1, 1, 2, 40)))]
        one: list[object] = [chance.choice((0, -1, 1, 7, *HUGE)), chance.choice((0, 8, *HUGE)),
               chance.choice((48, 65, 1 << 26, *HUGE))]  # fmt: skip
        return chance.choice(([one], [one[:2]], [[*one, 9]], [], *ODD))

    def _segments(self) -> bytes:
        chance = self._chance
        rows = [
            [chance.choice((0, 4, 1 << 40, *HUGE)), chance.choice((0, 5, *HUGE)), bytes(32),
             *chance.choice(self._places or [[0, 8, 100]])]
            for _ in range(chance.choice((0, 1, 2, 500)))
        ]  # fmt: skip
        return b"".join(msgpack.packb(row) for row in rows)

    def write(self) -> None:
        """Put it all into the store."""
        digest = blake3(GOOD).digest()
        good = {"p": b"good", "t": 1, "s": len(GOOD), "m": 5, "o": 0o644, "u": 0, "g": 0,
                "h": digest, "b": blob_id(b"good", digest)}  # fmt: skip
        listed: list[list[Any]] = [[1, good, 1, 1, [self._add(Kind.BLOB, good, GOOD)], None]]
        for _ in range(NODES):
            node = self._node()
            kind = self._chance.choice((Kind.BLOB, Kind.FILE, Kind.NODES, Kind.SEGMENT, 99))
            if kind == Kind.NODES:
                own = self._add(kind, {"n": 1, "O": []}, msgpack.packb(node))
            elif kind == Kind.FILE:
                own = self._add(kind, node | {"O": [], "k": [0, 1]}, self._segments())
                node.setdefault("q", 1)
            else:
                own = self._add(kind, node, bytes(node["s"] if node["s"] in (1, 5, 5000) else 0))
            entry: list[Any] = [self._chance.choice((1, 1, 1, 2, 3)), node, 5, 7, [own], None]
            if self._chance.random() < 0.3:
                entry[self._chance.choice((4, 5))] = self._refs()
            if self._chance.random() < 0.1:
                entry[self._chance.randrange(6)] = self._chance.choice(ODD)
            listed.append(entry)
        self._chance.shuffle(listed)
        name = self._put(Shelf.DATA, whole(*self._records))
        tail = b"".join(
            sealed(Kind.ENTRIES, {"n": 1, "O": [name]}, msgpack.packb(one), key=self._key)
            for one in listed
        )
        self._put(Shelf.CHANGESETS, whole(self._head(len(listed), tail), tail))

    def _head(self, count: int, tail: bytes) -> bytes:
        head = {**self._about, "P": None, "n": "", "u": "find", "M": None, "C": True, "H": "h",
                "R": b"/", "e": [], "i": [count, blake3(tail).digest()], "S": {}}  # fmt: skip
        return sealed(Kind.HEAD, head, key=self._key)


def bounded() -> None:
    """In the child: a bomb that goes off is seen."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))


def run(command: list[object], *, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Whatever the store says: an exit code of docs/commands.md, and sentences."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, errors="replace",
        env=environment(), cwd=cwd, check=False, timeout=10 * MOST_SECONDS, preexec_fn=bounded,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2, 3), said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    assert "bug in n2s" not in said, said[-3000:]
    assert "MemoryError" not in said, said[-3000:]
    return done


@pytest.fixture(autouse=True)
def _no_deep_trees(dataset: Dataset) -> Iterator[None]:
    """Trees deeper than Python can remove are gone behind each test."""
    yield
    subprocess.run(["rm", "-rf", dataset.base], check=True)


@pytest.fixture
def outside(dataset: Dataset) -> Path:
    folder = dataset.base / "outside"
    folder.mkdir()
    (folder / "own").write_bytes(b"untouched")
    return folder


def everything(dataset: Dataset) -> dict[str, tuple[Path, int]]:
    """Every command that reads a store: its target and exit code."""
    n2s: list[object] = ["-m", "n2s_core", "-c", dataset.config]
    ways: dict[str, Callable[[Path], list[object]]] = {
        "pull": lambda target: [*n2s, "pull", "--target-path", target],
        "recover": lambda target: [
            "-m",
            "n2s_core",
            "recover",
            "--target-path",
            target,
            "--store",
            dataset.store,
        ],
        "recover.py": lambda target: [RECOVER, dataset.store, target],
        "records alone": lambda target: [RECOVER, dataset.store, target, "--records-alone"],
    }
    dataset.forget_catalogue()
    run([*n2s, "rebuild"], cwd=dataset.base)
    for command in (
        ["list"], ["verify", "--data"], ["status"], ["--json", "changesets"],
        ["reconcile", "--delete-quarantined", "--grace", "0h"],
    ):  # fmt: skip
        run([*n2s, *command], cwd=dataset.base)
    found = {}
    for name, command_of in ways.items():
        target = dataset.new_folder(name.replace(" ", "-"))
        found[name] = (target, run(command_of(target), cwd=dataset.base).returncode)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_lies_in_every_field_end_in_sentences_and_harm_no_other(
    dataset: Dataset, outside: Path, seed: int
) -> None:
    before = describe(outside)
    Forger(dataset, outside, random.Random(seed)).write()
    base = set(os.listdir(dataset.base))
    for name, (target, code) in everything(dataset).items():
        assert code in (1, 3), f"{name} says that all was well"
        assert (target / "good").read_bytes() == GOOD, name
        base.add(target.name)
    assert describe(outside) == before
    assert set(os.listdir(dataset.base)) == base
