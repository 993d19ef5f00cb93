"""Histories that a repack has something to do with."""

import os
import random
import subprocess
import sys
from pathlib import Path

from n2s_core.app.keeping import judged_wish
from n2s_core.app.pruning import PruneAnswer, prune
from n2s_core.retention import Duration
from n2s_core.sealing import PLAIN_PRELUDE, Kind
from tests.conftest import Dataset, environment, quiet
from tests.trust.histories import History

ALL = judged_wish("0", None)
KIND_AT = 5
REPACK = """
import sys
from pathlib import Path
from n2s_core.app.keeping import judged_wish
from n2s_core.app.pruning import prune
from n2s_core.app.workspace import Workspace
with Workspace.find(Path(sys.argv[1])) as space:
    prune(space, grace_ns=0, dry_run=False, report=lambda _: None, wish=judged_wish("0", None))
"""


def repack(history: History, grace: str = "0h", *, dry_run: bool = False) -> PruneAnswer:
    with history.dataset.space() as space:
        wait = Duration.parse(grace).fixed_ns
        return prune(space, grace_ns=wait, dry_run=dry_run, report=quiet, wish=ALL)


def grown(history: History, seed: int, pushes: int = 4) -> History:
    """With hard links, and with files that only change their mode."""
    history.grow(seed, pushes)
    root = history.dataset.root
    (root / f"first {seed}").write_bytes(random.Random(seed).randbytes(30_000))
    os.link(root / f"first {seed}", root / f"second {seed}")
    history.push()
    for name in (f"large-{seed}", f"first {seed}"):
        (root / name).chmod(0o640)
    history.push()
    return history


def forget_some(history: History, seed: int, count: int = 3) -> list[str]:
    forgotten = sorted(random.Random(seed).sample(history.ids[:-1], count))
    history.forget(forgotten)
    history.drop(forgotten)
    return forgotten


def assert_recovers_from_all(history: History) -> None:
    """By catalogue, by contrib/recover.py, and by a catalogue that was made anew; pushes go on."""
    history.assert_whole()
    history.assert_recovers()
    assert history.dataset.push().changeset_id is None
    opened = history.dataset.verify()
    assert (opened.missing, opened.damaged) == ({}, {})


def announcements(dataset: Dataset) -> list[Path]:
    """Objects in `changesets/` that say where records went."""
    found = dataset.objects("changesets").values()
    return [path for path in found if path.read_bytes()[PLAIN_PRELUDE + KIND_AT] == Kind.MOVED]


def swept(dataset: Dataset, seed: int) -> History:
    """A history of which the forgotten changesets are gone, but not all bytes that they needed."""
    history = grown(History(dataset), seed)
    forget_some(history, seed)
    history.prune()
    return history


def start(history: History, crash_at: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", REPACK, str(history.dataset.config)]
    return subprocess.Popen(command, env=environment(N2S_CRASH_AT=crash_at), text=True)
