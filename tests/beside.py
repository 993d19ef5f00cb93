"""Another dataset in the same catalogue and the same store."""

import random
import subprocess
import sys
from pathlib import Path

from tests.conftest import Dataset, MakeDataset, environment
from tests.stopping import PROGRAM


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


def push_in_another_process(
    dataset: Dataset, prefix: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*prefix, sys.executable, str(Path(PROGRAM)), str(dataset.config), "here"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
