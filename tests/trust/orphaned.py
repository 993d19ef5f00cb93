"""Datasets with objects in the store that their catalogue does not know, for tests."""

import os
import signal
from pathlib import Path

import msgpack
import pytest
from blake3 import blake3

from n2s_core.app import pruning, reconciling
from n2s_core.app.reconciling import ReconcileAnswer
from n2s_core.clock import now_ns
from n2s_core.packs import Pack
from n2s_core.retention import Duration
from n2s_core.sealing import Kind, x25519_private
from tests.conftest import Dataset, MakeDataset, quiet
from tests.stored import start

ODD = b"odd \xff\n name"
RECONCILE = """
import sys
from pathlib import Path
from n2s_core.app.reconciling import reconcile
from n2s_core.app.workspace import Workspace
with Workspace.find(Path(sys.argv[1])) as space:
    reconcile(space, grace_ns=0, delete=True, dry_run=False, report=lambda _: None)
"""


def reconcile(
    dataset: Dataset, grace: str = "7d", *, delete: bool = False, dry_run: bool = False
) -> ReconcileAnswer:
    wait = Duration.parse(grace).fixed_ns
    with dataset.space() as space:
        return reconciling.reconcile(
            space, grace_ns=wait, delete=delete, dry_run=dry_run, report=quiet
        )


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    moment = now_ns() + Duration.parse(f"{days}d").fixed_ns
    monkeypatch.setattr(pruning, "now_ns", lambda: moment)
    monkeypatch.setattr(reconciling, "now_ns", lambda: moment)


def grow(dataset: Dataset, seed: int = 0) -> None:
    """Small files, one in pieces, one with a hard name; no content occurs twice."""
    for number in range(45):
        (dataset.root / f"file-{seed}-{number}").write_bytes(os.urandom(2000))
    (dataset.root / f"large-{seed}").write_bytes(os.urandom(300_000))
    Path(os.fsdecode(os.fsencode(dataset.root) + b"/" + ODD)).write_bytes(os.urandom(3000))


def crash(dataset: Dataset, point: str) -> None:
    process = start(dataset, "here", point)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached"


def known(dataset: Dataset, where: str = "") -> set[str]:
    with dataset.space() as space:
        rows = space.catalogue.db.all(
            f"SELECT digest FROM objects WHERE shelf = 'data' {where}"  # noqa: S608 - of this file
        )
    return {f"data/{row[0].hex()[:2]}/{row[0].hex()}" for row in rows}


def orphans(dataset: Dataset) -> set[str]:
    return {name for name in dataset.objects("data") if ".tmp-" not in name} - known(dataset)


def quarantine(dataset: Dataset) -> list[str]:
    with dataset.space() as space:
        rows = space.catalogue.db.all("SELECT name FROM quarantine ORDER BY name")
    return [row[0] for row in rows]


def put_object(dataset: Dataset, data: bytes, shelf: str = "data", name: str = "") -> Path:
    name = name or blake3(data).hexdigest()
    folder = dataset.store / shelf / name[:2] if shelf != "changesets" else dataset.store / shelf
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_bytes(data)
    return path


def packed(pack: Pack) -> bytes:
    return b"".join(pack.finish().chunks)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def killed_push(make_dataset: MakeDataset) -> Dataset:
    """Pushed once, and a second push was killed when its objects were stored, not recorded."""
    dataset = make_dataset(pack_size=20_000)
    grow(dataset)
    dataset.push()
    grow(dataset, 1)
    crash(dataset, "record-uncommitted")
    assert len(orphans(dataset)) > 1
    return dataset


def public_of(dataset: Dataset) -> bytes:
    return x25519_private(dataset.master_key()).public_key().public_bytes_raw()


def pack_of(dataset: Dataset, pack: Pack, time_ns: int | None = None) -> Pack:
    """The pack with a record that says that it is of the dataset."""
    said_ns = now_ns() if time_ns is None else time_ns
    said = {"d": dataset.facts().dataset_id, "N": "x", "k": 1, "t": said_ns}
    pack.add(Kind.PACK, msgpack.packb(said))
    return pack


def node(path: bytes, content: bytes) -> bytes:
    said = {"p": path, "t": 1, "s": len(content), "m": 0, "o": 0o644, "u": 0, "g": 0}
    said |= {"h": blake3(content).digest(), "b": bytes(32)}
    packed_node: bytes = msgpack.packb(said)
    return packed_node
