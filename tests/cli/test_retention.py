"""The commands about which changesets are kept, as users run them."""

import os
from typing import Any

from tests.cli.program import Program

TAGGED = ("push", "--changeset-name", "four", "--tag", "thesis", "--tag", "väg")


def ids(program: Program, *words: str) -> list[str]:
    return [one["changeset_id"] for one in program.json("changesets", *words)]


def test_a_policy_forgets_and_says_why_the_others_stay(victim: Program) -> None:
    three, two, one = ids(victim)
    rehearsal = victim.json("forget", "--keep-last", "1", "--dry-run")
    assert [each["changeset_id"] for each in rehearsal["forgotten"]] == [two, one]
    assert (rehearsal["dataset"], rehearsal["dry_run"]) == ("papers", True)
    assert rehearsal["kept"][0]["reasons"] == ["last", "newest"]
    assert ids(victim) == [three, two, one]
    said = victim.run("forget", "--keep-last", "1")
    lines = said.out.splitlines()
    assert lines[1].split()[:2] == ["keep", three[:16]]
    assert lines[1].endswith("last, newest")
    assert [line.split()[:2] for line in lines[2:4]] == [["forget", two[:16]], ["forget", one[:16]]]
    assert lines[4] == "1 kept, 2 forgotten"
    assert "--bring-back" in said.err
    assert ids(victim) == [three]
    assert ids(victim, "--all") == [three, two, one]
    assert "forgotten" in victim.run("changesets", "--all").out
    again = victim.json("forget", "--keep-last", "1")
    assert (len(again["kept"]), again["forgotten"]) == (1, [])


def test_a_changeset_is_forgotten_and_brought_back_by_its_id(victim: Program) -> None:
    three, two, one = ids(victim)
    done = victim.json("forget", "--changeset", two[:6], "--changeset", one)
    assert {each["changeset_id"] for each in done["forgotten"]} == {one, two}
    (back,) = victim.json("forget", "--bring-back", one[:6])
    assert (back["changeset_id"], back["forgotten_at"]) == (one, None)
    assert ids(victim) == [three, one]
    hidden = victim.json("changesets", "--all")[1]
    assert hidden["forgotten_at"] is not None
    assert hidden["swept"] is False
    assert "newest" in victim.json("forget", "--changeset", three, code=2)["error"]
    assert (
        "alone" in victim.json("forget", "--bring-back", two, "--keep-last", "1", code=2)["error"]
    )
    assert (
        "not both" in victim.json("forget", "--changeset", one, "--keep-last", "1", code=2)["error"]
    )


def test_the_configuration_is_the_policy_of_a_bare_forget(victim: Program) -> None:
    assert "[retention]" in victim.json("forget", code=2)["error"]
    text = victim.config.read_text()
    victim.config.write_text(f'{text}\n[retention]\nkeep_last = 1\nkeep_tag = ["a,b"]\n')
    assert len(victim.json("forget", "--dry-run")["forgotten"]) == 2
    assert len(victim.json("forget", "--dry-run", "--keep-yearly", "unlimited")["kept"]) == 2
    victim.config.write_text(f'{text}\n[retention]\nkeep_daily = "lots"\n')
    assert "keep_daily" in victim.json("forget", code=2)["error"]
    victim.config.write_text(f"{text}\n[retention]\nkeep_daily = 1.5\n")
    assert "keep_daily" in victim.json("forget", code=2)["error"]
    victim.config.write_text(f"{text}\n[retention]\nkeep = 1\n")
    assert "keep_daily" in victim.json("forget", code=2)["error"]


