"""A dataset that is made once for many tests, and made whole behind each that damages it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import crashing
from tests.conftest import PASSPHRASE, Dataset

DAMAGED = ("store", "config")


def made_once(base: Path, fill: Callable[[Dataset], None], also: tuple[str, ...] = ()) -> Dataset:
    """In small objects and pieces; `fill` pushes. What tests damage is kept twice, and `also`."""
    (base / "root").mkdir()
    dataset = Dataset(
        base, base / "root", base / "store", base / "config" / "config.toml", pack_size=20_000
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("N2S_PASSPHRASE", PASSPHRASE)
        crashing.make_small(patch.setattr, items=10)
        dataset.init()
        fill(dataset)
    for part in (*DAMAGED, *also):
        shutil.copytree(base / part, base / "whole" / part, symlinks=True)
    return dataset


def make_whole(dataset: Dataset) -> None:
    """Store, configuration and catalogue are as they were when it was made."""
    for part in DAMAGED:
        shutil.rmtree(dataset.base / part, ignore_errors=True)
        shutil.copytree(dataset.base / "whole" / part, dataset.base / part)
