"""What the commands that ask say of a dataset with three changesets (see conftest)."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import ODD, Make, Program

VERSION_KEYS = {
    "path", "type", "size", "mtime_ns", "mode", "file_hash", "blob_id", "changeset_id",
}  # fmt: skip


def by_path(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in found}


def ids(program: Program) -> list[str]:
    """Oldest first."""
    return [one["changeset_id"] for one in program.json("changesets")][::-1]


def test_status_says_what_is_stored(stored: Program) -> None:
    found = stored.json("status", env={"N2S_PASSPHRASE": None})
    assert found["dataset"] == "papers"
    assert found["store"] == {
        "url": f"file:{stored.store}",
        "reachable": True,
        "setback": "",
    }
    assert found["changesets"] == 3
    assert found["files"] == 8
    assert found["objects"] == len(stored.objects("data") + stored.objects("changesets")) + len(
        stored.objects("meta")
    )
    assert found["stored_bytes"] > 40_000
    assert found["pending"] == found["failed"] == 0
    assert found["last_push"] > "2026"
    assert "last_verify" in found
    older = stored.json("status", "--changeset-id", ids(stored)[0])
    assert older["bytes"] > 40_000 > found["bytes"]
    assert "papers" in stored.run("status").out


def test_status_says_when_the_store_cannot_be_reached(victim: Program) -> None:
    victim.store.rename(victim.store.with_name("away"))
    found = victim.json("status")
    assert not found["store"]["reachable"]
    assert "mounted" in found["store"]["error"]
    assert found["changesets"] == 3


def test_changesets_come_newest_first(stored: Program) -> None:
    found = stored.json("changesets")
    assert [one["changeset_name"] for one in found] == ["three", "two", "one"]
    assert found[0].keys() >= {
        "changeset_id", "changeset_name", "created_at", "using", "status", "written", "removed",
        "bytes_stored",
    }  # fmt: skip
    assert found[0]["status"] == "stored"
    assert found[0]["removed"] == 1
    assert found[0]["created_at"].endswith("+00:00")
    assert "three" in stored.run("changesets").out


def test_list_shows_the_tree_of_the_latest_changeset(stored: Program) -> None:
    found = by_path(stored.json("list"))
    assert found["docs"]["type"] == "directory"
    assert found["link"]["type"] == "symlink"
    assert found["a.txt"].keys() >= VERSION_KEYS
    assert found["a.txt"]["size"] == len("second version\n")
    assert found["docs/letter.txt"]["mode"] == 0o600
    assert found["a.txt"]["mtime_ns"] == (stored.root / "a.txt").stat().st_mtime_ns
    assert "large.bin" not in found
    assert "docs/grüße.txt" in found
    assert list(found) == sorted(found, key=str.encode)
    assert "docs/grüße.txt" in stored.run("list", env={"LC_ALL": "C.UTF-8"}).out


def test_list_of_an_older_changeset_and_below_a_path(stored: Program) -> None:
    oldest = ids(stored)[0]
    assert "large.bin" in by_path(stored.json("list", "--changeset-id", oldest))
    found = by_path(stored.json("list", "docs"))
    assert set(found) == {"docs", "docs/also-a.txt", "docs/letter.txt", "docs/grüße.txt"}
    assert by_path(stored.json("list", stored.root / "a.txt")).keys() == {"a.txt"}
    assert "large.bin is not in" in stored.run("list", "large.bin", code=2).err


def test_a_name_that_is_not_utf_8_is_escaped_and_given_as_bytes(stored: Program) -> None:
    found = by_path(stored.json("list"))["odd \\xff\\xfe name"]
    assert base64.b64decode(found["path_bytes"]) == ODD
    assert "path_bytes" not in by_path(stored.json("list"))["a.txt"]
    assert "odd \\xff\\xfe name" in stored.run("list").out


def test_search_looks_at_all_versions(stored: Program) -> None:
    found = stored.json("search", "*.bin")
    assert [one["path"] for one in found] == ["large.bin"]
    assert found[0]["changeset_id"] == ids(stored)[0]
    assert [one["size"] for one in stored.json("search", "a.txt")] == [6, 15]


def test_search_matches_the_whole_path_or_the_last_component(stored: Program) -> None:
    assert [one["path"] for one in stored.json("search", "docs/let*")] == ["docs/letter.txt"] * 2
    assert {one["path"] for one in stored.json("search", "letter*")} == {"docs/letter.txt"}
    assert stored.json("search", "x/letter*") == []
    assert len(stored.json("search", b"odd \xff*")) == 1
    assert stored.json("search", b"odd \xfe*") == []


def test_search_between_times(stored: Program) -> None:
    times = [one["created_at"] for one in stored.json("changesets")][::-1]
    assert [one["size"] for one in stored.json("search", "a.txt", "--since", times[1])] == [15]
    assert [one["size"] for one in stored.json("search", "a.txt", "--until", times[0])] == [6]
    assert "is not a time" in stored.run("search", "a", "--since", "soon", code=2).err


def test_history_shows_the_versions_newest_first(stored: Program) -> None:
    one, two, three = ids(stored)
    found = stored.json("history", "a.txt")
    assert [version["changeset_id"] for version in found] == [two, one]
    assert found[0]["until_changeset_id"] is None
    assert found[1]["until_changeset_id"] == two
    assert not found[1]["removed"]
    gone = stored.json("history", "large.bin")
    assert gone[0]["removed"]
    assert gone[0]["until_changeset_id"] == three
    assert "removed in" in stored.run("history", "large.bin").out
    assert "was never stored" in stored.run("history", "nothing", code=2).err


def test_where_names_an_object_that_is_in_the_store(stored: Program) -> None:
    found = stored.json("where", "new.txt")
    assert found["store"] == f"file:{stored.store}"
    (place,) = found["places"]
    file = stored.store / place["object"]
    assert file.stat().st_size == place["object_size"]
    assert 0 < place["offset"] < place["offset"] + place["length"] <= place["object_size"]
    assert place["confirmed_at"] > "2026"
    assert place["object"] in stored.run("where", stored.root / "new.txt").out


def test_where_of_a_touched_file_names_metadata_and_content(stored: Program) -> None:
    kinds = [one["kind"] for one in stored.json("where", "docs/letter.txt")["places"]]
    assert kinds == ["metadata", "content"]


def test_diff_says_what_was_added_removed_and_changed(stored: Program) -> None:
    one, two, three = ids(stored)
    found = stored.json("diff", one)
    assert found["from"] == one
    assert found["to"] == three
    assert [entry["path"] for entry in found["added"]] == ["new.txt"]
    assert [entry["path"] for entry in found["removed"]] == ["large.bin"]
    assert {"a.txt", "docs/letter.txt"} <= set(by_path(found["changed"]))
    narrow = stored.json("diff", one[:8], two[:8])
    assert [entry["path"] for entry in narrow["added"]] == ["new.txt"]
    assert narrow["removed"] == []
    back = stored.json("diff", three, one)
    assert [entry["path"] for entry in back["added"]] == ["large.bin"]
    assert "+ new.txt" in stored.run("diff", one).out.splitlines()


@pytest.mark.parametrize("words", [("list", "--changeset-id", "ffffffff"), ("diff", "ffffffff")])
def test_an_unknown_id_is_refused_with_a_hint(stored: Program, words: tuple[str, ...]) -> None:
    assert "'n2s changesets' lists them" in stored.run(*words, code=2).err


def test_plugins_says_what_is_installed_and_works(stored: Program, tmp_path: Path) -> None:
    found = {one["name"]: one for one in stored.json("plugins")}
    assert found["find"]["works"]
    assert found["find"]["discoverers"] == ["find"]
    assert found["find"].keys() >= {"name", "origin", "discoverers", "works", "error"}
    assert "find" in stored.run("plugins", cwd=tmp_path).out


def test_doctor_is_well_with_a_whole_dataset(stored: Program) -> None:
    found = stored.json("doctor")
    assert found["ok"]
    assert {one["probe"] for one in found["probes"]} >= {
        "python", "libraries", "processors", "configuration", "root", "store", "catalogue",
        "space", "key", "clock", "plugin",
    }  # fmt: skip
    assert "fail" not in {one["verdict"] for one in found["probes"]}


def test_doctor_names_what_is_wrong_and_exits_2(victim: Program, make: Make) -> None:
    victim.store.rename(victim.store.with_name("away"))
    found = victim.json("doctor", code=2, env={"N2S_PASSPHRASE": "another"})
    failed = {one["probe"] for one in found["probes"] if one["verdict"] == "fail"}
    assert failed >= {"store", "key"}
    bare = make().json("doctor", code=2)
    assert "configuration" in {one["probe"] for one in bare["probes"]}
