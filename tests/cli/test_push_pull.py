"""init, push and pull as users type them."""

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.program import ODD, Make, Program, fill
from tests.trees import describe, differences

PUSH_KEYS = {
    "changeset_id", "changeset_name", "dataset", "using", "complete", "fallback", "written",
    "touched", "removed", "unchanged", "failed", "failures", "bytes_read", "bytes_stored",
    "objects_stored", "seconds",
}  # fmt: skip
PULL_KEYS = {"changeset_id", "files", "bytes", "skipped", "failed", "failures", "seconds"}
OWN = frozenset({b".n2s"})


def restored(program: Program, target: Path) -> list[str]:
    ours = describe(program.root, ignore=OWN)
    return differences(ours, describe(target, ignore=OWN))


def test_init_prepares_a_new_store_and_dataset(make: Make) -> None:
    program = make()
    found = program.init("--json").document
    assert found["dataset"] == "root"
    assert found["store"] == f"file:{program.store}"
    assert found["config"] == str(program.config)
    assert not found["joined"]
    assert program.config.exists()
    assert len(program.objects("keys")) == 1


def test_init_without_root_prepares_the_current_directory(make: Make) -> None:
    program = make()
    program.run("init", "--store", program.store)
    assert program.config.exists()


def test_init_twice_is_refused(fresh: Program) -> None:
    assert "prepared already" in fresh.init(code=2).err


def test_init_joins_a_store_with_its_passphrase_only(make: Make, fresh: Program) -> None:
    other = make("two", store=fresh.store)
    wrong = other.run(
        "init", ".", "--store", other.store, code=2, env={"N2S_PASSPHRASE": "another"}
    )
    assert "passphrase does not open" in wrong.err
    assert not other.config.exists()
    assert other.init("--json").document["joined"]


def test_init_writes_excludes_and_plugin_options_to_the_config(make: Make) -> None:
    program = make()
    program.init(
        "-o", "exclude=*.tmp", "-o", "exclude=/cache", "-o", "exclude-if-present=.nobackup",
        "-o", "exclude-caches=true", "-o", "one-file-system=true", "--pack-size", "4M", "--share",
    )  # fmt: skip
    text = program.config.read_text()
    for line in (
        'exclude = ["*.tmp", "/cache"]',
        'exclude_if_present = [".nobackup"]',
        "exclude_caches = true",
        "one_file_system = true",
        f"pack_size = {4 << 20}",
        "share = true",
    ):
        assert line in text
    (program.root / "a.tmp").write_text("left out")
    (program.root / "cache").mkdir()
    (program.root / "kept").write_text("kept")
    program.run("push")
    paths = [one["path"] for one in program.json("list")]
    assert paths == [".n2s/config.toml", "kept"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "nonsense"), "KEY=VALUE"),
        (("-o", "exclude-caches=perhaps"), "neither true nor false"),
        (("--pack-size", "many"), "--pack-size"),
        (("--using", "nothing"), "no discovery plugin 'nothing'"),
    ],
)
def test_init_with_a_bad_value_makes_nothing(make: Make, words: tuple[str, ...], said: str) -> None:
    program = make()
    assert said in program.init(*words, code=2).err
    assert not program.config.exists()


def test_push_then_pull_gives_back_the_tree(fresh: Program, tmp_path: Path) -> None:
    pushed = fresh.json("push", "--changeset-name", "a name")
    assert pushed.keys() >= PUSH_KEYS
    assert pushed["changeset_name"] == "a name"
    assert pushed["using"] == "find"
    assert pushed["complete"]
    assert pushed["failed"] == 0
    pulled = fresh.json("pull", "--target-path", tmp_path / "target")
    assert pulled.keys() >= PULL_KEYS
    assert pulled["changeset_id"] == pushed["changeset_id"]
    assert restored(fresh, tmp_path / "target") == []


def test_a_push_without_changes_makes_no_changeset(fresh: Program) -> None:
    fresh.run("push")
    again = fresh.json("push")
    assert again["changeset_id"] is None
    assert again["written"] == again["objects_stored"] == 0
    assert again["unchanged"] > 0


def test_a_dry_run_stores_nothing(fresh: Program, tmp_path: Path) -> None:
    rehearsed = fresh.json("push", "--dry-run")
    assert rehearsed["written"] > 0
    assert rehearsed["changeset_id"] is None
    assert fresh.objects("data") == []
    fresh.run("push")
    assert fresh.json("pull", "--target-path", tmp_path / "t", "--dry-run")["files"] > 0
    assert not (tmp_path / "t").exists()


def test_full_reads_every_file_again(fresh: Program) -> None:
    fresh.run("push")
    assert fresh.json("push", "--full")["bytes_read"] >= 40_000


def test_push_of_paths_stores_these_only(fresh: Program) -> None:
    done = fresh.json("push", "docs", fresh.root / "a.txt")
    assert done["using"] == "paths"
    paths = {one["path"] for one in fresh.json("list")}
    assert "docs/letter.txt" in paths
    assert "a.txt" in paths
    assert "large.bin" not in paths


def test_paths_count_from_the_root_and_not_from_here(fresh: Program) -> None:
    fresh.run("push", "docs/letter.txt", cwd=fresh.root / "docs")
    assert "docs/letter.txt" in {one["path"] for one in fresh.json("list")}


