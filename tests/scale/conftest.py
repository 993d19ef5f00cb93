"""Datasets whose catalogues were made by the generator of the benchmark, for tests that ask."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import scale_data
from n2s_core.app.workspace import Workspace
from n2s_core.model import FileRow, Part
from tests.cli.program import Program
from tests.conftest import KINDS
from tests.servers.postgresql import Postgresql

CHANGESETS = 12


@dataclass(frozen=True)
class Synthetic:
    """A dataset and what it was filled by."""

    folder: Path
    plan: scale_data.Plan
    sums: scale_data.Sums

    @property
    def config(self) -> Path:
        return self.folder / "root" / ".n2s" / "config.toml"

    @property
    def program(self) -> Program:
        return Program(self.folder / "root", self.folder / "store", self.folder)

    def space(self) -> Workspace:
        return Workspace.find(self.config)

    def tree(self, changeset_no: int, under: bytes = b"", part: Part = Part.ALL) -> list[FileRow]:
        with self.space() as space:
            no = space.dataset.dataset_no
            return list(space.catalogue.queries.tree(no, changeset_no, under=under, part=part))


Make = Callable[[scale_data.Plan], Synthetic]


def synthetic(folder: Path, plan: scale_data.Plan, catalogue: str | None = None) -> Synthetic:
    return Synthetic(folder, plan, scale_data.fill(scale_data.prepare(folder, catalogue), plan))


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of the database of the catalogue."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def make(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Make:
    """Makes catalogues in a file, or in a schema of PostgreSQL."""

    def one(plan: scale_data.Plan) -> Synthetic:
        url = None
        if kind != KINDS[0]:
            server: Postgresql = request.getfixturevalue("postgresql")
            url = server.url()
        return synthetic(tmp_path_factory.mktemp("scale") / "one", plan, url)

    return one


@pytest.fixture(scope="session")
def large(make: Make) -> Synthetic:
    """Some ten thousand rows; for those who change nothing."""
    return make(scale_data.Plan(20_000, changesets=CHANGESETS, changed=0.3))


@pytest.fixture(scope="session")
def small(make: Make) -> Synthetic:
    """An eighth of that."""
    return make(scale_data.Plan(2_500, changesets=CHANGESETS, changed=0.3))
