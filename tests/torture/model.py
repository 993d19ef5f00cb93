"""A dataset beside a dictionary that says what must be in it: random steps, in any order."""

import os
import shutil
import signal
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from n2s_core.app import retaining
from n2s_core.app.pruning import prune
from tests.conftest import Dataset, quiet
from tests.crashing import POINTS, PRUNE_POINTS
from tests.torture.trying import in_child, pulled, use_key_file, wrong_of
from tests.trees import Description, describe, differences

NAMES = st.sampled_from(
    [
        b"a",
        b"b",
        b"c",
        b"\xff\xfe",
        b"new\nline",
        b" ",
        b"-rf",
        b"\xc3\xa9",
        b"e\xcc\x81",
        b"n" * 200,
    ]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
SIZES = st.sampled_from([0, 1, 100, 5000, 70_000, 200_000])
NUMBERS = st.integers(0, 10**6)
MODES = st.sampled_from([0o600, 0o644, 0o700, 0o4755])
STEPS = 30
Shape = dict[bytes, tuple[object, ...]]


@dataclass(eq=False)
class Inode:
    """What one or more paths name: a directory has no content, a link its target."""

    kind: str
    mode: int
    content: bytes = b""


def shape_of(model: dict[bytes, Inode]) -> Shape:
    """What a tree must look like: kind, mode, content, and which paths are one file."""
    names: dict[Inode, list[bytes]] = {}
    for path in sorted(model):
        names.setdefault(model[path], []).append(path)
    return {path: (one.kind, one.mode, one.content, *names[one]) for path, one in model.items()}


def shape_on_disk(root: Path) -> Shape:
    """The same, of a folder."""
    base = os.fsencode(root)
    found: dict[bytes, Inode] = {}
    inodes: dict[int, Inode] = {}
    for folder, directories, files in os.walk(base):
        for name in directories + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path[len(base) + 1 :]] = inodes.setdefault(status.st_ino, _inode(path, status))
    return shape_of(found)


def _inode(path: bytes, status: os.stat_result) -> Inode:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Inode("directory", mode)
    if stat.S_ISLNK(status.st_mode):
        return Inode("link", 0, os.readlink(path))
    return Inode("file", mode, Path(os.fsdecode(path)).read_bytes())


