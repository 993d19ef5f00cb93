"""Stores of several remotes whose configuration, room or remotes change as the months pass."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from n2s_core.app.api import N2sError
from n2s_core.app.recovering import RecoverOrder, recover
from n2s_core.stores.rclone_program import find_rclone
from n2s_core.stores.shards import Header
from tests import several
from tests.conftest import Mount, environment, missing, quiet
from tests.several import Several, fill

MIRROR = 'mode = "mirror"\n'
REPAIR = "import sys; from n2s_core.app.api import store; store('repair', config=sys.argv[1])"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remotes that are away are asked again at once."""
    monkeypatch.setattr("n2s_core.stores.several.BASE_S", 0.0)
    monkeypatch.setattr("n2s_core.app.opening.BASE_S", 0.0)


def shards(minimal: int, expected: int, more: str = "") -> str:
    return (
        f'mode = "erasure"\nminimal_shards = {minimal}\nexpected_shards = {expected}\n'
        f"minimum = {minimal}\n{more}"
    )


def change(dataset: Several, old: str, new: str) -> None:
    """Another setting in the configuration."""
    text = dataset.config.read_text()
    for line in old.splitlines():
        assert f"{line}\n" in text
        text = text.replace(f"{line}\n", "", 1)
    dataset.config.write_text(text.replace("[store]\n", f"[store]\n{new}", 1))


def data_of(dataset: Several, number: int) -> dict[str, bytes]:
    """What a remote holds of data, by name."""
    base = dataset.remote(number)
    files = [path for path in base.glob("data/*/*") if path.is_file()]
    return {str(path.relative_to(base)): path.read_bytes() for path in files}


def codings(dataset: Several, count: int) -> set[tuple[int, int] | None]:
    """How the data lie on the remotes: M and N of every shard, None for an object by itself."""
    found: set[tuple[int, int] | None] = set()
    for number in range(count):
        for data in data_of(dataset, number).values():
            if data[:6] == b"N2SSHD":
                coding = Header.parse(data).coding
                found.add((coding.m, coding.n))
            else:
                found.add(None)
    return found


def test_shards_become_a_mirror_by_repair(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "set", shards(2, 3), 4)
    dataset.push()
    change(dataset, shards(2, 3), MIRROR)
    dataset.assert_restores()
    assert dataset.verify().missing == dataset.verify().damaged == {}
    assert dataset.act("repair").debts == 0
    assert codings(dataset, 4) == {None}
    assert data_of(dataset, 0) == data_of(dataset, 1) == data_of(dataset, 2) == data_of(dataset, 3)
    for number in range(3):
        shutil.rmtree(dataset.remote(number))
    dataset.assert_restores()


@pytest.mark.parametrize(
    ("before", "after"), [((2, 4), (3, 4)), ((3, 4), (2, 3)), ((2, 3), (2, 5))]
)
def test_another_coding_replaces_the_old_one_wholly(
    tmp_path: Path, before: tuple[int, int], after: tuple[int, int]
) -> None:
    dataset = several.make(tmp_path / "set", shards(*before), 5)
    dataset.push()
    change(dataset, shards(*before), shards(*after))
    dataset.assert_restores()
    assert dataset.act("repair").debts == 0
    assert codings(dataset, 5) == {after}
    held = [name for number in range(5) for name in data_of(dataset, number)]
    assert {held.count(name) for name in held} == {after[1]}
    assert dataset.act("verify", percent=100).exit_code == 0
    for number in range(after[1] - after[0]):
        shutil.rmtree(dataset.remote(number))
    dataset.assert_restores()


@pytest.mark.parametrize("new", [MIRROR, shards(3, 4)], ids=["mirror", "3 of 4"])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_conversion_that_is_killed_loses_nothing_and_goes_on(
    tmp_path: Path, at: int, new: str
) -> None:
    dataset = several.make(tmp_path / "set", shards(2, 4), 4)
    dataset.push()
    change(dataset, shards(2, 4), new)
    command = [sys.executable, "-c", REPAIR, str(dataset.config)]
    env = environment(N2S_CRASH_AT=f"remote-stored:{at}")
    died = subprocess.run(command, env=env, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL
    dataset.assert_restores()
    fill(dataset.root, 2)
    dataset.push()
    assert dataset.act("repair").debts == 0
    assert codings(dataset, 4) == ({None} if new == MIRROR else {(3, 4)})
    shutil.rmtree(dataset.remote(0))
    dataset.assert_restores()


def test_what_a_remote_had_that_stays_away_is_made_anew_on_others(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "set", shards(2, 3), 5)
    dataset.push()
    change(dataset, "", 'rebuild_after = "0s"\n')
    away = next(number for number in range(1, 5) if data_of(dataset, number))
    shutil.rmtree(dataset.remote(away))
    status = dataset.act("status")
    (since,) = [one.away_ns for one in status.remotes if one.name == f"r{away}"]
    assert since is not None
    repaired = dataset.act("repair")
    assert repaired.paid.objects > 0
    held = [name for number in set(range(5)) - {away} for name in data_of(dataset, number)]
    assert {held.count(name) for name in held} == {3}
    shutil.rmtree(dataset.remote(0))
    dataset.assert_restores()


def test_a_remote_that_is_away_for_a_short_time_is_waited_for(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "set", shards(2, 3), 5)
    dataset.push()
    hidden = dataset.remote(1).rename(tmp_path / "hidden")
    before = [data_of(dataset, number) for number in (0, 2, 3, 4)]
    dataset.act("status")
    dataset.act("repair")
    assert [data_of(dataset, number) for number in (0, 2, 3, 4)] == before
    hidden.rename(dataset.remote(1))
    back = dataset.act("status")
    assert [one.away_ns for one in back.remotes] == [None] * 5


@pytest.mark.parametrize("through", ["", "rclone::local:"])
def test_a_remote_without_room_is_not_chosen(tmp_path: Path, tmpfs: Mount, through: str) -> None:
    if through:
        try:
            find_rclone()
        except N2sError as error:
            missing(str(error))
    disk = tmpfs("size=64k")
    (disk / "others").write_bytes(bytes(60 << 10))
    urls = {1: f"{through}{disk}"}
    dataset = several.make(tmp_path / "set", shards(2, 3), 4, urls=urls)
    for number in range(3):
        (dataset.root / f"more-{number}").write_bytes(bytes(range(256)) * 400)
    dataset.push()
    assert not list(disk.glob("data/*/*"))
    for number in (0, 2, 3):
        assert data_of(dataset, number)
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert dataset.act("repair").debts == 0
    dataset.assert_restores()


def test_recover_needs_the_least_number_of_remotes_after_a_conversion(tmp_path: Path) -> None:
    dataset = several.make(tmp_path / "set", MIRROR, 5)
    dataset.push()
    change(dataset, MIRROR, shards(2, 5))
    assert dataset.act("repair").debts == 0
    for number in (0, 2, 4):
        shutil.rmtree(dataset.remote(number))
    table = Path(dataset.table)
    table.write_text(table.read_text().replace(MIRROR, shards(2, 5)))
    recovered = dataset.new_folder("recovered")
    recover(RecoverOrder(f"set:{dataset.table}", recovered), quiet)
    dataset.assert_restores(recovered)
