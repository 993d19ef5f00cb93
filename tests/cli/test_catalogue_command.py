"""`n2s catalogue`, and datasets whose catalogue an older n2s made, as users meet them."""

import json
import shutil
from pathlib import Path

import pytest

from n2s_core.catalogue.database import open_database
from n2s_core.catalogue.versions import VERSION
from n2s_core.catalogue_address import parse_address
from tests.cli.program import Make, Program
from tests.kept.make import PASSPHRASE
from tests.kept_catalogues import VERSIONS, rows, states, unpack
from tests.servers.postgresql import Postgresql
from tests.trees import as_json, describe, differences

OLDER = [version for version in VERSIONS if version < VERSION]
KEY: dict[str, str | None] = {"N2S_PASSPHRASE": PASSPHRASE}


@pytest.mark.parametrize("version", OLDER)
def test_a_push_upgrades_the_file_by_itself_and_everything_goes_on(
    version: int, tmp_path: Path
) -> None:
    kept, (*pushed, others, last) = unpack(version, tmp_path), states(version)
    assert kept.json("push", "--dry-run", code=2, env=KEY)["exit_code"] == 2
    asked = kept.run("status", code=2, env=KEY)
    assert "Run 'n2s catalogue upgrade'" in asked.err
    done = kept.json("push", env=KEY)
    assert done["catalogue_upgraded"] is True
    assert done["failed"] == 0
    assert kept.json("push", env=KEY)["catalogue_upgraded"] is False

    listed = {one["changeset_id"]: one for one in kept.json("changesets", "--all", env=KEY)}
    assert set(listed) == {one["changeset_id"] for one in pushed} | {done["changeset_id"]}
    assert listed[others["swept"]]["swept"]
    assert listed[others["forgotten"]]["forgotten_at"]
    assert listed[pushed[0]["changeset_id"]]["pinned"]
    assert listed[pushed[0]["changeset_id"]]["tags"] == ["first"]
    assert listed[pushed[1]["changeset_id"]]["changeset_name"] == "with 'quotes'\nand lines"
    assert kept.json("status", env=KEY)["pending"] == 0
    paths = {one["path"] for one in kept.json("list", env=KEY)}
    assert {"new\nline", "\\xff\\xfe", "second name"} <= paths
    older = kept.json("list", "--changeset-id", pushed[0]["changeset_id"], env=KEY)
    assert "dir/zero" in {one["path"] for one in older}
    changed = kept.json("diff", pushed[0]["changeset_id"], pushed[1]["changeset_id"], env=KEY)
    assert "dir/zero" in json.dumps(changed)

    target = tmp_path / "latest"
    kept.json("pull", "--target-path", target, env=KEY)
    restored = describe(target, ignore=frozenset({b".n2s"}))
    assert differences(describe(kept.root, ignore=frozenset({b".n2s"})), restored) == []
    assert as_json(restored).keys() == last["tree"].keys()
    first = tmp_path / "first"
    which = ("--changeset-id", pushed[0]["changeset_id"])
    kept.json("pull", "--target-path", first, *which, env=KEY)
    assert as_json(describe(first, ignore=frozenset({b".n2s"}))) == pushed[0]["tree"]

    found = kept.json("verify", "--data", code=3, env=KEY)
    assert len(found["missing"] + found["damaged"]) == 1
    assert kept.json("prune", "--grace", "0h", env=KEY)["changesets"] == 1
    kept.catalogue.unlink()
    kept.run("rebuild", env=KEY)
    assert kept.json("push", env=KEY)["failed"] == 0


def test_an_upgrade_is_asked_for_and_told(tmp_path: Path) -> None:
    kept = unpack(1, tmp_path)
    found = kept.json("catalogue", "info")
    assert (found["version"], found["known_version"], found["estimated"]) == (1, VERSION, [])
    assert found["kind"].startswith("SQLite 3")
    assert found["rows"]["files"] == len(rows(kept.catalogue)["files"])
    assert found["size_bytes"] == kept.catalogue.stat().st_size
    planned = kept.json("catalogue", "upgrade", "--dry-run")
    assert (planned["was_version"], planned["version"], planned["dry_run"]) == (1, 1, True)
    said = kept.run("catalogue", "upgrade").out
    assert f"version 1 became {VERSION}" in said
    assert "there is nothing to do" in kept.run("catalogue", "upgrade").out
    assert kept.json("catalogue", "info")["version"] == VERSION
    kept.run("status", env=KEY)


