"""A repair of a store on several remotes: copies and shards first, then what no remote has."""

from pathlib import Path

import pytest

from n2s_core.app import repairing
from n2s_core.app.repairing import RepairAnswer
from tests import several
from tests.conftest import Dataset, quiet


def repair(dataset: Dataset) -> RepairAnswer:
    """Reads everything."""
    with dataset.space() as space:
        return repairing.repair(space, percent=100, dry_run=False, report=quiet)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SMALL_SET = 'mode = "erasure"\nminimal_shards = 2\nexpected_shards = 4\nminimum = 2'


@pytest.mark.parametrize(("head", "count"), [('mode = "mirror"', 2), (SMALL_SET, 4)])
def test_copies_and_shards_are_healed_from_the_other_remotes(
    tmp_path: Path, head: str, count: int
) -> None:
    made = several.make(tmp_path / "set", head, count)
    made.push()
    for path in made.root.iterdir():
        path.unlink()
    files = sorted(path for path in made.remote(1).rglob("*") if path.is_file())
    whole = {path: path.read_bytes() for path in files}
    for number, path in enumerate(files):
        (flip if number % 2 else Path.unlink)(path)
    answer = repair(made)
    assert answer.exit_code == 0
    assert answer.to_json()["copies_written"] == len(files)
    assert {path: path.read_bytes() for path in files} == whole


def test_what_no_remote_has_any_more_is_made_from_the_source(tmp_path: Path) -> None:
    made = several.make(tmp_path / "set", 'mode = "mirror"', 2)
    made.push()
    paths = [path for path in made.store.glob("r?/data/*/*") if path.is_file()]
    whole = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    answer = repair(made)
    assert answer.unhealed == {}
    assert {path: path.read_bytes() for path in paths} == whole
    assert made.owed() == {}
    assert repair(made).exit_code == 0
