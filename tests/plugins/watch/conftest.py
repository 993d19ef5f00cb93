"""A tree whose changes are recorded, and the program that pushes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.plugins.watch.watched import Tree, Watching


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty tree that nobody records yet."""
    root = tmp_path / "root"
    root.mkdir()
    return Tree(root)


@pytest.fixture(scope="session")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A prepared dataset with an empty tree, of which tests get copies."""
    base = tmp_path_factory.mktemp("unwatched")
    for name in ("root", "home"):
        (base / name).mkdir()
    program = Program(base / "root", base / "store", base / "home")
    program.init("--using", "watch")
    return program


@pytest.fixture
def watching(unwatched: Program, tmp_path: Path) -> Iterator[Watching]:
    """A prepared dataset on which `n2s watch` may be started; it ends with the test."""
    made = Watching(tmp_path, unwatched.copy(tmp_path / "one"))
    yield made
    made.kill()
