"""Datasets whose store is several remotes, from push to pull."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from n2s_core.app.api import N2sError, store
from n2s_core.app.recovering import RecoverOrder, recover
from n2s_core.errors import Unavailable, UsageError
from n2s_core.stores.rclone_program import find_rclone
from tests import several
from tests.conftest import Dataset, Mount, environment, missing, quiet
from tests.several import Several, fill

MIRROR = 'mode = "mirror"'
SHARDS = 'mode = "erasure"\nminimal_shards = 10\nexpected_shards = 15'


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remotes that are away are asked again at once."""
    monkeypatch.setattr("n2s_core.stores.several.BASE_S", 0.0)
    monkeypatch.setattr("n2s_core.app.opening.BASE_S", 0.0)


@pytest.fixture
def mirror(tmp_path: Path) -> Several:
    return several.make(tmp_path / "mirror", MIRROR, 3)


@pytest.fixture
def small(tmp_path: Path) -> Several:
    """Two of four shards."""
    head = 'mode = "erasure"\nminimal_shards = 2\nexpected_shards = 4\nminimum = 2'
    return several.make(tmp_path / "small", head, 4)


def objects(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# -- debts -----------------------------------------------------------------------------------------


def test_every_object_is_on_every_remote(mirror: Several) -> None:
    mirror.push()
    assert objects(mirror.remote(0)) == objects(mirror.remote(1)) == objects(mirror.remote(2))
    assert mirror.owed() == {}
    for number in (0, 1):
        shutil.rmtree(mirror.remote(number))
    mirror.assert_restores()


@pytest.mark.parametrize("kind", ["mirror", "small"])
def test_what_a_remote_missed_is_paid_by_the_push_after_it_came_back(
    kind: str, request: pytest.FixtureRequest
) -> None:
    dataset: Several = request.getfixturevalue(kind)
    away, there = dataset.store / "away", dataset.remote(1)
    there.rename(away)
    outcome = dataset.push()
    assert outcome.debts == dataset.owed()["r1"] > 0
    assert dataset.owed().keys() == {"r1"}
    assert not there.exists()
    dataset.assert_restores()
    away.rename(there)
    again = dataset.push()
    assert (again.changeset_id, again.debts, dataset.owed()) == (None, 0, {})
    shutil.rmtree(dataset.remote(0))
    dataset.assert_restores()
    assert not dataset.act("verify", percent=100).away.keys() - {"r0"}


def test_a_push_never_lists(mirror: Several) -> None:
    """All that it asks is whether the changeset before it is still there."""
    first = mirror.push()
    fill(mirror.root, 2)
    second = mirror.push()
    for before, outcome in enumerate((first, second)):
        assert (outcome.requests["list"], outcome.requests["stat"]) == (0, before)
        assert outcome.requests["put"] == 3 * outcome.objects_stored
        assert outcome.requests["bytes_sent"] == 3 * outcome.bytes_stored


def test_fewer_than_the_minimum_store_nothing(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "strict", f"{MIRROR}\nminimum = 2", 3)
    hidden = [dataset.remote(at).rename(dataset.store / f"x{at}") for at in (0, 2)]
    with pytest.raises(Unavailable, match="2 have to confirm"):
        dataset.push()
    with dataset.space() as space:
        assert space.catalogue.queries.totals().objects == 0
    assert dataset.changesets() == []
    for at, path in zip((0, 2), hidden, strict=True):
        path.rename(dataset.remote(at))
    assert dataset.push().failures == []
    dataset.assert_restores()


def test_a_remote_that_is_full_or_read_only_owes(tmp_path: Path, tmpfs: Mount) -> None:
    disk = tmpfs("size=24k")
    dataset = several.make(tmp_path / "full", MIRROR, 2, urls={1: str(disk)})
    assert dataset.push().debts > 0
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert dataset.push().debts == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    fill(dataset.root, 2)
    assert dataset.push().debts > 0
    dataset.assert_restores()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert dataset.act("sync").debts == 0
    assert objects(disk) == objects(dataset.remote(0))


@pytest.mark.parametrize("at", range(1, 6))
def test_a_push_killed_between_remotes_records_nothing_that_is_not_there(
    mirror: Several, at: int
) -> None:
    mirror.remote(2).rename(mirror.store / "away")
    program = "import sys; from n2s_core.app.api import push; push(config=sys.argv[1])"
    command = [sys.executable, "-c", program, str(mirror.config)]
    env = environment(N2S_CRASH_AT=f"remote-stored:{at}")
    died = subprocess.run(command, env=env, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL
    with mirror.space() as space:
        debts = dict(space.catalogue.debts.owed())
        known = {
            name: size
            for shelf in ("meta", "changesets", "data")
            for name, size in space.catalogue.queries.sizes(shelf).items()
        }
    assert known or at < 5, "the head is put when the batches are recorded"
    for name in known:
        absent = {f"r{n}" for n in range(3) if not (mirror.remote(n) / name).exists()}
        assert absent <= debts.get(name, frozenset())
    (mirror.store / "away").rename(mirror.remote(2))
    mirror.push()
    assert mirror.owed() == {}
    mirror.assert_restores()


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mirror", "small"])
@pytest.mark.parametrize("how", ["delete", "truncate", "flip"])
def test_damage_on_one_remote_is_read_around_found_and_repaired(
    kind: str, how: str, request: pytest.FixtureRequest
) -> None:
    dataset: Several = request.getfixturevalue(kind)
    dataset.push()
    before = objects(dataset.remote(0))
    for name in sorted(before):
        path = dataset.remote(0) / name
        if how == "delete":
            path.unlink()
        elif how == "truncate":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            flip(path)
    dataset.assert_restores()
    found = dataset.act("verify", percent=100)
    wrong = found.missing if how == "delete" else found.damaged
    assert {one.name for one in wrong} == before
    assert {one.remote for one in wrong} == {"r0"}
    assert dataset.act("repair").debts == 0
    again = dataset.act("verify", percent=100)
    assert (again.missing, again.damaged, again.debts, again.exit_code) == ((), (), 0, 0)
    assert objects(dataset.remote(0)) == before


@pytest.mark.parametrize("kind", ["mirror", "small"])
def test_a_remote_is_replaced_by_an_empty_one_when_it_is_named(
    kind: str, request: pytest.FixtureRequest
) -> None:
    dataset: Several = request.getfixturevalue(kind)
    dataset.push()
    before = objects(dataset.remote(2))
    shutil.rmtree(dataset.remote(2))
    assert "r2" in dataset.act("repair").away
    assert not dataset.remote(2).exists()
    done = dataset.act("repair", "r2")
    assert (done.debts, done.away) == (0, {})
    assert objects(dataset.remote(2)) == before


def test_a_new_remote_is_filled_and_a_retired_one_named_and_forgotten(mirror: Several) -> None:
    mirror.push()
    text = mirror.config.read_text().replace('"r1"', '"fresh"').replace("/r1", "/r9")
    mirror.config.write_text(text)
    answer = mirror.act("list")
    assert [one.name for one in answer.remotes if one.status == "retired"] == ["r1"]
    assert mirror.act("repair", "fresh").debts == 0
    assert objects(mirror.remote(9)) == objects(mirror.remote(0))
    assert [one.name for one in mirror.act("list").remotes] == ["r0", "fresh", "r2"]


# -- shards ----------------------------------------------------------------------------------------


def test_any_5_of_15_remotes_are_deleted(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "shards", SHARDS, 15)
    dataset.push()
    fill(dataset.root, 2)
    dataset.push()
    chance = random.Random(7)
    lost = chance.sample(range(15), 5)
    for number in lost:
        shutil.rmtree(dataset.remote(number))
    recovered = dataset.new_folder("recovered")
    recover(RecoverOrder(f"set:{dataset.table}", recovered), quiet)
    findings = dataset.verify()
    assert (findings.missing, findings.damaged) == ({}, {})
    dataset.assert_restores(dataset.pull(), recovered, dataset_recovered(dataset))
    dataset.rebuild_from_store()
    dataset.assert_restores()
    for number in lost:
        assert dataset.act("repair", f"r{number}").paid.problems == {}
    answer = dataset.act("verify", percent=100)
    assert (answer.missing, answer.damaged, answer.debts) == ((), (), 0)
    for number in set(range(15)) - set(lost):
        if len(list(dataset.store.iterdir())) > 10:
            shutil.rmtree(dataset.remote(number))
    dataset.assert_restores()


def dataset_recovered(dataset: Several) -> Path:
    """By contrib/recover.py, from the folders of the remotes that are left."""
    target = dataset.new_folder("recover-py")
    program = Path(__file__).parents[1] / "contrib" / "recover.py"
    folders = sorted(str(path) for path in dataset.store.iterdir())
    also = [word for folder in folders[1:] for word in ("--also", folder)]
    command = [sys.executable, str(program), folders[0], str(target), *also]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_whole_groups_may_be_lost(tmp_path: Path) -> None:
    head = 'mode = "erasure"\nminimal_shards = 4\nexpected_shards = 9\n'
    head += "redundant_groups = 1\nredundant_nodes = 1"
    dataset = several.make(tmp_path / "groups", head, 9, groups=3)
    dataset.push()
    for number in (0, 3, 6, 1, 5):  # the whole of g0, one of g1, one of g2
        shutil.rmtree(dataset.remote(number))
    dataset.assert_restores()
    dataset.assert_restores(dataset_recovered(dataset))


def test_a_setting_that_cannot_be_placed_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="10 suffice cannot be placed"):
        several.make(tmp_path / "wrong", f"{SHARDS}\nredundant_groups = 1", 15, groups=2)
    assert list((tmp_path / "wrong" / "stores").iterdir()) == []


@pytest.mark.parametrize(
    ("head", "count", "sentence"),
    [
        ('mode = "both"', 2, "mode is 'both'"),
        (f"{MIRROR}\nminimum = 3", 2, "minimum is 3, and there are 2 remotes"),
        (SHARDS, 14, "expected_shards is 15, and there are only 14 remotes"),
        (f"{MIRROR}\nminimal_shards = 2", 2, "a mirror has no shards"),
        (f'{SHARDS}\nmetadata = "zstor"', 15, "survives the loss of two"),
        (f"{MIRROR}\nmaximum = 3", 2, "no key 'maximum'"),
        (f"{MIRROR}\nminimum = true", 2, "must be of type int"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(
    tmp_path: Path, head: str, count: int, sentence: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        several.make(tmp_path / "wrong", head, count)


def test_a_mirror_becomes_shards_by_repair(mirror: Several) -> None:
    mirror.push()
    text = mirror.config.read_text()
    text = text.replace(MIRROR, 'mode = "erasure"\nminimal_shards = 2\nexpected_shards = 3')
    mirror.config.write_text(text)
    mirror.assert_restores()
    assert mirror.act("repair").debts == 0
    data = [name for name in objects(mirror.remote(0)) if name.startswith("data/")]
    assert all((mirror.remote(0) / name).read_bytes()[:6] == b"N2SSHD" for name in data)
    shutil.rmtree(mirror.remote(1))
    mirror.assert_restores()


# -- other kinds -----------------------------------------------------------------------------------


def test_a_folder_and_an_rclone_remote_are_a_mirror(tmp_path: Path) -> None:
    try:
        find_rclone()
    except N2sError as error:
        missing(str(error))
    inside = tmp_path / "cloud"
    inside.mkdir()
    dataset = several.make(tmp_path / "two", MIRROR, 2, urls={1: f"rclone::local:{inside}"})
    dataset.push()
    assert objects(inside) == objects(dataset.remote(0))
    shutil.rmtree(dataset.remote(0))
    dataset.assert_restores()


def test_a_store_that_is_one_folder_has_no_remotes(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="not one of several remotes"):
        store("verify", config=dataset.config)


def test_folders_of_remotes_below_the_root_are_left_out(tmp_path: Path) -> None:
    dataset = several.make(
        tmp_path / "inside", MIRROR, 2, urls={0: str(tmp_path / "inside/root/s")}
    )
    dataset.push()
    assert not any(path.startswith(b"s/") for path in restored_paths(dataset))


def restored_paths(dataset: Several) -> list[bytes]:
    target = os.fsencode(dataset.pull())
    return [
        os.path.relpath(os.path.join(folder, name), target)
        for folder, _, names in os.walk(target)
        for name in names
    ]
