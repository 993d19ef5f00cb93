"""Datasets for the tests of the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.keys import SECOND
from tests.cli.program import Make, Program, fill


@pytest.fixture
def make(tmp_path: Path, chosen_url: Callable[[], str | None]) -> Make:
    """Makes programs over empty directories that are not prepared yet."""

    def one(name: str = "one", *, store: Path | None = None) -> Program:
        base = tmp_path / name
        (base / "root").mkdir(parents=True)
        (base / "home").mkdir()
        return Program(base / "root", store or base / "store", base / "home", url=chosen_url())

    return one


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, chosen_url: Callable[[], str | None]
) -> Program:
    """A prepared dataset with a filled tree, of which tests get copies."""
    base = tmp_path_factory.mktemp("prepared")
    (base / "root").mkdir()
    (base / "home").mkdir()
    program = Program(base / "root", base / "store", base / "home", url=chosen_url())
    fill(program.root)
    program.init()
    return program


@pytest.fixture
def fresh(prepared: Program, tmp_path: Path) -> Program:
    """A prepared dataset with a filled tree, not pushed yet."""
    return prepared.copy(tmp_path / "one")


@pytest.fixture(scope="session")
def stored(
    tmp_path_factory: pytest.TempPathFactory, chosen_url: Callable[[], str | None]
) -> Program:
    """A dataset with three changesets, for tests that only ask. See CHANGES."""
    base = tmp_path_factory.mktemp("stored")
    (base / "root").mkdir()
    (base / "home").mkdir()
    program = Program(base / "root", base / "store", base / "home", url=chosen_url())
    fill(program.root)
    program.init("--dataset", "papers")
    program.run("push", "--changeset-name", "one")
    (program.root / "a.txt").write_text("second version\n")
    (program.root / "new.txt").write_text("new\n")
    program.run("push", "--changeset-name", "two")
    (program.root / "large.bin").unlink()
    (program.root / "docs" / "letter.txt").chmod(0o600)
    program.run("push", "--changeset-name", "three")
    return program


@pytest.fixture
def victim(stored: Program, tmp_path: Path) -> Program:
    """A copy of `stored` that a test may damage."""
    return stored.copy(tmp_path / "victim")


@pytest.fixture
def new(tmp_path: Path) -> tuple[str, str]:
    """The option that gives the second passphrase."""
    (tmp_path / "second").write_text(SECOND + "\n")
    return "--new-passphrase-file", str(tmp_path / "second")
