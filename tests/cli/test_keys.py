"""`n2s key`, as users run it."""

import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from n2s_core.app import key_actions
from n2s_core.app.key_actions import NewKey
from n2s_core.app.key_objects import KeyObjects
from n2s_core.app.secrets import NewPassphrase
from n2s_core.app.workspace import Workspace
from tests.cli.keys import CHEAP, ENV, SECOND, restored
from tests.cli.program import COMMAND, LIMIT_S, Make, Program, fill
from tests.conftest import PASSPHRASE, missing
from tests.several import a_set


def ids(program: Program, **how: int) -> list[str]:
    return [one["key_id"] for one in program.json("key", "list", **how)["keys"]]


# -- list, add, remove -------------------------------------------------------------------------


def test_the_key_of_a_new_store_costs_what_a_key_should(make: Make) -> None:
    program = make("one")
    words = [*COMMAND, "init", str(program.root), "--store", str(program.store)]
    subprocess.run(words, check=True, env=program.environment(), timeout=LIMIT_S)
    (key,) = program.json("key", "list")["keys"]
    assert (key["memory_kib"], key["iterations"], key["lanes"]) == (65536, 3, 4)


def test_list_says_of_each_key_whether_it_opens(fresh: Program, new: tuple[str, str]) -> None:
    (first,) = ids(fresh)
    added = fresh.json("key", "add", *new, *CHEAP, "--label", "for the safe\x1b[31m")["added"]
    listed = {one["key_id"]: one for one in fresh.json("key", "list")["keys"]}
    assert set(listed) == {first, added}
    assert listed[first]["opens"] is True
    assert listed[added]["opens"] is False
    assert listed[added]["label"] == "for the safe\x1b[31m"
    assert listed[added]["memory_kib"] >= 65536
    assert listed[added]["created_at"] > listed[first]["created_at"]
    shown = fresh.run("key", "list").out
    assert first[:16] in shown
    assert "for the safe" in shown
    assert "\x1b" not in shown
    unasked = fresh.json("key", "list", env={"N2S_PASSPHRASE": None})["keys"]
    assert [one["opens"] for one in unasked] == [None, None]