class Backup(RuleBasedStateMachine):
    """Edits go to a tree and to the dictionary; what comes out of the store must be the latter.

    `hurt`: something in the store is damaged and was not repaired; then a pull may fail, but not
    without saying so. `forgotten` are changesets that no prune has swept yet.
    """

    template: ClassVar[Dataset]
    counts: "ClassVar[Counter[str]]"

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(dir=self.template.base.parent))
        self.dataset = copied(self.template, self.base)
        self.model: dict[bytes, Inode] = {}
        self.history: dict[bytes, tuple[Shape, Description]] = {}
        self.forgotten: dict[bytes, tuple[Shape, Description]] = {}
        self.hurt = self.was_hurt = False

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    # -- edits -----------------------------------------------------------------------------

    def _full(self, path: bytes) -> bytes:
        return os.fsencode(self.dataset.root) + b"/" + path

    def _pick(self, number: int, kinds: str) -> bytes | None:
        found = sorted(path for path, one in self.model.items() if one.kind in kinds)
        return found[number % len(found)] if found else None

    def _make_room(self, path: bytes) -> bool:
        """Directories above a new path; False when it, or a file above it, is there."""
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        if path in self.model or any(
            one in self.model and self.model[one].kind != "directory" for one in above
        ):
            return False
        for one in above:
            if one not in self.model:
                os.mkdir(self._full(one))
                os.chmod(self._full(one), 0o755)
                self.model[one] = Inode("directory", 0o755)
        return True

    def _write(self, path: bytes, one: Inode) -> None:
        with open(self._full(path), "wb") as file:
            file.write(one.content)
        os.chmod(self._full(path), one.mode)

    @initialize()
    def begin(self) -> None:
        self.create(b"first", 100, 1, 0o644)

    @rule(path=PATHS, size=SIZES, number=NUMBERS, mode=MODES)
    def create(self, path: bytes, size: int, number: int, mode: int) -> None:
        if self._make_room(path):
            self.model[path] = Inode("file", mode, noise(size, number))
            self._write(path, self.model[path])

    @rule(path=PATHS, to=PATHS)
    def symlink(self, path: bytes, to: bytes) -> None:
        if self._make_room(path):
            self.model[path] = Inode("link", 0, to)
            os.symlink(to, self._full(path))

    @rule(pick=NUMBERS, number=NUMBERS, size=SIZES)
    def edit(self, pick: int, number: int, size: int) -> None:
        """Within all names of the file."""
        path = self._pick(pick, "file")
        if path is not None:
            one = self.model[path]
            one.content = one.content[:size] + noise(number % 200, number)
            self._write(path, one)

    @rule(pick=NUMBERS, mode=MODES)
    def chmod(self, pick: int, mode: int) -> None:
        path = self._pick(pick, "file")
        if path is not None:
            self.model[path].mode = mode
            os.chmod(self._full(path), mode)

    @rule(pick=NUMBERS, path=PATHS)
    def link(self, pick: int, path: bytes) -> None:
        old = self._pick(pick, "file")
        if old is not None and self._make_room(path):
            self.model[path] = self.model[old]
            os.link(self._full(old), self._full(path))

    @rule(pick=NUMBERS, path=PATHS)
    def rename(self, pick: int, path: bytes) -> None:
        """A directory with all that is in it."""
        old = self._pick(pick, "file directory link")
        if old is None or path.startswith(old + b"/") or not self._make_room(path):
            return
        os.rename(self._full(old), self._full(path))
        for one in [one for one in self.model if one == old or one.startswith(old + b"/")]:
            self.model[path + one[len(old) :]] = self.model.pop(one)

    @rule(pick=NUMBERS)
    def delete(self, pick: int) -> None:
        old = self._pick(pick, "file directory link")
        if old is None:
            return
        if self.model[old].kind == "directory":
            shutil.rmtree(self._full(old))
        else:
            os.unlink(self._full(old))
        for one in [one for one in self.model if one == old or one.startswith(old + b"/")]:
            del self.model[one]

    # -- pushes ----------------------------------------------------------------------------

    @rule()
    def push(self) -> None:
        self.counts["push"] += 1
        outcome = self.dataset.push()
        assert outcome.failures == []
        if outcome.changeset_id is not None:
            self.history[outcome.changeset_id] = self._now()
        with pulled(self.dataset) as (target, result):
            self._compare(target, result, *self._now(), strict=not self.hurt)

    def _now(self) -> tuple[Shape, Description]:
        return shape_of(self.model), describe(self.dataset.root)

    def _compare(
        self, target: Path, result: Any, shape: Shape, tree: Description, *, strict: bool
    ) -> None:
        if strict:
            assert result.failures == [], result.failures
            assert shape_on_disk(target) == shape
            assert differences(tree, describe(target)) == []
        else:
            assert wrong_of(tree, target, result) == []

    @rule(point=st.sampled_from(POINTS), times=st.integers(1, 3))
    def crash(self, point: str, times: int) -> None:
        code = in_child(self.dataset.push, f"{point}:{times}")
        assert code in (0, -signal.SIGKILL)
        self.counts["crash"] += code != 0

    # -- damage ----------------------------------------------------------------------------

    @rule(pick=NUMBERS, way=st.sampled_from(["flip", "truncate", "delete"]), place=NUMBERS)
    def corrupt(self, pick: int, way: str, place: int) -> None:
        objects = sorted(self.dataset.objects().items())
        name, path = objects[pick % len(objects)]
        if name.startswith("keys/") or path.name.startswith("."):
            return
        data = path.read_bytes()
        at = place % max(len(data), 1)
        if way == "delete":
            path.unlink()
        elif way == "truncate":
            path.write_bytes(data[:at])
        elif data:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        self.hurt = self.was_hurt = True
        self.counts["corrupt"] += 1

    @precondition(lambda self: self.hurt)
    @rule()
    def repair(self) -> None:
        """A verify, and a push."""
        self.counts["repair"] += 1
        self.dataset.verify()
        self.hurt = False
        self.push()

    # -- looking back ----------------------------------------------------------------------

    @precondition(lambda self: self.history)
    @rule(pick=NUMBERS)
    def pull_older(self, pick: int) -> None:
        self.counts["pull"] += 1
        identity = list(self.history)[pick % len(self.history)]
        with pulled(self.dataset, identity.hex()) as (target, result):
            self._compare(target, result, *self.history[identity], strict=not self.was_hurt)

    # -- retention -------------------------------------------------------------------------

    @precondition(lambda self: len(self.history) > 1 and not self.hurt)
    @rule(pick=NUMBERS)
    def forget(self, pick: int) -> None:
        """One that is not the newest."""
        newest = self.dataset.changesets()[0].changeset_id
        some = [one for one in self.history if one != newest]
        if not some:
            return
        identity = some[pick % len(some)]
        with self.dataset.space() as space:
            retaining.forget_these(space, [identity.hex()], dry_run=False)
        self.forgotten[identity] = self.history.pop(identity)
        self.counts["forget"] += 1

    @precondition(lambda self: self.forgotten and not self.hurt)
    @rule(pick=NUMBERS)
    def bring_back(self, pick: int) -> None:
        identity = list(self.forgotten)[pick % len(self.forgotten)]
        with self.dataset.space() as space:
            retaining.bring_back(space, [identity.hex()])
        self.history[identity] = self.forgotten.pop(identity)
        self.counts["bring back"] += 1
        self.pull_older(list(self.history).index(identity))

    @precondition(lambda self: self.forgotten and not self.hurt)
    @rule(point=st.sampled_from([*PRUNE_POINTS, "never"]))
    def prune(self, point: str) -> None:
        """Without a time of grace, maybe killed; the next one goes on with it."""
        code = in_child(self._prune, f"{point}:1")
        assert code in (0, -signal.SIGKILL)
        self.counts["prune, killed" if code else "prune"] += 1
        self.forgotten.clear()

    def _prune(self) -> None:
        with self.dataset.space() as space:
            prune(space, grace_ns=0, dry_run=False, report=quiet)

    # -- the catalogue ---------------------------------------------------------------------

    @precondition(lambda self: not self.hurt)
    @rule()
    def rebuild(self) -> None:
        self.counts["rebuild"] += 1
        self.dataset.forget_catalogue()
        problems = self.dataset.rebuild().problems
        known = {one.changeset_id for one in self.dataset.changesets()}
        if self.was_hurt:
            if problems:  # what could be had of older changesets may have files that they removed
                known = set()
            self.history = {one: was for one, was in self.history.items() if one in known}
            self.forgotten = {one: was for one, was in self.forgotten.items() if one in known}
        elif self.history:  # else it says that there is data, but no changeset
            assert problems == ()
            assert self.history.keys() <= known


