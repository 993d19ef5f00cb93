"""What is in a store, by content, and what a push that was killed had confirmed of it."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from n2s_core.packs import ObjectReader
from n2s_core.sealing import Kind
from tests import crashing
from tests.conftest import Dataset, environment
from tests.stopping import database

PROGRAM = Path(crashing.__file__)


def start(dataset: Dataset, how: str, crash_at: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROGRAM), str(dataset.config), how]
    return subprocess.Popen(
        command,
        env=environment(N2S_CRASH_AT=crash_at),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def records(dataset: Dataset) -> "Counter[tuple[int, bytes, bytes]]":
    """(kind, path, hash) of every stored content."""
    key = dataset.master_key()
    found: Counter[tuple[int, bytes, bytes]] = Counter()
    for path in dataset.objects("data").values():
        if path.name.startswith("."):
            continue
        for _, _, record in ObjectReader(path.read_bytes(), key).records(pytest.fail):
            if record.kind in (Kind.BLOB, Kind.SEGMENT):
                found[record.kind, record.meta["p"], record.meta["h"]] += 1
    return found


def confirmed(dataset: Dataset) -> set[tuple[int, bytes, bytes]]:
    """What the dead push had recorded as stored: contents of files, and pieces of large ones."""
    with database(dataset) as db:
        blobs = db.execute(
            "SELECT path, file_hash FROM files WHERE content IS NULL AND segments < 0 AND size > 0"
            " AND type = 1 AND valid_from IN"
            " (SELECT changeset_no FROM changesets WHERE status <> 'stored')"
        ).fetchall()
        pieces = db.execute("SELECT path, segment_hash FROM loose_segments").fetchall()
    found = {(int(Kind.BLOB), path, digest) for path, digest in blobs}
    return found | {(int(Kind.SEGMENT), path, digest) for path, digest in pieces}