def test_an_added_passphrase_pushes_pulls_and_recovers(
    fresh: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    fresh.run("key", "add", *new, *CHEAP)
    fresh.run("push", env=ENV)
    fresh.run("pull", "--target-path", tmp_path / "pulled", env=ENV)
    assert restored(fresh, tmp_path / "one") == restored(fresh, tmp_path / "two", **ENV)


def test_a_removed_passphrase_opens_nothing_any_more(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    (first,) = ids(victim)
    victim.run("key", "add", *new, *CHEAP)
    done = victim.json("key", "remove", first[:8], env=ENV)
    assert done["removed"] == [first]
    assert [path.name for path in victim.objects("keys")] == ids(victim)
    assert first not in ids(victim)
    assert bytes.fromhex(first) not in victim.catalogue.read_bytes()
    said = victim.run("push", code=2).err
    assert "does not open any key" in said
    restored(victim, tmp_path / "back", **ENV)
    victim.run("push", env=ENV)
    assert sorted(ids(victim)) == [path.name for path in victim.objects("keys")]


def test_the_last_key_cannot_be_removed(fresh: Program) -> None:
    (first,) = ids(fresh)
    assert "last key" in fresh.run("key", "remove", first, code=2).err
    assert ids(fresh) == [first]


def test_a_remover_needs_a_passphrase(fresh: Program, new: tuple[str, str]) -> None:
    first, second = ids(fresh)[0], fresh.json("key", "add", *new, *CHEAP)["added"]
    wrong: dict[str, str | None] = {"N2S_PASSPHRASE": "wrong"}
    assert "does not open" in fresh.run("key", "remove", first, code=2, env=wrong).err
    assert ids(fresh) == [first, second]
    noted = fresh.run("key", "remove", first)
    assert "opens no other key" in noted.err


def test_two_who_add_at_once_both_get_a_key(fresh: Program, new: tuple[str, str]) -> None:
    command = [*COMMAND, "key", "add", *new, *CHEAP]
    both = [
        subprocess.Popen(command, cwd=fresh.root, env=fresh.environment(), stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for one in both:
        one.communicate(timeout=LIMIT_S)
    assert [one.returncode for one in both] == [0, 0]
    assert {one["state"] for one in fresh.json("key", "list")["keys"]} == {"whole"}
    assert len(ids(fresh)) == 3


def test_what_two_removers_took_away_together_comes_back(
    fresh: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    """Each removed the other's last key; the copy of a machine is put back by its next push."""
    fresh.run("key", "add", *new, *CHEAP)
    for key in fresh.objects("keys"):
        key.unlink()
    fresh.run("push")
    assert len(fresh.objects("keys")) == 2
    restored(fresh, tmp_path / "back")


# -- change-passphrase -------------------------------------------------------------------------


def test_a_changed_passphrase_takes_the_place_of_the_old_one(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    (old,) = victim.json("key", "list")["keys"]
    done = victim.json("key", "change-passphrase", *new)
    assert done["removed"] == [old["key_id"]]
    (listed,) = victim.json("key", "list", env=ENV)["keys"]
    assert listed["key_id"] == done["added"]
    assert listed["opens"] is True
    assert listed["label"] == old["label"]
    assert [listed["memory_kib"], listed["iterations"]] == [old["memory_kib"], old["iterations"]]
    assert "does not open any key" in victim.run("push", code=2).err
    victim.run("push", env=ENV)
    restored(victim, tmp_path / "back", **ENV)


def test_another_machine_goes_on_with_the_new_passphrase_and_not_with_the_old(
    make: Make, new: tuple[str, str]
) -> None:
    here = make("here")
    there = make("there", store=here.store)
    for one in (here, there):
        fill(one.root)
        one.init()
        one.run("push")
    here.run("key", "change-passphrase", *new)
    (there.root / "more").write_text("more")
    assert "passphrase was changed elsewhere" in there.run("push", code=2).err
    assert there.json("push", env=ENV)["written"] > 0
    assert len(there.objects("keys")) == 1
    states = {one["state"] for one in there.json("key", "list", code=3, env=ENV)["keys"]}
    assert states == {"whole", "not in the store"}


def test_a_change_that_dies_before_it_removes_leaves_both(
    victim: Program, monkeypatch: pytest.MonkeyPatch, new: tuple[str, str]
) -> None:
    def die(_self: KeyObjects, _digest: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KeyObjects, "remove", die)
    with Workspace.find(victim.config) as space, pytest.raises(KeyboardInterrupt):
        key_actions.change_passphrase(space, NewKey(NewPassphrase(file=new[1]), kdf_s=0))
    assert len(victim.objects("keys")) == 2
    victim.run("push")
    victim.run("push", env=ENV)


@pytest.mark.parametrize("at", ["key-stored", "key-added", "key-deleted"])
def test_a_change_that_is_killed_anywhere_locks_nobody_out(
    victim: Program, new: tuple[str, str], tmp_path: Path, at: str
) -> None:
    env = victim.environment(N2S_CRASH_AT=at)
    killed = subprocess.run(
        [*COMMAND, "key", "change-passphrase", *new], cwd=victim.root, env=env, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    if at != "key-deleted":
        restored(victim, tmp_path / "old")
        victim.run("key", "change-passphrase", *new)
    restored(victim, tmp_path / "new", **ENV)
    victim.run("push", env=ENV)
    for one in victim.json("key", "list", code=3 if at == "key-deleted" else 0, env=ENV)["keys"]:
        if one["state"] == "not in the store":
            victim.run("key", "remove", one["key_id"], env=ENV)
    assert {one["opens"] for one in victim.json("key", "list", env=ENV)["keys"]} == {True}
    assert sorted(ids(victim)) == [path.name for path in victim.objects("keys")]


def test_a_new_passphrase_that_does_not_come_changes_nothing(fresh: Program) -> None:
    before = ids(fresh)
    gone = fresh.run("key", "change-passphrase", "--new-passphrase-file", "/no/such", code=2)
    assert "/no/such" in gone.err
    failed = fresh.run("key", "change-passphrase", "--new-passphrase-command", "exit 3", code=2)
    assert "status 3" in failed.err
    assert "nobody to ask" in fresh.run("key", "change-passphrase", code=2).err
    assert ids(fresh) == before


# -- a terminal --------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal that asks for passphrases."""
    if shutil.which("setsid") is None:
        missing("This test gives a program a terminal of its own, for which it needs setsid.")
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("again", "code"), [(SECOND, 0), ("something else", 2)])
def test_a_new_passphrase_is_asked_for_twice(
    fresh: Program, terminal: tuple[int, int], again: str, code: int
) -> None:
    ours, theirs = terminal
    command = ["setsid", "--ctty", "--wait", *COMMAND, "key", "add", *CHEAP]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=fresh.root, env=fresh.environment()
    ) as running:
        said = b""
        for prompt, answer in ((b"New passphrase: ", SECOND), (b"once more: ", again)):
            while not said.endswith(prompt):
                said += os.read(ours, 1000)
            os.write(ours, answer.encode() + b"\n")
        assert running.wait(LIMIT_S) == code
        said += os.read(ours, 10_000)
    assert SECOND.encode() not in said
    assert len(ids(fresh)) == (1 if code else 2)
    assert (b"differ" in said) == bool(code)


# -- damage ------------------------------------------------------------------------------------


def test_list_names_a_damaged_key_and_one_that_the_store_lost(
    fresh: Program, new: tuple[str, str]
) -> None:
    added = fresh.json("key", "add", *new, *CHEAP)["added"]
    lost, hurt = (fresh.store / "keys" / one for one in (added, ids(fresh)[0]))
    lost.unlink()
    content = hurt.read_bytes()
    hurt.write_bytes(content[:-1])
    listed = fresh.json("key", "list", code=3)
    states = {one["key_id"]: one["state"] for one in listed["keys"]}
    assert states == {hurt.name: "damaged", lost.name: "not in the store"}
    assert added[:16] in listed["notes"][0]
    fresh.run("push")
    assert hurt.read_bytes() == content


# -- several remotes ---------------------------------------------------------------------------


def test_keys_come_to_every_remote_and_go_from_every_remote(
    make: Make, new: tuple[str, str]
) -> None:
    made = make()
    fill(made.root)
    (made.home / "set.toml").write_text('mode = "mirror"\n' + a_set(made.store, 2))
    made.run("init", made.root, "--store", "set:set.toml", cwd=made.home)
    (first,) = ids(made)
    added = made.json("key", "add", *new, *CHEAP)["added"]
    folders = [made.store / name / "keys" for name in ("r0", "r1")]
    assert [sorted(os.listdir(one)) for one in folders] == [sorted([first, added])] * 2
    made.run("key", "remove", first, env=ENV)
    assert [os.listdir(one) for one in folders] == [[added]] * 2


# -- usage, and secrets ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("shred",), "no action"),
        (("remove",), "needs the id"),
        (("export",), "needs a FILE"),
        (("import",), "needs a key file"),
        (("list", "--label", "x"), "takes no --label"),
        (("add", "abcd"), "takes no argument"),
        (("add", "--label", "x" * 1001), "--label"),
        (("add", "--label", b"\xff"), "--label"),
        (("add", "--kdf-time", "soon"), "--kdf-time"),
        (("add", "--kdf-time", "11"), "--kdf-time"),
        (("export", "--paper", "-", "--json"), "secret"),
        (("add", "--new-passphrase-file", "a", "--new-passphrase-command", "b"), "not from both"),
    ],
)
def test_what_does_not_fit_is_said(
    fresh: Program, words: tuple[str | bytes, ...], sentence: str
) -> None:
    done = fresh.run("key", *words, code=2)
    assert sentence in done.err
    assert "n2s-key" not in done.out


def test_no_secret_is_in_what_a_command_says(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    said = [victim.run("-v", "key", "export", key), victim.run("key", "export", tmp_path / "k2")]
    said += [
        victim.run("-v", "key", "list", "--json"),
        victim.run("key", "add", *new, *CHEAP, "--json"),
        victim.run("key", "change-passphrase", *new, "--json"),
        victim.run("-v", "push", code=2),
        victim.run("-v", "push", env=ENV),
        victim.run("key", "import", key, *new, *CHEAP, "--json", env=ENV),
        victim.run("doctor", "--json", env=ENV),
    ]
    secret = key.read_text().strip().removeprefix("n2s-key-1:")
    for one in said:
        for word in (PASSPHRASE, SECOND, secret):
            assert word not in one.out + one.err
    needles = [one.encode() for one in (PASSPHRASE, SECOND, secret)] + [bytes.fromhex(secret)]
    kept = [victim.config, victim.catalogue, *victim.root.glob(".n2s/*")]
    for path in kept:
        content = path.read_bytes()
        for needle in needles:
            assert needle not in content


def test_every_key_object_has_the_hash_that_it_is_named_by(
    fresh: Program, new: tuple[str, str]
) -> None:
    fresh.run("key", "add", *new, *CHEAP)
    for path in fresh.objects("keys"):
        assert blake3(path.read_bytes()).hexdigest() == path.name