def noise(size: int, number: int) -> bytes:
    """Compressible, and different for each number."""
    line = b"%d " % number
    return (line * (size // len(line) + 1))[:size]


def copied(template: Dataset, base: Path) -> Dataset:
    """The same prepared dataset in another folder."""
    for name in ("root", "store", "config"):
        shutil.copytree(template.base / name, base / name)
    made = Dataset(base, base / "root", base / "store", base / "config" / "config.toml")
    made.config.write_text(made.config.read_text().replace(str(template.base), str(base)))
    return made


def prepared(base: Path) -> Dataset:
    """What every run begins with."""
    (base / "root").mkdir(parents=True)
    made = Dataset(
        base, base / "root", base / "store", base / "config" / "config.toml", pack_size=60_000
    )
    made.init()
    use_key_file(made)
    return made


def run(template: Dataset, number: int, *, examples: int, steps: int = STEPS) -> "Counter[str]":
    """Some runs; what was done in them. Raises AssertionError with the shortest way there."""
    counts: Counter[str] = Counter()
    machine = seed(number)(type("Backup", (Backup,), {"template": template, "counts": counts}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return counts


def rules() -> Iterator[str]:
    """What the model does."""
    yield from ("push", "crash", "corrupt", "repair", "pull", "rebuild")
    yield from ("forget", "bring back", "prune", "prune, killed")
