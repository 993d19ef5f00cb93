"""`n2s store` and stores of several remotes, as users run them."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.cli.program import Make, Program, fill
from tests.several import a_set


@pytest.fixture
def mirror(make: Make) -> Program:
    """Two remotes below `store`."""
    made = make()
    fill(made.root)
    (made.home / "set.toml").write_text('mode = "mirror"\n' + a_set(made.store, 2))
    made.run("init", made.root, "--store", "set:set.toml", cwd=made.home)
    return made


def remote(program: Program, number: int) -> Path:
    return program.store / f"r{number}"


def test_init_writes_the_remotes_into_the_configuration(mirror: Program) -> None:
    text = mirror.config.read_text()
    assert 'mode = "mirror"' in text
    assert text.count("[[store.remotes]]") == 2
    assert 'url = "set:' not in text


def test_a_push_says_what_it_cost_and_what_is_owed(mirror: Program) -> None:
    shutil.rmtree(remote(mirror, 1))
    done = mirror.json("push")
    assert done["debts"] > 0
    assert done["requests"]["list"] == 0
    assert done["requests"]["put"] >= done["objects_stored"]
    assert done["bytes_sent"] >= done["bytes_stored"]
    again = mirror.run("push")
    assert "owe" in again.err


def test_list_and_status_name_every_remote(mirror: Program) -> None:
    mirror.run("push")
    listed = mirror.json("store", "list")
    assert [one["name"] for one in listed["remotes"]] == ["r0", "r1"]
    shutil.rmtree(remote(mirror, 1))
    status = mirror.json("store", "status", code=1)
    assert [one["status"] for one in status["remotes"]] == ["healthy", "degraded"]
    assert "not there" in status["away"]["r1"]
    shown = mirror.run("store", "status", code=1)
    assert "r1: degraded" in shown.out
    assert "a mirror of r0, r1" in shown.out


def test_status_names_what_is_owed_and_why(mirror: Program) -> None:
    shutil.rmtree(remote(mirror, 1))
    owed = mirror.json("push")["debts"]
    status = mirror.json("store", "status", code=1)
    assert len(status["owed"]) == status["debts"] >= owed
    assert {one["remote"] for one in status["owed"]} == {"r1"}
    assert all("not there" in one["problem"] for one in status["owed"])
    objects = {one["object"] for one in status["owed"]}
    present = {str(path.relative_to(remote(mirror, 0))) for path in remote(mirror, 0).rglob("*/*")}
    assert objects < present
    shown = mirror.run("store", "status", code=1).out
    assert all(f"owed by r1: {name}: " in shown for name in objects)
    assert "n2s store sync" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--data", "101"),
        ("store", "verify", "--percent", "101"),
        ("store", "verify", "--percent", "many"),
    ],
)
def test_a_wrong_percentage_is_said_with_its_option(mirror: Program, words: list[str]) -> None:
    assert f"{words[-2]} takes a percentage" in mirror.run(*words, code=2).err


def test_verify_finds_and_repair_mends(mirror: Program) -> None:
    mirror.run("push")
    (path,) = [one for one in (remote(mirror, 0) / "data").rglob("*") if one.is_file()][:1]
    content = path.read_bytes()
    path.unlink()
    found = mirror.json("store", "verify", code=3)
    assert [one["remote"] for one in found["missing"]] == ["r0"]
    assert found["missing"][0]["object"].endswith(path.name)
    assert mirror.json("store", "repair")["debts"] == 0
    assert path.read_bytes() == content
    path.write_bytes(content[:-1] + b"x")
    found = mirror.json("store", "verify", "--percent", "100", code=3)
    assert [one["object"].endswith(path.name) for one in found["damaged"]] == [True]
    mirror.run("store", "sync", "--remote", "r0")
    assert path.read_bytes() == content


def test_recover_takes_the_same_file(mirror: Program, tmp_path: Path) -> None:
    mirror.run("push")
    shutil.rmtree(remote(mirror, 0))
    target = tmp_path / "back"
    mirror.run("recover", "--store", "set:set.toml", "--target-path", target, cwd=mirror.home)
    assert (target / "a.txt").read_text() == "first\n"


def test_wrong_words_are_refused(mirror: Program, prepared: Program) -> None:
    assert "there are list, status" in mirror.run("store", "mend", code=2).err
    assert "no remote 'r7'" in mirror.run("store", "sync", "--remote", "r7", code=2).err
    assert "not one of several" in prepared.run("store", "verify", code=2).err
    assert prepared.json("store", "list")["remotes"][0]["debts"] == 0


def test_other_commands_name_the_store_in_words(mirror: Program) -> None:
    mirror.run("push")
    for command in ("status", "doctor"):
        shown = mirror.run(command)
        assert "a mirror of r0, r1" in shown.out + shown.err
        assert "set:{" not in shown.out + shown.err


# -- options of the store --------------------------------------------------------------------------


def test_options_of_the_store_are_written_by_init(make: Make) -> None:
    made = make()
    fill(made.root)
    words = ["--store-option", "timeout=5m"]
    words += ["--store-option", "transfers=3", "--store-option", "timeout=30s"]
    made.run("init", made.root, "--store", made.store, *words)
    wanted = {"timeout": "30s", "transfers": 3}
    table = tomllib.loads(made.config.read_text())["store"]
    assert {key: table[key] for key in wanted} == wanted
    made.run("push")
    target = made.home / "back"
    made.run("recover", "--store", made.store, "--target-path", target, *words)
    assert (target / "a.txt").read_text() == "first\n"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("url=/elsewhere", "no store option 'url'"),
        ("timeout=soon", "'soon' is no age"),
        ("timeout=0s", "at least 1s"),
        ("rebuild_after=often", "'often' is no age"),
        ("transfers=0", "at least 1"),
        ("flags.=8", "no store option 'flags.'"),
        ("timeout", "--store-option takes KEY=VALUE"),
    ],
)
@pytest.mark.parametrize("command", ["init", "recover"])
def test_options_that_cannot_be_are_refused_before_anything_is_made(
    make: Make, command: str, word: str, sentence: str
) -> None:
    made = make()
    fill(made.root)
    target = [made.root] if command == "init" else ["--target-path", made.home / "back"]
    words = [*target, "--store", made.store, "--store-option", word]
    assert sentence in made.run(command, *words, code=2).err
    assert not made.store.exists()
    assert not (made.home / "back").exists()


def test_rebuild_objects_is_repair(mirror: Program) -> None:
    mirror.run("push")
    stored = {path for path in remote(mirror, 1).rglob("*") if path.is_file()}
    for path in stored:
        path.unlink()
    done = mirror.json("rebuild-objects")
    assert (len(done["missing"]), done["debts"]) == (len(stored), 0)
    assert {path for path in remote(mirror, 1).rglob("*") if path.is_file()} == stored


def test_status_says_since_when_a_remote_is_away(mirror: Program) -> None:
    mirror.run("push")
    hidden = remote(mirror, 1).rename(mirror.home / "hidden")
    first = mirror.json("store", "status", code=1)["remotes"][1]["away_since"]
    assert mirror.json("store", "status", code=1)["remotes"][1]["away_since"] == first is not None
    assert "away since" in mirror.run("store", "status", code=1).out
    hidden.rename(remote(mirror, 1))
    assert mirror.json("store", "status")["remotes"][1]["away_since"] is None
