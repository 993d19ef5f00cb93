"""The hook of dsg, in the recorded states of a real repository."""

from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.contrib.hooks import Hooks, prepared, stored
from tests.plugins.dsg.repositories import become, entries_of, extract, sync


@pytest.fixture(name="repository")
def of_dsg(tmp_path: Path) -> Program:
    return prepared(tmp_path / "n2s", extract("s5", tmp_path / "my data"), "find")


def test_what_a_sync_brought_is_pushed_from_its_manifests(
    hooks: Hooks, repository: Program, tmp_path: Path
) -> None:
    hooks.run("n2s-dsg", cwd=repository.root)
    keep = (repository.root / ".n2s").rename(tmp_path / "keep")
    become(repository.root, extract("s6", tmp_path / "after"))
    keep.rename(repository.root / ".n2s")
    hooks.run("n2s-dsg", cwd=repository.root / "import" / "output")
    assert all(line.startswith(f"{repository.root}: changeset") for line in hooks.log)
    assert not any("walked" in line for line in hooks.log)
    assert {one["using"] for one in repository.json("changesets")} == {"dsg"}
    there = {path.relative_to(repository.root) for path in repository.root.rglob("*.csv")}
    assert {Path(path) for path in stored(repository) if path.endswith(".csv")} >= {
        path for path in there if not (repository.root / path).is_symlink()
    }


def test_a_folder_can_be_named(hooks: Hooks, repository: Program, tmp_path: Path) -> None:
    hooks.run("n2s-dsg", repository.root / "frozen", cwd=tmp_path)
    hooks.run("n2s-dsg", repository.root.relative_to(tmp_path), cwd=tmp_path)
    assert "nothing to store" in hooks.log[1]


def test_after_a_sync_that_failed_the_readme_pushes_nothing(
    hooks: Hooks, repository: Program
) -> None:
    hooks.program("dsg", "#!/bin/sh\nexit 1\n")
    hooks.run("sh", "-c", "dsg sync && n2s-dsg", code=1, cwd=repository.root)
    assert hooks.log == []
    hooks.program("dsg", "#!/bin/sh\nexit 0\n")
    hooks.run("sh", "-c", "dsg sync && n2s-dsg", cwd=repository.root)
    assert "changeset" in hooks.log[0]


def test_a_damaged_manifest_is_walked_and_the_log_says_so(
    hooks: Hooks, repository: Program
) -> None:
    hooks.run("n2s-dsg", cwd=repository.root)
    sync(repository.root, 6, entries_of(repository.root))
    last = repository.root / ".dsg" / "last-sync.json"
    last.write_bytes(last.read_bytes()[:100])
    hooks.run("n2s-dsg", cwd=repository.root)
    assert "The whole tree was walked" in hooks.log[1]


def test_what_is_no_repository_or_not_prepared_is_refused(hooks: Hooks, tmp_path: Path) -> None:
    assert "no dsg repository" in hooks.run("n2s-dsg", tmp_path, code=2)[1]
    hooks.run("n2s-dsg", tmp_path / "nowhere", code=2)
    root = extract("s5", tmp_path / "unprepared")
    assert "n2s init" in hooks.run("n2s-dsg", root, code=2)[1]
