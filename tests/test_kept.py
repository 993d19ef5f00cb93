"""Promise: what an earlier n2s stored, every later one restores."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from n2s_core import recover
from tests.archives import take_out
from tests.trees import as_json, describe

HERE = Path(__file__).parent
KEPT = sorted((HERE / "kept").glob("format-*.tar.xz"))
CASES = [
    (archive, number, state)
    for archive in KEPT
    for number, state in enumerate(
        json.loads(archive.with_name(archive.name.replace(".tar.xz", ".json")).read_text())
    )
]
PASSPHRASE = "kept for later readers"


@pytest.fixture(name="store")
def unpacked_store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The kept store, as files."""
    with tarfile.open(request.param) as archive:
        take_out(archive, tmp_path)
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("store", "number", "state"),
    CASES,
    ids=[f"{archive.name}-{number}" for archive, number, _ in CASES],
    indirect=["store"],
)
def test_every_kept_state_is_restored_by_this_version(
    store: Path,
    number: int,
    state: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("N2S_PASSPHRASE", PASSPHRASE)
    target = tmp_path / f"target{number}"
    recover(str(store), target, changeset_id=str(state["changeset_id"]))
    assert as_json(describe(target, ignore=frozenset({b".n2s"}))) == state["tree"]


@pytest.mark.parametrize("store", KEPT, ids=[archive.name for archive in KEPT], indirect=True)
def test_the_newest_kept_state_is_restored_by_recover_py_alone(store: Path, tmp_path: Path) -> None:
    newest = [state for archive, _, state in CASES if archive in KEPT][-1]
    target = tmp_path / "target"
    subprocess.run(
        [sys.executable, HERE.parent / "contrib" / "recover.py", store, target],
        check=True,
        env={**os.environ, "N2S_PASSPHRASE": PASSPHRASE},
    )
    assert as_json(describe(target, ignore=frozenset({b".n2s"}))) == newest["tree"]
