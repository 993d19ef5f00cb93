"""A repair makes objects again, byte for byte, from what is left, the tree, and other records.

It writes nothing that it has not compared with the name of the object, reads back what it wrote,
deletes nothing, and names what it cannot heal, which the next push stores again.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app import repairing
from n2s_core.app.repairing import RepairAnswer
from n2s_core.app.workspace import Workspace
from n2s_core.errors import LeaseHeld
from n2s_core.packs import scan
from tests import crashing
from tests.conftest import Dataset, MakeDataset, environment, quiet
from tests.fakes import Fault, FaultyStore
from tests.trees import describe, differences

ODD = b"odd \xff\n name"
Harm = Callable[[Path], object]


def repair(dataset: Dataset, *, dry_run: bool = False, percent: float = 100) -> RepairAnswer:
    with dataset.space() as space:
        return repairing.repair(space, percent=percent, dry_run=dry_run, report=quiet)


def flip(path: Path) -> None:
    """In the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_every_record(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for one in scan(bytes(data), 8):
        if isinstance(one, tuple):
            data[one[0] + one[1].size - 1] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def shift(path: Path) -> None:
    """Bytes were gained in the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"gained" + data[len(data) // 2 :])


HARMS: dict[str, Harm] = {
    "deleted": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "truncated": truncate,
    "flipped": flip,
    "every record flipped": flip_every_record,
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "bytes gained": shift,
}


def fill(dataset: Dataset) -> None:
    """Every kind of record: contents, pieces, lists of pieces, nodes, aliases."""
    root = dataset.root
    (root / "docs").mkdir()
    for number in range(30):
        (root / "docs" / f"{number}.txt").write_bytes(os.urandom(300) + b"text " * number * 20)
    (root / "large").write_bytes(os.urandom(300_000))
    (root / "large too").write_bytes(os.urandom(100_000))
    os.link(root / "docs" / "2.txt", root / "another name")
    (root / "link").symlink_to("docs/1.txt")
    (root / "empty").touch()
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(ODD)).write_bytes(b"odd")
    os.setxattr(root / "docs" / "3.txt", "user.color", b"green")
    with (root / "sparse").open("wb") as file:
        file.truncate(2 << 20)
        file.seek(1 << 20)
        file.write(os.urandom(5000))


@pytest.fixture(name="pushed")
def pushed_dataset(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Several objects, several batches, files in pieces, an alias of a file that was touched."""
    crashing.make_small(monkeypatch.setattr)
    dataset = make_dataset(pack_size=40_000)
    fill(dataset)
    dataset.push()
    (dataset.root / "docs" / "5.txt").chmod(0o600)
    (dataset.root / "docs" / "6.txt").write_text("second version")
    dataset.push()
    return dataset


@pytest.mark.parametrize("harm", HARMS)
def test_data_objects_come_back_byte_for_byte_from_the_source(pushed: Dataset, harm: str) -> None:
    (pushed.root / "docs" / "6.txt").unlink()  # its first version is nowhere but in the store
    objects = pushed.objects("data")
    whole = {name: path.read_bytes() for name, path in objects.items()}
    tree = describe(pushed.root)
    for path in objects.values():
        HARMS[harm](path)
    answer = repair(pushed)
    healed = {one for one, path in objects.items() if path.exists()}
    same = {name for name in healed if objects[name].read_bytes() == whole[name]}
    assert same == set(answer.healed)
    assert set(answer.healed) | set(answer.unhealed) == set(objects)
    assert len(answer.unhealed) <= 2, answer.unhealed
    assert describe(pushed.root) == tree
    pushed.push()
    pushed.assert_restores()


def test_all_is_healed_when_the_source_has_all(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing.make_small(monkeypatch.setattr)
    dataset = make_dataset(pack_size=40_000)
    fill(dataset)
    dataset.push()
    whole = {name: path.read_bytes() for name, path in dataset.objects("data").items()}
    assert len(whole) > 3
    for path in dataset.objects("data").values():
        path.unlink()
    answer = repair(dataset)
    assert (answer.exit_code, answer.unhealed) == (0, {})
    assert {name: path.read_bytes() for name, path in dataset.objects("data").items()} == whole
    assert dataset.push().changeset_id is None
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    dataset.rebuild_from_store()
    dataset.assert_restores()
    assert repair(dataset).healed == {}


def test_a_dry_run_says_what_a_repair_does_and_writes_nothing(pushed: Dataset) -> None:
    for path in pushed.objects("data").values():
        flip(path)
    harmed = {name: path.read_bytes() for name, path in pushed.objects().items()}
    planned = repair(pushed, dry_run=True)
    assert planned.exit_code == 3
    assert planned.healed
    assert {name: path.read_bytes() for name, path in pushed.objects().items()} == harmed
    done = repair(pushed)
    assert done.healed == planned.healed
    assert done.unhealed == planned.unhealed


def test_what_is_left_of_a_damaged_object_is_used_when_the_source_is_gone(
    make_dataset: MakeDataset,
) -> None:
    dataset = make_dataset()
    (dataset.root / "gone").write_bytes(os.urandom(5000))
    (dataset.root / "kept").write_bytes(os.urandom(5000))
    dataset.push()
    wanted = describe(dataset.root)
    (dataset.root / "gone").unlink()
    (name, path), *_ = dataset.objects("data").items()
    data = bytearray(path.read_bytes())
    records = [one for one in scan(bytes(data), 8) if isinstance(one, tuple)]
    data[records[2][0] + 60] ^= 1  # of "kept"
    whole = path.read_bytes()
    path.write_bytes(data)
    assert list(repair(dataset).healed) == [name]
    assert path.read_bytes() == whole
    assert differences(wanted, describe(dataset.pull())) == []


def test_a_changed_file_is_never_taken_for_what_was_stored(dataset: Dataset) -> None:
    for number in range(3):
        (dataset.root / f"{number}").write_bytes(b"first" * 100)
    dataset.push()
    (name, path), *_ = dataset.objects("data").items()
    path.unlink()
    before = (dataset.root / "1").stat()
    (dataset.root / "1").write_bytes(b"FIRST" * 100)
    os.utime(dataset.root / "1", ns=(before.st_atime_ns, before.st_mtime_ns))
    (dataset.root / "0").unlink()
    (dataset.root / "2").unlink()
    answer = repair(dataset)
    assert list(answer.unhealed) == [name]
    assert answer.exit_code == 3
    assert not path.exists()
    assert {b"0", b"1", b"2"} <= set(answer.concerns.paths)


def test_the_same_content_at_another_path_heals(dataset: Dataset) -> None:
    (dataset.root / "one").write_bytes(b"content" * 100)
    dataset.push()
    whole = {name: path.read_bytes() for name, path in dataset.objects("data").items()}
    (dataset.root / "one").rename(dataset.root / "two")
    dataset.push()
    for name in whole:
        (dataset.store / name).unlink()
    assert repair(dataset).unhealed == {}
    assert {name: (dataset.store / name).read_bytes() for name in whole} == whole


def test_an_old_version_is_read_from_another_record_when_its_object_cannot_be_made(
    dataset: Dataset,
) -> None:
    (dataset.root / "lost").write_bytes(os.urandom(1000))
    (dataset.root / "kept").write_bytes(b"content" * 100)
    dataset.push()
    old = dataset.changesets()[0]
    (name,) = dataset.objects("data")
    (dataset.root / "lost").unlink()
    dataset.push()
    (dataset.store / name).unlink()
    first = repair(dataset)
    assert list(first.unhealed) == [name]
    assert first.relinked == 0
    dataset.push()  # stores "kept" again
    dataset.assert_restores()
    again = repair(dataset)
    assert again.relinked == 1
    target, result = dataset.try_pull((old.changeset_id or b"").hex())
    assert [one.path for one in result.failures] == [b"lost"]
    assert (target / "kept").read_bytes() == b"content" * 100
    assert dataset.push().changeset_id is None


def test_a_live_path_that_was_linked_elsewhere_is_stored_again_for_those_without_a_catalogue(
    dataset: Dataset,
) -> None:
    (dataset.root / "lost").write_bytes(os.urandom(1000))
    (dataset.root / "one").write_bytes(b"content" * 100)
    dataset.push()
    (name,) = dataset.objects("data")
    (dataset.root / "two").write_bytes(b"content" * 100)
    (dataset.root / "lost").unlink()
    dataset.push()
    (dataset.store / name).unlink()
    assert repair(dataset).relinked == 1
    assert dataset.push().failures == []
    dataset.assert_restores(dataset.pull())
    dataset.forget_catalogue()
    dataset.rebuild()
    dataset.assert_restores()


def test_pieces_of_old_versions_are_found_where_they_are_now(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing.make_small(monkeypatch.setattr)
    dataset = make_dataset(pack_size=30_000)
    content = os.urandom(300_000)
    (dataset.root / "large").write_bytes(content)
    dataset.push()
    old = (dataset.changesets()[0].changeset_id or b"").hex()
    with (dataset.root / "large").open("ab") as file:
        file.write(b"more")
    dataset.push()
    for path in dataset.objects("data").values():
        path.unlink()
    assert repair(dataset).unhealed == {}
    dataset.assert_restores()
    assert (dataset.pull(old) / "large").read_bytes() == content


def test_a_lost_list_is_named_and_the_next_push_makes_the_tree_whole(pushed: Dataset) -> None:
    lists = {**pushed.objects("meta"), **pushed.objects("changesets")}
    for path in lists.values():
        flip(path)
    answer = repair(pushed)
    assert set(answer.unhealed) == set(lists)
    assert pushed.push().changeset_id is not None
    pushed.forget_catalogue()
    pushed.rebuild()
    pushed.assert_restores()


@pytest.mark.parametrize("harm", [Path.unlink, flip])
def test_a_key_object_is_put_back(pushed: Dataset, harm: Harm) -> None:
    ((_, path),) = pushed.objects("keys").items()
    data = path.read_bytes()
    harm(path)
    assert repair(pushed, dry_run=True).exit_code == 3
    assert repair(pushed).exit_code == 0
    assert path.read_bytes() == data


@pytest.mark.parametrize("fault", [Fault.WRONG_BYTES, Fault.SAY_OK_BUT_DROP, Fault.TRUNCATE])
@pytest.mark.parametrize("times", [1, 2])
def test_an_object_counts_as_healed_when_it_was_read_back(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, fault: Fault, times: int
) -> None:
    (dataset.root / "file").write_bytes(b"content" * 100)
    dataset.push()
    (name,) = dataset.objects("data")
    whole = (dataset.store / name).read_bytes()
    (dataset.store / name).unlink()
    real = Workspace.store
    made: list[Any] = []

    def faulty(space: Workspace) -> Any:
        if not made:
            inner = real.fget(space)  # type: ignore[attr-defined]
            made.append(FaultyStore(inner, [("put", nth + 1, fault) for nth in range(times)]))
        return made[0]

    monkeypatch.setattr(Workspace, "store", property(faulty))
    answer = repair(dataset)
    monkeypatch.setattr(Workspace, "store", real)
    assert bool(answer.unhealed) == (times == 2)
    if times == 1:
        assert (dataset.store / name).read_bytes() == whole
    else:
        assert repair(dataset).exit_code == 0
    dataset.assert_restores()


def command(dataset: Dataset, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "n2s_core", "-c", str(dataset.config), *words],
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_repair_that_is_killed_goes_on_the_next_time(pushed: Dataset) -> None:
    wanted = {name: path.read_bytes() for name, path in pushed.objects("data").items()}
    for path in pushed.objects("data").values():
        path.unlink()
    done = command(pushed, "repair", N2S_CRASH_AT="repair-put:2")
    assert done.returncode == -signal.SIGKILL
    assert len(pushed.objects("data")) == 2
    repair(pushed, percent=0)
    found = {name: path.read_bytes() for name, path in pushed.objects("data").items()}
    assert found.items() <= wanted.items()
    assert len(wanted) - len(found) <= 1  # what held the first version of 6.txt
    pushed.push()
    pushed.assert_restores()


def test_no_repair_while_a_push_runs_but_a_dry_run(pushed: Dataset) -> None:
    with pushed.space() as space:
        lease = space.catalogue.leases.acquire(space.dataset.dataset_no)
        with pytest.raises(LeaseHeld):
            repair(pushed)
        assert repair(pushed, dry_run=True).exit_code == 0
        space.catalogue.leases.release(lease)
    assert repair(pushed).exit_code == 0


def test_the_command_and_its_document(pushed: Dataset) -> None:
    (name, path), *_ = pushed.objects("data").items()
    path.unlink()
    planned = command(pushed, "repair", "--dry-run")
    assert (planned.returncode, f"would be healed: {name}" in planned.stderr) == (3, True)
    assert not path.exists()
    done = json.loads(command(pushed, "repair", "--json").stdout)
    assert [one["object"] for one in done["healed"]] == [name]
    assert done["unhealed"] == done["affected"] == []
    assert path.exists()
    said = command(pushed, "repair", "--data")
    assert (said.returncode, "0 not healed" in said.stdout) == (0, True)
    assert command(pushed, "repair", "--data=lots").returncode == 2


def test_a_store_that_is_away_is_not_repaired(pushed: Dataset) -> None:
    shutil.move(pushed.store, f"{pushed.store}-away")
    said = command(pushed, "repair")
    assert said.returncode == 2
    assert not pushed.store.exists()
    shutil.move(f"{pushed.store}-away", pushed.store)
    assert repair(pushed).exit_code == 0
