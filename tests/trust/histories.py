"""Datasets with a history, and prunes of them, for tests of what may be removed."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from n2s_core.app import retaining
from n2s_core.app.pruning import PruneAnswer, prune
from n2s_core.errors import UsageError
from n2s_core.retention import Duration
from tests.conftest import Dataset, environment, quiet
from tests.edits import Editor
from tests.trees import Description, describe, differences

PRUNE = """
import sys
from pathlib import Path
from n2s_core.app.pruning import prune
from n2s_core.app.workspace import Workspace
with Workspace.find(Path(sys.argv[1])) as space:
    done = prune(space, grace_ns=0, dry_run=False, report=lambda _: None).done
print(done.removed.objects)
"""


def put(path: Path, data: bytes) -> None:
    """Write a file in the place of whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


@dataclass
class History:
    """A dataset and its trees by changeset id, oldest first."""

    dataset: Dataset
    trees: dict[str, Description] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A key file spares the derivation of the key in each of many steps."""
        key = self.dataset.master_key()
        self.key_file.write_text(f"n2s-key-1:{key.hex()}\n")
        with self.dataset.config.open("a") as config:
            config.write(f'\n[key]\nkey_file = "{self.key_file}"\n')

    @property
    def key_file(self) -> Path:
        return self.dataset.base / "key"

    def recover(self, identity: str) -> Description:
        """What contrib/recover.py gives back of a changeset."""
        words = ("--changeset", identity, "--key-file", str(self.key_file))
        return describe(self.dataset.recover_py(*words))

    @property
    def ids(self) -> list[str]:
        return list(self.trees)

    def push(self) -> str:
        """Push; the id of the changeset, which must be a new one."""
        done = self.dataset.push()
        assert done.failures == []
        assert done.changeset_id is not None
        identity = done.changeset_id.hex()
        self.trees[identity] = describe(self.dataset.root)
        return identity

    def grow(self, seed: int, pushes: int) -> None:
        """Edits of all sorts, a large file that changes in the middle, and files that move."""
        large = self.dataset.root / f"large-{seed}"
        data = random.Random(seed).randbytes(300_000)
        for number in range(pushes):
            Editor(self.dataset.root, seed * 100 + number).edit(15)
            data = data[:150_000] + b"%d" % number * 50 + data[150_000:]
            put(large, data)
            put(self.dataset.root / "changing", b"%d %d" % (seed, number) * 3000)
            self.push()

    def forget(self, ids: Iterable[str]) -> None:
        with self.dataset.space() as space:
            retaining.forget_these(space, list(ids), dry_run=False)

    def drop(self, ids: Iterable[str]) -> None:
        """What is not to be restored any more."""
        for one in ids:
            del self.trees[one]

    def prune(self, grace: str = "0h", *, dry_run: bool = False) -> PruneAnswer:
        with self.dataset.space() as space:
            wait = Duration.parse(grace).fixed_ns
            return prune(space, grace_ns=wait, dry_run=dry_run, report=quiet)

    def start_prune(self, crash_at: str = "") -> "subprocess.Popen[str]":
        """A prune without a time of grace, in another process."""
        command = [sys.executable, "-c", PRUNE, str(self.dataset.config)]
        return subprocess.Popen(
            command, env=environment(N2S_CRASH_AT=crash_at), stdout=subprocess.PIPE, text=True
        )

    def assert_whole(self) -> None:
        """Every tree comes back by the catalogue, and nothing that it needs is gone or damaged."""
        for identity, wanted in self.trees.items():
            assert differences(wanted, describe(self.dataset.pull(identity))) == [], identity
        found = self.dataset.verify()
        assert (found.missing, found.damaged) == ({}, {})

    def assert_recovers(self) -> None:
        """Every tree comes back from the store alone."""
        for identity, wanted in self.trees.items():
            assert differences(wanted, self.recover(identity)) == [], identity
        self.dataset.rebuild_from_store()
        self.assert_whole()

    def assert_gone(self, ids: Iterable[str]) -> None:
        """These are not given out any more, and cannot be brought back."""
        with self.dataset.space() as space:
            for one in ids:
                with pytest.raises(UsageError, match="pruned"):
                    space.catalogue.queries.changeset(space.dataset, one)
                with pytest.raises(UsageError, match="brought back"):
                    retaining.bring_back(space, [one])
