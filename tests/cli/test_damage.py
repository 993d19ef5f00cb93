"""verify, rebuild and recover: what is damaged is named, the rest can be had."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.app.workspace import Workspace
from tests import catalogues
from tests.cli.program import ODD, Make, Program, fill
from tests.trees import describe, differences

OWN = frozenset({b".n2s"})
VERIFY_KEYS = {"objects", "checked", "bytes", "missing", "damaged", "affected_paths", "orphans"}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def object_of(program: Program, path: str) -> Path:
    found: str = program.json("where", path)["places"][-1]["object"]
    return program.store / found


def forget_catalogue(program: Program) -> None:
    catalogues.remove(program.address)


def test_verify_of_a_whole_store_is_quiet_and_remembers(victim: Program) -> None:
    found = victim.json("verify", "--data")
    assert found.keys() >= VERIFY_KEYS
    assert found["missing"] == found["damaged"] == found["affected_paths"] == []
    assert found["objects"] == found["checked"] > 4
    assert found["bytes"] > 40_000
    assert victim.json("status")["last_verify"] is not None
    assert victim.json("where", "a.txt")["places"][0]["verified_at"] is not None


@pytest.mark.parametrize("words", [("--data=0",), ()])
def test_verify_without_data_reads_no_contents(victim: Program, words: tuple[str, ...]) -> None:
    assert victim.json("verify", *words)["bytes"] < 1000


@pytest.mark.parametrize("words", [("--data", "50"), ("--data", "50%"), ("--data=50",)])
def test_verify_takes_a_percentage(victim: Program, words: tuple[str, ...]) -> None:
    assert victim.json("verify", *words)["data_percent"] == 50


def test_verify_older_than_leaves_out_what_was_verified_lately(victim: Program) -> None:
    victim.run("verify", "--data")
    keys = len(victim.objects("keys"))
    assert victim.json("verify", "--data", "--older-than", "1d")["objects"] == keys
    assert "is no age" in victim.run("verify", "--older-than", "old", code=2).err
    assert "percentage" in victim.run("verify", "--data=many", code=2).err
    assert "percentage" in victim.run("verify", "--data=101", code=2).err


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["flip", "truncate", "empty"],
)
def test_verify_names_a_damaged_object_and_its_paths(
    victim: Program, damage: Callable[[Path], object]
) -> None:
    wrong = object_of(victim, "new.txt")
    damage(wrong)
    found = victim.json("verify", "--data", code=3)
    assert found["damaged"] == [victim.name(wrong)]
    assert "new.txt" in found["affected_paths"]
    assert "docs/letter.txt" not in found["affected_paths"]
    said = victim.run("verify", "--data", code=3)
    assert victim.name(wrong) in said.err
    assert "new.txt" in said.err


def test_verify_names_a_missing_object_without_reading(victim: Program) -> None:
    lost = object_of(victim, "large.bin")
    lost.unlink()
    found = victim.json("verify", code=3)
    assert found["missing"] == [victim.name(lost)]
    assert {"large.bin", "odd \\xff\\xfe name"} <= set(found["affected_paths"])


def test_verify_names_what_a_damaged_changeset_changed(victim: Program) -> None:
    heads = {path.stat().st_mtime_ns: path for path in victim.objects("changesets")}
    for path in victim.objects("changesets"):
        data = path.read_bytes()
        path.write_bytes(b"")
        found = victim.json("verify", code=3)
        path.write_bytes(data)
        assert found["damaged"] == [victim.name(path)]
        assert found["affected_paths"]
    assert heads


def test_verify_names_a_damaged_key_with_and_without_a_passphrase(victim: Program) -> None:
    (key,) = victim.objects("keys")
    flip(key)
    assert victim.json("verify", code=3)["damaged"] == [victim.name(key)]
    found = victim.run("verify", "--data", "--json", code=3, env={"N2S_PASSPHRASE": None})
    assert found.document["damaged"] == [victim.name(key)]
    assert not found.document["opened"]
    assert "No passphrase" in found.err


def test_verify_without_the_file_of_the_passphrase_compares_hashes(victim: Program) -> None:
    env = {"N2S_PASSPHRASE": None, "N2S_PASSPHRASE_FILE": str(victim.home / "nothing")}
    assert not victim.json("verify", "--data", env=env)["opened"]
    flip(object_of(victim, "new.txt"))
    assert "new.txt" in victim.json("verify", "--data", code=3, env=env)["affected_paths"]


def test_verify_with_a_wrong_passphrase_could_not_run(victim: Program) -> None:
    for words in ((), ("--data",)):
        said = victim.run("verify", *words, code=2, env={"N2S_PASSPHRASE": "another"})
        assert "passphrase does not open" in said.err


def test_verify_counts_objects_that_the_catalogue_does_not_know(victim: Program) -> None:
    other = object_of(victim, "a.txt")
    stray = other.with_name(other.name[:-1] + ("0" if other.name[-1] != "0" else "1"))
    shutil.copy(other, stray)
    assert victim.json("verify")["orphans"] == 1


@pytest.mark.parametrize("state", ["whole", "deleted", "damaged"])
def test_rebuild_makes_the_same_catalogue_from_the_store(
    victim: Program, state: str, tmp_path: Path
) -> None:
    before = victim.json("list"), victim.json("changesets")
    if state == "deleted":
        forget_catalogue(victim)
        assert "n2s rebuild" in victim.run("list", code=2).err
    elif state == "damaged":
        forget_catalogue(victim)
        victim.catalogue.write_bytes(os.urandom(20_000))
        assert "n2s rebuild" in victim.run("list", code=2).err
    found = victim.json("rebuild")
    assert found["changesets"] == 3
    assert found["problems"] == []
    after = victim.json("changesets")
    assert victim.json("list") == before[0]
    assert [one["changeset_id"] for one in after] == [one["changeset_id"] for one in before[1]]
    assert victim.json("verify", "--data")["damaged"] == []
    victim.run("pull", "--target-path", tmp_path / "t")
    leftover = [path.name for path in victim.catalogue.parent.iterdir()]
    assert sorted(name for name in leftover if ".new" in name) == []


def test_after_a_rebuild_the_next_push_stores_what_changed_only(fresh: Program) -> None:
    fresh.run("push")
    forget_catalogue(fresh)
    fresh.run("rebuild")
    (fresh.root / "another").write_text("another\n")
    done = fresh.json("push")
    assert done["removed"] == 0
    assert done["bytes_read"] < 1000
    assert len(fresh.json("changesets")) == 2


def test_rebuild_names_what_is_lost_and_installs_the_rest(victim: Program) -> None:
    lost = object_of(victim, "new.txt")
    lost.unlink()
    forget_catalogue(victim)
    found = victim.json("rebuild", code=3)
    assert any(victim.name(lost) in problem for problem in found["problems"])
    assert "new.txt" in {one["path"] for one in victim.json("list")}
    verified = victim.json("verify", code=3)
    assert verified["missing"] == [victim.name(lost)]
    assert "new.txt" in verified["affected_paths"]


def test_an_object_that_was_empty_at_the_rebuild_is_damaged(victim: Program) -> None:
    wrong = object_of(victim, "new.txt")
    wrong.write_bytes(b"")
    found = victim.json("rebuild", code=3)
    assert any(victim.name(wrong) in problem for problem in found["problems"])
    assert victim.json("verify", code=3)["damaged"] == [victim.name(wrong)]


def test_rebuild_waits_for_nobody_while_a_push_holds_the_lease(victim: Program) -> None:
    with Workspace.find(victim.config) as space:
        lease = space.catalogue.leases.acquire(space.dataset.dataset_no)
        said = victim.run("rebuild", code=2)
        space.catalogue.leases.release(lease)
    assert "Another push of this dataset is running" in said.err
    victim.run("rebuild")


def test_rebuild_with_a_wrong_passphrase_leaves_the_catalogue(victim: Program) -> None:
    victim.run("rebuild", code=2, env={"N2S_PASSPHRASE": "another"})
    assert len(victim.json("changesets")) == 3
    victim.run("push")


def test_rebuild_brings_back_the_key_objects(victim: Program) -> None:
    forget_catalogue(victim)
    victim.run("rebuild")
    (key,) = victim.objects("keys")
    key.unlink()
    assert victim.json("verify", code=3)["missing"] == [victim.name(key)]


def test_recover_needs_nothing_but_store_and_passphrase(stored: Program, tmp_path: Path) -> None:
    target = tmp_path / "t"
    words = ("recover", "--store", stored.store, "--target-path", target)
    found = stored.json(*words, cwd=tmp_path)
    assert found["dataset"] == "papers"
    assert found["failed"] == 0
    ours = describe(stored.root, ignore=OWN)
    assert differences(ours, describe(target, ignore=OWN)) == []
    assert os.listdir(tmp_path) == ["t"]
    assert os.path.exists(os.fsencode(target) + b"/" + ODD)


def test_recover_of_an_older_changeset(stored: Program, tmp_path: Path) -> None:
    oldest = stored.json("changesets")[-1]["changeset_id"]
    words = ("recover", "--store", stored.store, "--target-path", tmp_path / "t")
    stored.run(*words, "--changeset-id", oldest[:8], cwd=tmp_path)
    assert (tmp_path / "t" / "a.txt").read_text() == "first\n"


def test_recover_of_several_datasets_asks_which(make: Make, fresh: Program, tmp_path: Path) -> None:
    fresh.run("push")
    other = make("two", store=fresh.store)
    fill(other.root)
    other.init("--dataset", "second")
    other.run("push")
    words = ("recover", "--store", fresh.store, "--target-path", tmp_path / "t")
    said = fresh.run(*words, code=2)
    assert "root, second" in said.err
    assert "no dataset 'third'" in fresh.run(*words, "--dataset", "third", code=2).err
    assert fresh.json(*words, "--dataset", "second")["dataset"] == "second"


def test_recover_restores_what_can_be_had_and_exits_3(victim: Program, tmp_path: Path) -> None:
    lost = object_of(victim, "new.txt")
    lost.unlink()
    words = ("recover", "--store", victim.store, "--target-path", tmp_path / "t")
    found = victim.json(*words, code=3)
    assert "new.txt" in {one["path"] for one in found["failures"]}
    assert (tmp_path / "t" / "docs" / "letter.txt").read_text() == "Dear reader\n"


def test_recover_of_a_folder_that_is_no_store_is_refused(make: Make, tmp_path: Path) -> None:
    program = make()
    words = ("recover", "--store", tmp_path / "nothing", "--target-path", tmp_path / "t")
    program.run(*words, code=2)
    assert not (tmp_path / "t").exists()