def test_the_catalogue_at_an_address_needs_no_configuration(
    victim: Program, tmp_path: Path
) -> None:
    shutil.copy(victim.catalogue, tmp_path / "a b.db")
    (tmp_path / "below").mkdir()
    for address in ("a b.db", "sqlite:a b.db", "below/../a b.db", str(tmp_path / "a b.db")):
        said = victim.run("catalogue", "info", address, cwd=tmp_path).out
        assert said.startswith(f"{tmp_path / 'a b.db'}: SQLite")
        assert f"version {VERSION}" in said
        assert "changesets" in said


def test_a_rebuild_does_not_replace_a_catalogue_that_can_be_upgraded(tmp_path: Path) -> None:
    kept = unpack(1, tmp_path)
    before = rows(kept.catalogue)
    assert "catalogue upgrade" in kept.run("rebuild", code=2, env=KEY).err
    assert rows(kept.catalogue) == before


@pytest.mark.parametrize(
    "words",
    [
        ("catalogue",),
        ("catalogue", "mend"),
        ("catalogue", "info", "--dry-run"),
        ("catalogue", "info", "--switch"),
        ("catalogue", "upgrade", "a", "b"),
        ("catalogue", "copy"),
        ("catalogue", "copy", "a"),
        ("catalogue", "copy", "a", "ftp://b"),
    ],
)
def test_what_does_not_fit_is_named(make: Make, words: tuple[str, ...]) -> None:
    assert make().run(*words, code=2).err != ""


def test_no_catalogue_and_no_database_are_said_in_sentences(make: Make, tmp_path: Path) -> None:
    program = make()
    (tmp_path / "text").write_text("no database" * 1000)
    (tmp_path / "empty").touch()
    assert "There is no catalogue" in program.json("catalogue", "info", "/none", code=2)["error"]
    for action in ("info", "upgrade"):
        assert "damaged" in program.json("catalogue", action, tmp_path / "text", code=2)["error"]
        assert program.json("catalogue", action, tmp_path / "empty", code=2)["error"]


@pytest.mark.usefixtures("on_sqlite")
def test_after_a_switch_the_copy_is_used_and_the_old_one_says_where_it_is(
    victim: Program, tmp_path: Path
) -> None:
    config = victim.config
    config.write_text(
        "# mine\n" + config.read_text() + "\n[catalogue] # here\nurl = 'catalogue.db'\n"
    )
    config.chmod(0o640)
    target = tmp_path / "new place.db"
    listed = victim.json("list")
    other = tmp_path / "other.toml"
    root = f'root = "{victim.root}"\n'
    text = config.read_text().replace("[dataset]\n", "[dataset]\n" + root)
    other.write_text(text.replace("'catalogue.db'", f'"{victim.catalogue}"'))

    done = victim.json("catalogue", "copy", victim.catalogue, target, "--switch")
    assert done["switched"] == str(config)
    assert done["rows"] == sum(done["tables"].values())
    assert done["tables"]["files"] == len(rows(victim.catalogue)["files"])
    assert (done["source"], done["target"]) == (str(victim.catalogue), str(target))
    assert config.read_text().startswith("# mine\n")
    assert f'[catalogue] # here\nurl = "{target}"\n' in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o640
    assert victim.json("list") == listed
    (victim.root / "after the switch").write_text("new")
    assert victim.json("push")["written"] >= 1
    assert victim.json("verify", "--data")["damaged"] == []

    said = victim.run("-c", other, "push", code=2, cwd=tmp_path).err
    assert f"was moved to {target}" in said
    assert "rebuild" not in said
    assert "was moved" in victim.run("-c", other, "rebuild", code=2, cwd=tmp_path).err
    assert "was moved" in victim.run("-c", other, "status", code=2, cwd=tmp_path).err
    assert str(target) in victim.json("catalogue", "info", victim.catalogue)["moved_to"]