def test_pins_and_tags_keep(victim: Program) -> None:
    _, two, one = ids(victim)
    (victim.root / "a.txt").write_text("tagged\n")
    victim.run(*TAGGED)
    assert victim.json("changesets")[0]["tags"] == ["thesis", "väg"]
    (pinned,) = victim.json("pin", one)
    assert pinned["pinned"] is True
    assert "kept, pinned" in victim.run("pin", one).out
    assert victim.json("tag", "add", two, "a", "b")[0]["tags"] == ["a", "b"]
    assert victim.run("tag", "remove", two, "b").out.endswith("two: kept, tags a\n")
    listed = victim.run("changesets").out
    assert "pinned" in listed
    assert "thesis,väg" in listed
    kept = victim.json("forget", "--keep-tag", "a")["kept"]
    assert [each["changeset_name"] for each in kept] == ["four", "two", "one"]
    assert [each["reasons"] for each in kept] == [["newest"], ["tags a"], ["pinned"]]
    assert victim.json("unpin", one)[0]["pinned"] is False
    assert "add and remove" in victim.json("tag", "bend", two, "a", code=2)["error"]
    assert "tag" in victim.json("tag", "add", two, "a,b", code=2)["error"]


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """What a prune says of objects, not of its own work."""
    own = {"dry_run", "seconds", "requests", "bytes_sent", "bytes_received"}
    return {name: value for name, value in answer.items() if name not in own}


def test_a_prune_says_what_it_would_do_and_does_it(victim: Program) -> None:
    three, two, one = ids(victim)
    victim.run("forget", "--keep-last", "1")
    waiting = victim.json("prune")
    assert (waiting["objects_removed"], waiting["changesets"]) == (0, 0)
    assert (waiting["grace_seconds"], waiting["dry_run"]) == (24 * 3600, False)
    text = victim.config.read_text()
    victim.config.write_text(f'{text}\n[retention]\ngrace = "0h"\n')
    rehearsal = victim.json("prune", "--dry-run")
    before = victim.objects("data")
    done = victim.json("prune")
    assert outcome(done) == outcome(rehearsal)
    gone = len(before) - len(victim.objects("data"))
    assert done["objects_removed"] - done["repacked_objects"] == gone
    assert "0 objects (0 B) removed, 0 (0 B) wait" in victim.run("prune").out
    assert [each["swept"] for each in victim.json("changesets", "--all")] == [False, True, True]
    for words in (("pull", "--target-path", victim.home / "t"), ("list",), ("status",)):
        assert "pruned" in victim.json(*words, "--changeset-id", two, code=2)["error"]
    assert "pruned" in victim.json("forget", "--bring-back", one, code=2)["error"]
    victim.run("pull", "--target-path", victim.home / "t", "--changeset-id", three)
    victim.run("verify")
    assert "days and hours" in victim.json("prune", "--grace", "1y", code=2)["error"]
    assert "duration" in victim.json("prune", "--grace", "soon", code=2)["error"]
    assert "percentage" in victim.json("prune", "--max-unused", "101%", code=2)["error"]
    assert "--max-unused" in victim.json("prune", "--max-unused", "much", code=2)["error"]
    assert "--max-repack-size" in victim.json("prune", "--max-repack-size", "x", code=2)["error"]


def test_what_is_used_in_part_is_repacked_as_far_as_is_said(victim: Program) -> None:
    for name in "abcdefgh":
        (victim.root / name).write_bytes(os.urandom(20_000))
    victim.run("push")
    for name in "abcd":
        (victim.root / name).unlink()
    victim.run("push")
    victim.run("forget", "--keep-last", "1")
    words = ("prune", "--grace", "0h")
    assert victim.json(*words, "--max-unused", "unlimited")["repacked_objects"] == 0
    assert victim.json(*words, "--max-unused", "1G")["repacked_objects"] == 0
    assert victim.json(*words, "--max-repack-size", "1K")["repacked_objects"] == 0
    rehearsal = victim.json(*words, "--dry-run")
    done = victim.json(*words)
    assert outcome(done) == outcome(rehearsal)
    assert done["repacked_objects"] >= 1
    assert 80_000 < done["repacked_bytes"] < 110_000
    assert done["bytes_removed"] > 160_000
    assert done["unused_bytes"] < done["repacked_bytes"] // 20
    victim.run("pull", "--target-path", victim.home / "after a repack")
    assert {path.name for path in (victim.home / "after a repack").iterdir()} >= set("efgh")
    victim.run("verify", "--data")