def test_a_path_outside_of_the_root_is_refused(fresh: Program) -> None:
    assert "/etc" in fresh.run("push", "/etc/passwd", code=2).err
    assert ".." in fresh.run("push", "../x", code=2).err


@pytest.mark.parametrize("end", [b"", b"\0"])
def test_paths_from_stdin_are_nul_separated_bytes(fresh: Program, end: bytes) -> None:
    names = b"\0".join([b"a.txt", b"", ODD]) + end
    fresh.run("push", "--paths-from", "-", stdin=names)
    found = {one["path"] for one in fresh.json("list")}
    assert "a.txt" in found
    assert "odd \\xff\\xfe name" in found
    assert "large.bin" not in found


def test_paths_from_a_file(fresh: Program, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_bytes(b"docs/letter.txt\0")
    fresh.run("push", "--paths-from", names)
    assert "docs/letter.txt" in {one["path"] for one in fresh.json("list")}
    missing = fresh.run("push", "--paths-from", tmp_path / "none", code=2)
    assert "No such file" in missing.err


def test_a_path_with_bytes_that_are_not_utf_8_can_be_named(fresh: Program, tmp_path: Path) -> None:
    fresh.run("push", ODD)
    fresh.run("pull", "--target-path", tmp_path / "t", ODD)
    assert os.listdir(os.fsencode(tmp_path / "t")) == [ODD]


def test_exclude_at_push_is_for_this_run(fresh: Program) -> None:
    fresh.run("push", "-o", "exclude=*.bin")
    assert "large.bin" not in {one["path"] for one in fresh.json("list")}
    fresh.run("push")
    assert "large.bin" in {one["path"] for one in fresh.json("list")}


def test_options_go_to_the_plugin_which_refuses_unknown_ones(fresh: Program) -> None:
    fresh.run("push", "-o", "newer-than=7d")
    assert "no option 'colour'" in fresh.run("push", "-o", "colour=red", code=2).err


def test_pull_skips_what_is_right_and_replaces_with_force_only(
    fresh: Program, tmp_path: Path
) -> None:
    target = tmp_path / "t"
    fresh.run("push")
    fresh.run("pull", "--target-path", target)
    assert fresh.json("pull", "--target-path", target)["files"] == 0
    (target / "large.bin").write_text("mine")
    done = fresh.json("pull", "--target-path", target, code=1)
    assert [one["path"] for one in done["failures"]] == ["large.bin"]
    assert (target / "large.bin").read_text() == "mine"
    (target / "extra").write_text("extra")
    fresh.run("pull", "--target-path", target, "--force", "--delete")
    assert restored(fresh, target) == []


def test_pull_by_id_prefix_and_by_time(stored: Program, tmp_path: Path) -> None:
    newest, _, oldest = stored.json("changesets")
    stored.run(
        "pull", "--target-path", tmp_path / "id", "--changeset-id", oldest["changeset_id"][:10]
    )
    assert (tmp_path / "id" / "a.txt").read_text() == "first\n"
    stored.run("pull", "--target-path", tmp_path / "at", "--at", oldest["created_at"])
    assert (tmp_path / "at" / "a.txt").read_text() == "first\n"
    stored.run("pull", "--target-path", tmp_path / "new", "--changeset-id", "latest")
    assert restored(stored, tmp_path / "new") == []
    words = ("--changeset-id", newest["changeset_id"], "--at", newest["created_at"])
    assert "not both" in stored.run("pull", "--target-path", tmp_path, *words, code=2).err


def test_pull_of_paths_restores_these_only(stored: Program, tmp_path: Path) -> None:
    stored.run("pull", "--target-path", tmp_path / "t", "docs")
    assert sorted(os.listdir(tmp_path / "t")) == ["docs"]
    unknown = stored.run("pull", "--target-path", tmp_path / "t", "nothing", code=2)
    assert "nothing is not in changeset" in unknown.err


def test_pull_says_which_files_the_store_lost_and_exits_3(victim: Program, tmp_path: Path) -> None:
    for path in victim.objects("data"):
        path.write_bytes(path.read_bytes()[:100])
    done = victim.json("pull", "--target-path", tmp_path / "t", code=3)
    assert "new.txt" in {one["path"] for one in done["failures"]}
    assert done["damaged"] > 0


def test_a_second_dataset_of_a_store_does_not_disturb_the_first(
    make: Make, fresh: Program, tmp_path: Path
) -> None:
    fresh.run("push")
    other = make("two", store=fresh.store)
    fill(other.root)
    assert other.init("--json").document["dataset"] == "root-2"
    other.run("push")
    fresh.run("pull", "--target-path", tmp_path / "t")
    assert restored(fresh, tmp_path / "t") == []


def test_init_with_the_name_of_a_dataset_goes_on_with_it(make: Make, fresh: Program) -> None:
    fresh.run("push")
    other = make("two", store=fresh.store)
    shutil.copytree(fresh.root, other.root, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(other.root / ".n2s")
    found = other.init("--dataset", "root", "--json").document
    assert found["adopted"]
    assert len(other.json("changesets")) == 1
