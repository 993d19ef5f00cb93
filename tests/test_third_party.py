"""Promise: somebody else's plugin is installed beside n2s, found, used and tested as documented."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from n2s_core.testing import DiscovererContract
from tests.conftest import PASSPHRASE, REPOSITORY, missing

EXAMPLE = REPOSITORY / "contrib" / "example-plugin"
PAGE = (REPOSITORY / "docs" / "plugins.md").read_text()
LIMIT_S = 600


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with n2s and the example in it, each from its own wheel; libraries are ours."""
    base = tmp_path_factory.mktemp("third party")
    wheels, folder, copy = base / "wheels", base / "installed", base / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    done = pip("wheel", "--no-deps", "--wheel-dir", wheels, REPOSITORY, copy)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        missing(f"This test builds wheels, for which pip must reach hatchling: {done.stderr}")
    assert done.returncode == 0, done.stderr
    done = pip("install", "--no-deps", "--no-index", "--target", folder, *wheels.iterdir())
    assert done.returncode == 0, done.stderr
    return folder


def pip(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    return run([*command, *map(str, arguments)], Path.cwd(), dict(os.environ))


def run(
    command: list[str], folder: Path, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def environment(installed: Path) -> dict[str, str]:
    """Nothing of this tree is on the path."""
    return {**os.environ, "PYTHONPATH": str(installed), "N2S_PASSPHRASE": PASSPHRASE}


def n2s(installed: Path, folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "n2s_core", "--json", *arguments]
    done = run(command, folder, environment(installed))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_example_is_found_and_pushes_what_its_journal_names(
    installed: Path, tmp_path: Path
) -> None:
    root, journal = tmp_path / "root", tmp_path / "journal"
    root.mkdir()
    journal.touch()
    for name in ("one", "two"):
        (root / name).write_text(name)
    options = ("--using", "journal", "-o", f"journal={journal}")
    n2s(installed, tmp_path, "init", str(root), "--store", str(tmp_path / "store"), *options)
    found = {one["name"]: one for one in n2s(installed, root, "plugins")}
    assert found["journal"] == {
        "name": "journal",
        "origin": "n2s-journal",
        "discoverers": ["journal"],
        "works": True,
        "error": None,
    }
    assert found["find"]["works"]
    first = n2s(installed, root, "push")
    assert (first["using"], first["complete"], first["fallback"]) == ("journal", True, None)
    (root / "one").write_text("changed")
    (root / "folder").mkdir()
    (root / "folder" / "three").write_text("new")
    (root / "two").unlink()
    journal.write_bytes(b"one\0folder\0two\0")
    second = n2s(installed, root, "push")
    assert (second["complete"], second["fallback"], second["audit_misses"]) == (False, None, 0)
    assert (second["removed"], second["failed"]) == (1, 0)
    n2s(installed, root, "pull", "--target-path", str(tmp_path / "pulled"))
    pulled = tmp_path / "pulled"
    assert (pulled / "one").read_text() == "changed"
    assert (pulled / "folder" / "three").read_text() == "new"
    assert not (pulled / "two").exists()


def test_the_tests_of_the_example_run_where_it_is_installed(
    installed: Path, tmp_path: Path
) -> None:
    shutil.copy(EXAMPLE / "test_n2s_journal.py", tmp_path)
    where = (
        "import n2s_core, n2s_journal; print(n2s_core.__file__, n2s_journal.__file__, sep='\\n')"
    )
    done = run([sys.executable, "-c", where], tmp_path, environment(installed))
    assert all(line.startswith(f"{installed}/") for line in done.stdout.splitlines()), done.stdout
    done = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_n2s_journal.py"],
        tmp_path,
        {**environment(installed), "N2S_TEST_SEEDS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("file", ["n2s_journal.py", "pyproject.toml"])
def test_the_page_shows_the_example_as_it_is(file: str) -> None:
    shown = textwrap.indent((EXAMPLE / file).read_text(), "    ")
    assert shown.rstrip("\n") in PAGE


def test_the_contract_tests_each_promise_of_the_page_by_its_number() -> None:
    promised = {int(number) for number in re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE)}
    tested = set()
    for name, test in inspect.getmembers(DiscovererContract, inspect.isfunction):
        if name.startswith("test_"):
            said = re.match(r"Promise (\d+)\.", test.__doc__ or "")
            assert said is not None, name
            tested.add(int(said[1]))
    assert tested == promised
    assert promised == set(range(1, len(promised) + 1))
