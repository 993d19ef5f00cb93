"""A verify remembers what it read and how, goes on where it was stopped, and says whom damage hits.

What is known to be missing or damaged is never linked to, and is not forgotten until it is whole.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from n2s_core.app.verifying import VerifyAnswer, verify
from n2s_core.clock import SECOND_NS, now_ns
from n2s_core.errors import UsageError
from n2s_core.flows.affected import MOST_NAMED
from tests.conftest import Dataset, MakeDataset, environment, quiet

ODD = b"odd \xff\n name"


def read(dataset: Dataset, percent: float = 100, **how: Any) -> VerifyAnswer:
    """A verify as the command does it."""
    with dataset.space() as space:
        return verify(
            space, percent=percent, older_than_ns=how.pop("older", None), report=quiet, **how
        )


def verified(dataset: Dataset) -> dict[str, tuple[int | None, str | None]]:
    """When and how each object was read."""
    with dataset.space() as space:
        rows = space.catalogue.db.all("SELECT digest, verified_ns, verified_how FROM objects")
    return {bytes(row[0]).hex(): (row[1], row[2]) for row in rows}


def read_names(dataset: Dataset) -> set[str]:
    return {name for name, (time_ns, _) in verified(dataset).items() if time_ns is not None}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def object_of(dataset: Dataset, path: bytes) -> Path:
    """The object with the newest version of a path."""
    with dataset.space() as space:
        queries, facts = space.catalogue.queries, space.dataset
        row = queries.at(facts.dataset_no, facts.head_no, path)
        assert row is not None
        found = queries.object(row.object_no)
    assert found is not None
    digest = found[0].digest.hex()
    return dataset.store / "data" / digest[:2] / digest


@pytest.fixture(name="many")
def dataset_of_many_objects(make_dataset: MakeDataset) -> Dataset:
    """One object for each file: forty of them, and those of the changeset."""
    dataset = make_dataset(pack_size=0)
    for number in range(40):
        (dataset.root / f"file-{number:02}").write_bytes(os.urandom(500))
    dataset.push()
    return dataset


def test_a_share_is_read_in_turn_until_everything_was_read(many: Dataset) -> None:
    objects = len(verified(many))
    done: set[str] = set()
    for _ in range(4):
        answer = read(many, 25)
        now = read_names(many)
        assert len(now - done) == answer.found.read == -(-objects // 4) or now == set(
            verified(many)
        )
        done = now
    assert done == set(verified(many))


def test_what_was_never_read_comes_before_what_was(many: Dataset) -> None:
    read(many)
    before = verified(many)
    (many.root / "new").write_bytes(os.urandom(500))
    many.push()
    new = verified(many).keys() - before.keys()
    assert read(many, 100 * len(new) / len(verified(many))).found.read == len(new)
    assert {name: verified(many)[name] for name in before} == before
    assert read_names(many) >= new


def test_most_bytes_stops_before_they_are_exceeded_and_says_what_is_left(many: Dataset) -> None:
    answer = read(many, most_bytes=3000)
    assert 0 < answer.found.read < len(verified(many))
    assert answer.found.unread == len(verified(many)) - answer.found.read
    keys = sum(path.stat().st_size for path in many.objects("keys").values())
    assert answer.found.bytes - keys <= 3000
    assert answer.to_json()["unread"] == answer.found.unread


def test_one_object_is_read_however_few_bytes_are_allowed(many: Dataset) -> None:
    for count in (1, 2):
        assert read(many, most_bytes=1).found.read == 1
        assert len(read_names(many)) == count


def test_older_than_and_a_share_are_of_what_is_old_enough(many: Dataset) -> None:
    read(many, 50)
    fresh = verified(many)
    answer = read(many, older=3600 * SECOND_NS)
    assert answer.found.read == len(fresh) - len([one for one in fresh.values() if one[0]])
    assert read(many, older=3600 * SECOND_NS).found.read == 0


def test_how_it_was_verified_is_remembered(many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with many.space() as space:
        assert space.catalogue.db.one("SELECT max(sized_ns) FROM objects") == (None,)
    began = now_ns()
    read(many, 0)
    with many.space() as space:
        assert space.catalogue.db.one("SELECT count(*) FROM objects WHERE sized_ns IS NULL") == (0,)
        least = space.catalogue.db.one("SELECT min(sized_ns) FROM objects")
    assert least is not None
    assert least[0] >= began
    assert read_names(many) == set()
    monkeypatch.delenv("N2S_PASSPHRASE")
    assert read(many).note
    assert {how for _, how in verified(many).values()} == {"hashed"}
    monkeypatch.setenv("N2S_PASSPHRASE", "a passphrase for tests")
    read(many)
    assert {how for _, how in verified(many).values()} == {"opened"}


def run_killed(dataset: Dataset, passing: int, *words: str) -> None:
    """`verify` in another process that is killed when it has read so many objects."""
    command = [sys.executable, "-m", "n2s_core", "-c", str(dataset.config), "verify", *words]
    env = environment(N2S_CRASH_AT=f"object-verified:{passing}")
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_verify_that_was_killed_goes_on_with_what_it_had_not_read(
    many: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40, 100):
        (many.root / f"file-{number:02}").write_bytes(os.urandom(500))
    many.push()
    run_killed(many, 90, "--data")
    first = verified(many)
    kept = read_names(many)
    assert 0 < len(kept) <= 90
    rest = len(first) - len(kept)
    answer = read(many, 100 * rest / len(first))
    assert answer.found.read == rest
    assert {name: verified(many)[name] for name in kept} == {name: first[name] for name in kept}
    assert read_names(many) == set(first)


def test_damage_that_a_killed_verify_found_is_not_forgotten(many: Dataset) -> None:
    for number in range(40, 100):
        (many.root / f"file-{number:02}").write_bytes(os.urandom(500))
    many.push()
    first = object_of(many, b"file-00")
    flip(first)
    run_killed(many, 90, "--data")
    found = read(many, 0).found
    assert list(found.damaged) == [str(first.relative_to(many.store))]
    assert many.push().written == 1
    assert read(many, 0).found.affected_paths == [b"file-00"]
    many.assert_restores()


def test_each_damaged_object_says_which_paths_and_changesets_need_it(
    make_dataset: MakeDataset,
) -> None:
    dataset = make_dataset(pack_size=0)
    (dataset.root / os.fsdecode(ODD)).write_text("odd")
    (dataset.root / "kept").write_text("kept")
    dataset.push()
    (dataset.root / "later").write_text("later")
    dataset.push()
    (dataset.root / os.fsdecode(ODD)).unlink()
    dataset.push()
    (dataset.root / "last").write_text("last")
    dataset.push()
    newest, removed, third, first = (one.changeset_id for one in dataset.changesets())
    lost = object_of(dataset, b"kept")
    lost.unlink()
    with dataset.space() as space:
        row = space.catalogue.db.one("SELECT object_no FROM files WHERE path = ?", (ODD,))
        assert row is not None
        found = space.catalogue.queries.object(row[0])
    assert found is not None
    digest = found[0].digest.hex()
    flip(dataset.store / "data" / digest[:2] / digest)
    document = json.loads(json.dumps(read(dataset).to_json()))
    about = {one["object"]: one for one in document["problems"]}
    odd = about[f"data/{digest[:2]}/{digest}"]
    assert (odd["path_count"], odd["changeset_count"]) == (1, 2)
    assert odd["paths"][0]["path"] == "odd \\xff\\n name"
    assert odd["paths"][0]["path_bytes"]
    assert odd["changeset_ids"] == [(one or b"").hex() for one in (first, third)]
    kept = about[str(lost.relative_to(dataset.store))]
    assert kept["paths"] == [{"path": "kept"}]
    assert kept["changeset_ids"] == [(one or b"").hex() for one in (first, third, removed, newest)]
    assert document["affected_count"] == 2


def test_the_lists_are_bounded_and_the_counts_are_not(dataset: Dataset) -> None:
    for number in range(MOST_NAMED + 20):
        (dataset.root / f"{number:04}").write_text(f"{number}")
    dataset.push()
    lost = object_of(dataset, b"0000")
    lost.unlink()
    (about,) = read(dataset, 0).to_json()["problems"]
    assert len(about["paths"]) == MOST_NAMED
    assert about["path_count"] >= MOST_NAMED + 20


def test_what_was_damaged_is_read_whatever_is_wished_and_forgotten_when_whole(
    many: Dataset,
) -> None:
    wrong = object_of(many, b"file-07")
    data = wrong.read_bytes()
    flip(wrong)
    assert read(many).exit_code == 3
    again = read(many, 0)
    assert list(again.found.damaged) == [str(wrong.relative_to(many.store))]
    wrong.write_bytes(data)
    assert read(many, 0).exit_code == 0
    assert many.push().changeset_id is None
    assert read(many, 0).found.read == 0


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_content_in_a_damaged_object_is_never_shared(
    make_dataset: MakeDataset, harm: Callable[[Path], None]
) -> None:
    dataset = make_dataset(share=True, pack_size=0)
    (dataset.root / "one").write_bytes(b"the same" * 100)
    dataset.push()
    harm(object_of(dataset, b"one"))
    read(dataset)
    (dataset.root / "one").unlink()
    (dataset.root / "two").write_bytes(b"the same" * 100)
    dataset.push()
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_pieces_in_a_damaged_object_are_not_used_again(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    (dataset.root / "large").write_bytes(os.urandom(17 << 20))
    dataset.push()
    largest = max(dataset.objects("data").values(), key=lambda path: path.stat().st_size)
    flip(largest)
    read(dataset)
    with (dataset.root / "large").open("ab") as file:
        file.write(b"more")
    dataset.push()
    dataset.assert_restores()


def test_a_lost_list_makes_a_changeset_with_a_checkpoint_although_nothing_changed(
    many: Dataset,
) -> None:
    for path in many.objects("changesets").values():
        path.unlink()
    assert read(many, 0).exit_code == 3
    assert many.push().changeset_id is not None
    many.forget_catalogue()
    assert many.rebuild().problems
    many.assert_restores()
    assert many.push().changeset_id is None


def test_a_percentage_out_of_range_is_refused(many: Dataset) -> None:
    with pytest.raises(UsageError, match="percentage"):
        read(many, 101)


def test_the_command_takes_most_bytes_and_says_what_is_left(many: Dataset) -> None:
    command = [sys.executable, "-m", "n2s_core", "-c", str(many.config), "verify"]
    env = environment()
    said = subprocess.run(
        [*command, "--max-bytes", "3K"], env=env, capture_output=True, text=True, check=False
    )
    assert (said.returncode, "left to read" in said.stdout) == (0, True)
    lost = object_of(many, b"file-11")
    lost.unlink()
    said = subprocess.run(
        [*command, "--data=5%"], env=env, capture_output=True, text=True, check=False
    )
    assert said.returncode == 3
    assert "(1 paths, 1 changesets)" in said.stderr
