"""Datasets whose catalogues were made by the generator of the benchmark, for tests that ask."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import scale_data
from n2s_core.app.workspace import Workspace
from n2s_core.model import FileRow, Part
from tests.cli.program import Program

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


def synthetic(folder: Path, plan: scale_data.Plan) -> Synthetic:
    return Synthetic(folder, plan, scale_data.fill(scale_data.prepare(folder), plan))


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Some ten thousand rows; for those who change nothing."""
    folder = tmp_path_factory.mktemp("scale") / "large"
    return synthetic(folder, scale_data.Plan(20_000, changesets=CHANGESETS, changed=0.3))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """An eighth of that."""
    folder = tmp_path_factory.mktemp("scale") / "small"
    return synthetic(folder, scale_data.Plan(2_500, changesets=CHANGESETS, changed=0.3))
