"""Catalogues of every version that there was, with the trees and stores that belong to them."""

import json
import sqlite3
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.archives import take_out
from tests.cli.program import Program

FOLDER = Path(__file__).parent / "kept"
VERSIONS = sorted(int(path.stem.rpartition("-")[2]) for path in FOLDER.glob("catalogue-*.sql"))
STORE = "/srv/store"
SPARSE = ("sparse", "all hole")  # the archive has no holes


def load(version: int, path: Path) -> Path:
    """A kept catalogue as a file."""
    path.touch(mode=0o600)
    with sqlite3.connect(path) as db:
        db.executescript((FOLDER / f"catalogue-{version}.sql").read_text())
    db.close()
    return path


def states(version: int) -> Any:
    """What was pushed, in order; then what else was done; then the tree of the last push."""
    return json.loads((FOLDER / f"catalogue-{version}.json").read_text())


def unpack(version: int, base: Path) -> Program:
    """A kept dataset, as the n2s of that version left it."""
    with tarfile.open(FOLDER / f"catalogue-{version}.tar.xz") as archive:
        take_out(archive, base)
    for name in SPARSE:
        subprocess.run(["fallocate", "--dig-holes", base / "tree" / name], check=True)
    (base / "home").mkdir()
    kept = Program(base / "tree", base / "store", base / "home")
    kept.config.write_text(kept.config.read_text().replace(STORE, str(kept.store)))
    load(version, kept.catalogue)
    return kept


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with sqlite3.connect(path) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        selects = {name: f'SELECT * FROM "{name}"' for name in names}  # noqa: S608 - our own
        found = {name: sorted(db.execute(one), key=repr) for name, one in selects.items()}
    db.close()
    return found


def shape(path: Path) -> dict[str, Any]:
    """Tables with their columns, indexes and views, as the database knows them."""
    found: dict[str, Any] = {}
    with sqlite3.connect(path) as db:
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master"):
            if kind == "table":
                columns = db.execute(f'PRAGMA table_xinfo("{name}")').fetchall()
                found[name] = (kind, columns, "WITHOUT ROWID" in sql)
            else:
                found[name] = (kind, " ".join(str(sql).split()))
    db.close()
    return found
