"""Writes a catalogue of the present schema version, to be kept and upgraded by every later n2s.

Run once for a version, by the n2s that has it: `python tests/kept/make_catalogue.py` writes
catalogue-1.sql (a dump), catalogue-1.tar.xz (its tree and store) and catalogue-1.json (what was
pushed).
"""

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.versions import VERSION
from n2s_core.model import Debt, Failure
from tests.kept.make import PASSPHRASE, first, second, settle
from tests.trees import as_json, describe

NAMES = (b"new\nline", b"\xff\xfe", b'it\'s "%s" ?1; --', b"dir/caf\xc3\xa9", b"n" * 255)
STORE = "/srv/store"


class Kept:
    """A dataset in a folder, used through the command line."""

    def __init__(self, base: Path) -> None:
        self.root, self.store = base / "tree", base / "store"
        self.states: list[dict[str, object]] = []

    def run(self, *words: str | Path, codes: tuple[int, ...] = (0,), crash_at: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "n2s_core", *words],
            cwd=self.root,
            env={**os.environ, "N2S_PASSPHRASE": PASSPHRASE, "N2S_CRASH_AT": crash_at},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in codes:
            sys.exit(f"{words} ended with {done.returncode}")
        return done.stdout

    def push(self, *words: str) -> str:
        """The id of the changeset, which is remembered with the tree."""
        settle(self.root)
        found = str(json.loads(self.run("push", "--json", *words))["changeset_id"])
        tree = describe(self.root, ignore=frozenset({b".n2s"}))
        self.states.append({"changeset_id": found, "tree": as_json(tree)})
        return found

    def count(self, number: int) -> None:
        (self.root / "counter").write_text(f"{number} ")


def fill(kept: Kept) -> None:
    """Each table of the catalogue gets rows, by the commands and the code of this version."""
    root = kept.root
    first(root)
    kept.run("init", root, "--store", kept.store, "--dataset", "kept")
    kept.push("--tag", "first")
    second(root)
    kept.push("--changeset-name", "with 'quotes'\nand lines")
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name * 100)
    swept = kept.push()
    before = set((kept.store / "data").rglob("*"))
    kept.count(1)
    damaged = kept.push()
    new = next(
        path
        for path in sorted((kept.store / "data").rglob("*"))
        if path.is_file() and path not in before
    )
    kept.count(2)
    forgotten = kept.push()
    kept.count(3)
    kept.push("--tag", "last")
    kept.run("pin", kept.states[0]["changeset_id"])  # type: ignore[arg-type]
    kept.run("forget", "--changeset", swept)
    kept.run("prune", "--grace", "0h")
    kept.run("prune", "--grace", "0h")
    kept.run("forget", "--changeset", forgotten)
    kept.run("prune")
    new.write_bytes(new.read_bytes()[:-1])
    kept.run("verify", "--data", codes=(3,))
    (kept.store / "data" / "00").mkdir(exist_ok=True)
    (kept.store / "data" / "00" / ("00" * 32)).write_bytes(b"a stranger")
    kept.run("reconcile", codes=(3,))
    with Workspace.find(root) as space:
        catalogue, no = space.catalogue, space.dataset.dataset_no
        catalogue.debts.note([Debt("remote", "data/00/name", "it said 'no'")])
        with catalogue.db.transaction():
            catalogue.pushes.note_failures(no, [Failure(b"\xff\n", "cannot be read")])
            catalogue.audits.note(no, b"dir", looked=7, missed=[b"dir/zero"])
    kept.states.append({"damaged": damaged, "swept": swept, "forgotten": forgotten})
    kept.count(4)
    settle(root)
    kept.run("push", codes=(-9,), crash_at="batch-recorded")
    kept.states.append({"tree": as_json(describe(root, ignore=frozenset({b".n2s"})))})


def dump(path: Path) -> str:
    """The rows and the tables as text; without what only this machine knows."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE leases SET owner = '', expires_ns = 0, expires_boot_ns = 0")
        url = f"file:{STORE}".encode()
        db.execute("UPDATE properties SET value = ? WHERE name = 'store_url'", (url,))
        return "\n".join(db.iterdump()) + "\n"


def main() -> None:
    """Write the three files beside this one."""
    here = Path(__file__).parent / f"catalogue-{VERSION}"
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder))
        kept.root.mkdir()
        fill(kept)
        catalogue = kept.root / ".n2s" / "catalogue.db"
        here.with_suffix(".sql").write_text(dump(catalogue))
        for ending in ("", "-wal", "-shm"):
            catalogue.with_name(catalogue.name + ending).unlink(missing_ok=True)
        config = kept.root / ".n2s" / "config.toml"
        config.write_text(config.read_text().replace(str(kept.store), STORE))
        here.with_suffix(".json").write_text(json.dumps(kept.states, indent=1) + "\n")
        with tarfile.open(here.with_suffix(".tar.xz"), "w:xz") as archive:
            archive.add(kept.root, "tree")
            archive.add(kept.store, "store")


if __name__ == "__main__":
    main()