@pytest.mark.usefixtures("on_sqlite")
def test_a_copy_alone_changes_nothing(victim: Program, tmp_path: Path) -> None:
    before = victim.config.read_bytes()
    done = victim.run("catalogue", "copy", ".n2s/catalogue.db", tmp_path / "copy.db")
    assert f"rows copied to {tmp_path / 'copy.db'} and compared" in done.out
    assert "the copy grows old" in done.err
    assert victim.config.read_bytes() == before
    assert victim.json("push")["failed"] == 0
    said = victim.json("catalogue", "copy", ".n2s/catalogue.db", tmp_path / "copy.db", code=2)
    assert "already" in said["error"]


def test_only_the_configured_catalogue_is_switched(victim: Program, tmp_path: Path) -> None:
    shutil.copy(victim.catalogue, tmp_path / "other.db")
    words = ("catalogue", "copy", tmp_path / "other.db", tmp_path / "copy.db", "--switch")
    assert "--switch is for a copy of that one" in victim.json(*words, code=2)["error"]
    assert not (tmp_path / "copy.db").exists()


def test_a_configuration_that_cannot_be_edited_is_said_before_anything_is_copied(
    victim: Program, tmp_path: Path
) -> None:
    text = victim.config.read_text()
    victim.config.write_text("catalogue = { url = 'catalogue.db' }\n" + text)
    words = ("catalogue", "copy", victim.catalogue, tmp_path / "copy.db", "--switch")
    said = victim.json(*words, code=2)["error"]
    assert f'url = "{tmp_path / "copy.db"}"' in said
    assert not (tmp_path / "copy.db").exists()
    assert victim.run("status").code == 0


def test_a_dataset_moves_to_a_server_and_back(
    victim: Program, postgresql: Postgresql, tmp_path: Path
) -> None:
    url = postgresql.url()
    listed = victim.json("list")
    done = victim.json("catalogue", "copy", victim.catalogue, url, "--switch")
    assert done["target"] == url
    assert url in victim.config.read_text()
    found = victim.json("catalogue", "info")
    assert found["kind"].startswith("PostgreSQL")
    assert (found["address"], found["version"], found["estimated"]) == (url, VERSION, [])
    own = {"leases": 0, "properties": 0}
    assert found["rows"] | own == done["tables"] | own
    assert found["size_bytes"] > 0
    assert victim.json("list") == listed
    (victim.root / "on the server").write_bytes(b"\0" * 100)
    assert victim.json("push")["written"] >= 1
    assert "was moved to " in victim.run("catalogue", "copy", victim.catalogue, "x", code=2).err

    back = tmp_path / "back.db"
    assert victim.json("catalogue", "copy", url, back, "--switch")["target"] == str(back)
    (victim.root / "on the server").unlink()
    assert victim.json("push")["removed"] == 1
    target = tmp_path / "restored"
    victim.json("pull", "--target-path", target)
    ignore = frozenset({b".n2s"})
    assert differences(describe(victim.root, ignore=ignore), describe(target, ignore=ignore)) == []
    assert victim.json("verify", "--data")["damaged"] == []
    old = tmp_path / "old.toml"
    root = f'root = "{victim.root}"\n'
    text = victim.config.read_text().replace("[dataset]\n", "[dataset]\n" + root)
    old.write_text(text.replace(str(back), url))
    assert "(a file on " in victim.run("-c", old, "push", code=2, cwd=tmp_path).err


def test_one_on_a_server_is_upgraded_by_command_alone(
    victim: Program, postgresql: Postgresql, tmp_path: Path
) -> None:
    url = postgresql.url()
    victim.json("catalogue", "copy", victim.catalogue, url, "--switch")
    with open_database(parse_address(url, tmp_path)) as db, db.transaction():
        db.execute("DROP TABLE alembic_version")
        db.execute("UPDATE properties SET value = ? WHERE name = 'schema_version'", (b"1",))
    assert "Run 'n2s catalogue upgrade'" in victim.json("push", code=2)["error"]
    assert victim.json("catalogue", "upgrade")["was_version"] == 1
    assert victim.json("push")["catalogue_upgraded"] is False
