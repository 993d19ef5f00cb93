"""Promise: datasets that share a catalogue and a store push at the same time, and each is whole."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Dataset, MakeDataset, environment
from tests.stopping import PROGRAM, Standing


def beside(first: Dataset, make_dataset: MakeDataset) -> Dataset:
    """Another dataset in the catalogue and the store of the first."""
    made = make_dataset("beside", store=first.store, prepare=False)
    second = Dataset(made.base, made.root, first.store, made.config, url=first.url)
    if first.url is not None:
        second.init()
        return second
    text = first.config.read_text()
    identity, other = first.facts().dataset_id, bytes(range(16))
    text = text.replace(identity.hex(), other.hex()).replace(str(first.root), str(second.root))
    second.config.parent.mkdir()
    second.config.write_text(text + f'\n[catalogue]\nurl = "{first.catalogue}"\n')
    with first.space() as space:
        space.catalogue.add_dataset(other, "beside")
    return second


def fill(dataset: Dataset, seed: int) -> None:
    """Several batches of files."""
    folder = dataset.root / f"folder-{seed}"
    folder.mkdir()
    for number in range(50):
        (folder / f"file-{number}").write_bytes(random.Random(seed * 100 + number).randbytes(700))


def push_in_another_process(dataset: Dataset) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(Path(PROGRAM)), str(dataset.config), "here"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.on_both
@pytest.mark.parametrize("point", ["batch-sealed:1", "batch-recorded:2", "head-sealed"])
def test_what_two_pushes_store_at_once_is_not_mixed_up(
    dataset: Dataset, make_dataset: MakeDataset, point: str
) -> None:
    """Neither knows the objects of the other before they are recorded."""
    other = beside(dataset, make_dataset)
    fill(dataset, 1)
    fill(other, 2)
    with Standing(dataset, point) as first:
        second = push_in_another_process(other)
        assert second.communicate()[1] == ""
        assert second.returncode == 0
        assert first.wake() == (0, "")
    for one in (dataset, other):
        one.assert_restores(one.pull())
        found = one.verify()
        assert (found.missing, found.damaged) == ({}, {})
        assert one.push().changeset_id is None
