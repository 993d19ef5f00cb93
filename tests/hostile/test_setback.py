"""A store that was set back to an older state is noticed, and said in words."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Dataset, environment

SENTENCE = "set back to an older state"


def n2s(dataset: Dataset, *words: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [sys.executable, "-m", "n2s_core", "--json", "-c", str(dataset.config), *words],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture
def replayed(dataset: Dataset) -> Dataset:
    """Two changesets in the catalogue, the first of them in the store."""
    (dataset.root / "one").write_bytes(b"one")
    dataset.push()
    kept = shutil.copytree(dataset.store, dataset.base / "kept")
    (dataset.root / "two").write_bytes(b"two")
    dataset.push()
    shutil.rmtree(dataset.store)
    Path(kept).rename(dataset.store)
    return dataset


def test_nobody_says_so_of_a_store_that_has_all(dataset: Dataset) -> None:
    (dataset.root / "one").write_bytes(b"one")
    for words in (("push",), ("verify",)):
        code, said, _ = n2s(dataset, *words)
        assert (code, said["setback"]) == (0, "")
    assert n2s(dataset, "status")[1]["store"]["setback"] == ""


def test_a_push_says_so_and_the_next_verify_and_push_mend_it(replayed: Dataset) -> None:
    (replayed.root / "three").write_bytes(b"three")
    code, said, errors = n2s(replayed, "push")
    assert code == 3
    assert SENTENCE in said["setback"]
    assert SENTENCE in errors
    assert n2s(replayed, "verify")[0] == 3
    code, said, _ = n2s(replayed, "push")
    assert (code, said["setback"]) == (0, "")
    replayed.assert_restores()
    replayed.assert_restores(recovered(replayed), replayed.try_recover()[0])


def test_what_the_store_has_comes_back_before_any_verify(replayed: Dataset) -> None:
    """The push wrote a checkpoint; only what was lost with the changeset before it is missing."""
    (replayed.root / "three").write_bytes(b"three")
    n2s(replayed, "push")
    target = replayed.new_folder("recover")
    words = ("recover", "--store", str(replayed.store), "--target-path", str(target))
    assert n2s(replayed, *words)[0] == 3
    assert sorted(path.name for path in target.iterdir()) == ["one", "three"]


def recovered(dataset: Dataset) -> Path:
    """What passphrase and store give back, which lacks a changeset in the middle."""
    target = dataset.new_folder("recover")
    words = ("recover", "--store", str(dataset.store), "--target-path", str(target))
    code, said, _ = n2s(dataset, *words)
    assert (code, said["failed"]) == (3, 0)
    return target


def test_verify_says_so(replayed: Dataset) -> None:
    code, said, errors = n2s(replayed, "verify")
    assert code == 3
    assert SENTENCE in said["setback"]
    assert SENTENCE in errors
    assert [name for name in said["missing"] if name.startswith("changesets/")]


def test_status_says_so(replayed: Dataset) -> None:
    code, said, errors = n2s(replayed, "status")
    assert code == 0
    assert SENTENCE in said["store"]["setback"]
    assert SENTENCE not in errors, "with --json it is in the document"


def test_doctor_says_so(replayed: Dataset) -> None:
    code, said, _ = n2s(replayed, "doctor")
    assert code == 2
    (history,) = (one for one in said["probes"] if one["probe"] == "history")
    assert history["verdict"] == "fail"
    assert SENTENCE in history["text"]
