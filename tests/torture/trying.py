"""What all parts of the torture share: counts, datasets to hurt, and pushes that are killed."""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from n2s_core import faults
from n2s_core.errors import N2sError
from n2s_core.flows.restore import RestoreResult
from tests.conftest import Dataset
from tests.edits import Editor
from tests.trees import Description, describe, differences

PACK_SIZE = 60_000
SAID, BROKEN = 2, 3
_NUMBERS = itertools.count(1)


@dataclass
class Count:
    """One row of the table.

    `lost`: paths that did not come back as they were. `twice`: contents that were confirmed and
    stored again all the same. `unnoticed`: damage that nothing named. None: cannot happen here.
    """

    tried: int = 0
    lost: int = 0
    twice: int | None = None
    unnoticed: int | None = None


@dataclass
class Tally:
    """All counts, and a sentence for each thing that was not as promised."""

    rows: dict[str, Count] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def row(self, name: str) -> Count:
        return self.rows.setdefault(name, Count())

    def lose(self, name: str, what: Iterable[str], case: str) -> None:
        """Count what was lost, and say it."""
        found = list(what)
        self.row(name).lost += len(found)
        self.findings += [f"{name}, {case}: lost: {one}" for one in found[:5]]

    def miss(self, name: str, what: Iterable[str], case: str) -> None:
        """Count what was not noticed, and say it."""
        found = list(what)
        row = self.row(name)
        row.unnoticed = (row.unnoticed or 0) + len(found)
        self.findings += [f"{name}, {case}: unnoticed: {one}" for one in found[:5]]

    def repeat(self, name: str, what: Iterable[str], case: str) -> None:
        """Count what was stored twice, and say it."""
        found = list(what)
        row = self.row(name)
        row.twice = (row.twice or 0) + len(found)
        self.findings += [f"{name}, {case}: stored twice: {one}" for one in found[:5]]


@dataclass
class Ground:
    """Where a part works, with its dice and the counts."""

    base: Path
    dice: random.Random
    tally: Tally

    def dataset(self, *, store: Path | None = None, config: Path | None = None) -> Dataset:
        """A prepared dataset with small packs and an empty tree; no key is derived for it later."""
        base = self.base / f"dataset-{next(_NUMBERS)}"
        (base / "root").mkdir(parents=True)
        made = Dataset(
            base=base,
            root=base / "root",
            store=store or base / "store",
            config=(config or base / "config") / "config.toml",
            pack_size=PACK_SIZE,
        )
        made.init()
        use_key_file(made)
        return made

    def edit(self, dataset: Dataset, most: int = 15) -> None:
        """Some random edits."""
        Editor(dataset.root, self.dice.randrange(10**6)).edit(self.dice.randint(1, most))

    def chance(self, share: float) -> bool:
        return self.dice.random() < share


def use_key_file(dataset: Dataset) -> None:
    """From now on the key needs no derivation, which is slow on purpose."""
    path = dataset.config.parent / "key"
    path.write_text(f"n2s-key-1:{dataset.master_key().hex()}\n")
    path.chmod(0o600)
    with dataset.config.open("a") as file:
        file.write(f'\n[key]\nkey_file = "{path}"\n')


def in_child(work: Callable[[], object], crash_at: str = "") -> int:
    """Do it in a copy of this process, which may be killed on the way.

    0: done; SAID: an error of n2s; BROKEN: any other exception; below 0: the signal that ended it.
    """
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            name, _, times = crash_at.partition(":")
            faults._NAME, faults._TIMES, faults._PASSINGS = name, times, itertools.count(1)
            work()
            code = 0
        except N2sError:
            code = SAID
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def pulled(dataset: Dataset, changeset: str = "latest"):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """What a pull brings, and what it said of it; removed afterwards."""
    target, result = dataset.try_pull(changeset)
    try:
        yield target, result
    finally:
        shutil.rmtree(target)


def lost_of(dataset: Dataset) -> list[str]:
    """What of the tree as it is now a pull of the latest changeset does not bring back."""
    wanted = describe(dataset.root)
    with pulled(dataset) as (target, result):
        failed = [f"{one.path!r}: {one.error}" for one in result.failures]
        return failed or differences(wanted, describe(target))


def wrong_of(wanted: Description, target: Path, result: RestoreResult) -> list[str]:
    """What was restored otherwise than wanted although nothing was said about it.

    A link to what failed is no link any more, and a directory with a failure in it may have
    another time.
    """
    said = {one.path for one in result.failures}
    folders = {path for one in said for path in _above(one)}
    left = {path: _plain(facts) for path, facts in wanted.items()}
    right = {path: _plain(facts) for path, facts in describe(target).items()}
    for path in said | folders:
        left.pop(path, None)
        right.pop(path, None)
    return differences(left, right)


def _above(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(len(parts))]


def _plain(facts: tuple[object, ...]) -> tuple[object, ...]:
    last = facts[-1]
    return facts[:-1] if isinstance(last, tuple) and last[:1] == ("linked",) else facts
