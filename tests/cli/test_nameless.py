"""Changesets that a rebuild took from records alone have no id: every command lives with them."""

from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.fixture(name="headless")
def all_heads_are_lost(victim: Program) -> Program:
    for path in victim.objects("changesets"):
        path.unlink()
    victim.catalogue.unlink()
    said = victim.run("rebuild", code=3).err
    assert "No changeset" in said
    return victim


def test_they_are_listed_and_restored(headless: Program, tmp_path: Path) -> None:
    found = headless.json("changesets")
    assert len(found) > 1
    assert {one["changeset_id"] for one in found} == {""}
    assert "(from records alone)" in headless.run("changesets").out
    assert headless.json("changesets", "--all") == found
    status = headless.json("status")
    assert status["changesets"] == len(found)
    assert headless.json("diff", "latest", "latest")["added"] == []
    assert "no changeset" in headless.json("diff", "abcd", code=2)["error"]
    done = headless.json("pull", "--target-path", tmp_path / "target")
    assert (done["failed"], done["changeset_id"]) == (0, "")
    assert headless.json("list")


def test_nothing_is_decided_about_them_and_that_is_said(headless: Program) -> None:
    for words in (
        ("forget", "--changeset", "latest"), ("forget", "--bring-back", "latest"),
        ("pin", "latest"), ("unpin", "latest"), ("tag", "add", "latest", "word"),
    ):  # fmt: skip
        assert "has no id" in headless.json(*words, code=2)["error"], words
    for words in (("forget", "--changeset", "abcd"), ("pin", "abcd"), ("tag", "add", "abcd", "x")):
        assert "names no changeset" in headless.json(*words, code=2)["error"], words


def test_rules_keep_them_and_a_prune_removes_nothing_of_them(headless: Program) -> None:
    count = len(headless.json("changesets"))
    before = headless.objects("data")
    done = headless.json("forget", "--keep-last", "1")
    assert (len(done["kept"]), done["forgotten"]) == (count, [])
    assert {tuple(one["reasons"]) for one in done["kept"][1:]} == {("no id",)}
    assert "no id" in headless.run("forget", "--keep-last", "1", "--dry-run").out
    headless.json("prune", "--grace", "0h")
    assert headless.json("reconcile")["phantoms"] == []
    assert headless.objects("data") == before


def test_after_a_push_they_go_on_being_kept(headless: Program, tmp_path: Path) -> None:
    (headless.root / "new").write_bytes(b"new")
    newest = headless.json("push", "--tag", "first")["changeset_id"]
    (headless.root / "new").write_bytes(b"newer")
    headless.json("push")
    assert headless.json("pin", "latest")[0]["pinned"]
    done = headless.json("forget", "--keep-last", "1")
    assert [one["changeset_id"] for one in done["forgotten"]] == [newest]
    headless.json("prune", "--grace", "0h")
    done = headless.json("pull", "--target-path", tmp_path / "target")
    assert done["failed"] == 0
    assert (tmp_path / "target" / "new").read_bytes() == b"newer"
    assert headless.json("verify", "--data")["damaged"] == []
