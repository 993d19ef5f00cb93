"""The hooks of snapper and btrbk, called by the real snapper and the real btrbk."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.conftest import REPOSITORY, missing
from tests.contrib.hooks import README, Hooks, commands, prepared, stored

PRIVATE = """
mount --bind "$1/etc-snapper" /etc/snapper
mount --bind "$1/etc-default" /etc/default
mount --bind "$1/lib-snapper" /usr/lib/snapper
shift
exec "$@"
"""
"""snapper reads fixed places; a mount namespace has others there, and the machine keeps its own."""


def subvolume(path: Path) -> Path:
    subprocess.run(["btrfs", "-q", "subvolume", "create", path], check=True)
    return path


def last_push(dataset: Program) -> dict[str, object]:
    found: dict[str, object] = dataset.json("changesets")[0]
    return found


class Snapper:
    """The real snapper with a configuration for one subvolume."""

    def __init__(self, hooks: Hooks, root: Path) -> None:
        self.hooks = hooks
        for name in ("etc-snapper/configs", "etc-default", "lib-snapper"):
            (hooks.base / name).mkdir(parents=True)
        (hooks.base / "etc-default/snapper").write_text('SNAPPER_CONFIGS=""\n')
        install, _, exclude = commands(README, "install -D -m 755 contrib/hooks/n2s-snap").split(
            "\n"
        )[:3]
        self.run("sh", "-ec", install)
        subprocess.run(["sh", "-ec", exclude.replace("/srv/data", f"'{root}'")], check=True)
        self.snapper("create-config", root)

    def run(self, *words: str | Path) -> str:
        private = ["unshare", "--mount", "sh", "-ec", PRIVATE, "sh", str(self.hooks.base)]
        return self.hooks.run(*private, *words, cwd=REPOSITORY)[0]

    def snapper(self, *words: str | Path) -> str:
        return self.run("snapper", "--no-dbus", *words)


@pytest.fixture(name="snapped")
def watched_by_snapper(tmp_path: Path, hooks: Hooks, btrfs: Path) -> tuple[Program, Snapper]:
    if shutil.which("snapper") is None:
        missing("This test needs snapper.")
    root = subvolume(btrfs / "my data")
    return prepared(tmp_path / "n2s", root, "btrfs"), Snapper(hooks, root)


def test_snapper_pushes_what_it_took(hooks: Hooks, snapped: tuple[Program, Snapper]) -> None:
    data, snapper = snapped
    (data.root / "file").write_text("one")
    snapper.snapper("create")
    (line,) = hooks.log
    assert f"{data.root} from {data.root}/.snapshots/1/snapshot: changeset" in line
    assert line.endswith("(exit code 0)")
    assert stored(data) == {"file", ".n2s/config.toml"}
    (data.root / "other").write_text("two")
    snapper.snapper("create")
    (data.root / "later").write_text("not in the snapshot")
    assert "walked" not in hooks.log[1]
    assert last_push(data)["written"] == 1
    assert stored(data) == {"file", "other", ".n2s/config.toml"}


def test_snapper_is_not_disturbed_by_a_push_that_fails(
    hooks: Hooks, snapped: tuple[Program, Snapper]
) -> None:
    data, snapper = snapped
    shutil.rmtree(data.store)
    assert snapper.snapper("create", "--print-number") == "1\n"
    assert hooks.log[0].endswith("(exit code 2)")
    snapper.snapper("create", "--read-write")
    assert "not read-only" in hooks.log[1]


def test_only_new_snapshots_of_btrfs_are_pushed(
    hooks: Hooks, snapped: tuple[Program, Snapper]
) -> None:
    data, snapper = snapped
    snapper.snapper("create")
    said = hooks.log
    snapper.snapper("modify", "--description", "text", "1")
    snapper.snapper("delete", "1")
    hooks.run("n2s-snapper", "create-snapshot-pre", data.root, "btrfs", "2")
    hooks.run("n2s-snapper", "create-snapshot", data.root, "lvm(ext4)", "2")
    hooks.run("n2s-snapper", "rollback", data.root, "btrfs", "1", "2")
    assert hooks.log == said


def test_the_two_calls_of_a_newer_snapper_are_one_changeset(
    hooks: Hooks, snapped: tuple[Program, Snapper]
) -> None:
    data, snapper = snapped
    snapper.snapper("create")
    hooks.run("n2s-snapper", "create-snapshot-post", data.root, "btrfs", "1")
    assert "nothing to store" in hooks.log[1]
    assert len(data.json("changesets")) == 1


def test_what_snapper_takes_of_others_is_passed_over(
    hooks: Hooks, snapped: tuple[Program, Snapper], btrfs: Path
) -> None:
    snapper = snapped[1]
    other = subvolume(btrfs / "other")
    snapper.snapper("-c", "other", "create-config", other)
    snapper.snapper("-c", "other", "create")
    assert hooks.log == [f"{other}: skipped, for it is no dataset of n2s."]


@pytest.fixture(name="config")
def of_btrbk(tmp_path: Path, btrfs: Path) -> Path:
    """Two subvolumes that n2s knows and one that it does not, below one volume."""
    if shutil.which("btrbk") is None:
        missing("This test needs btrbk.")
    (btrfs / "snapshots").mkdir()
    lines = ["timestamp_format long-iso", "snapshot_preserve_min latest"]
    lines += [f'volume "{btrfs}"', "  snapshot_dir snapshots"]
    for name in ("one", "it's two", "unknown"):
        lines += [f'  subvolume "{name}"', f"    snapshot_name {name[-3:]}"]
        subvolume(btrfs / name)
    config = tmp_path / "btrbk.conf"
    config.write_text("\n".join(lines) + "\n")
    return config


def btrbk_line(config: Path) -> str:
    """The command of the crontab in the README."""
    line = commands(README, "0 * * * * root /usr/local/bin/n2s-btrbk").partition(" root ")[2]
    return line.replace("/usr/local/bin/", "").replace("/etc/btrbk/btrbk.conf", f"'{config}'")


def test_btrbk_pushes_the_newest_snapshot_of_each_subvolume(
    hooks: Hooks, tmp_path: Path, btrfs: Path, config: Path
) -> None:
    one = prepared(tmp_path / "n2s-1", btrfs / "one", "btrfs")
    two = prepared(tmp_path / "n2s-2", btrfs / "it's two", "btrfs")
    for number, dataset in enumerate((one, two)):
        (dataset.root / f"file{number}").write_text("one")
    hooks.run("sh", "-c", btrbk_line(config))
    assert [line.endswith("(exit code 0)") for line in hooks.log] == [True, True, False]
    assert hooks.log[2] == f"{btrfs}/unknown: skipped, for it is no dataset of n2s."
    (one.root / "more").write_text("two")
    (two.root / "file1").unlink()
    hooks.run("sh", "-c", btrbk_line(config))
    assert not any("walked" in line for line in hooks.log)
    assert stored(one) == {"file0", "more", ".n2s/config.toml"}
    assert stored(two) == {".n2s/config.toml"}
    assert len(list((btrfs / "snapshots").iterdir())) == 3


def test_when_one_push_fails_the_others_are_done_and_nothing_is_pruned(
    hooks: Hooks, tmp_path: Path, btrfs: Path, config: Path
) -> None:
    one = prepared(tmp_path / "n2s-1", btrfs / "one", "btrfs")
    two = prepared(tmp_path / "n2s-2", btrfs / "it's two", "btrfs")
    (two.root / "file").write_text("one")
    shutil.rmtree(one.store)
    pruned = hooks.program("pruned", "#!/bin/sh\necho pruned\n")
    line = btrbk_line(config).partition("&&")[0]
    out, _ = hooks.run("sh", "-c", f"{line} && '{pruned}'", code=2)
    assert out == ""
    assert "file" in stored(two)


def test_a_snapshot_that_btrbk_could_not_take_is_a_failure(
    hooks: Hooks, tmp_path: Path, btrfs: Path, config: Path
) -> None:
    one = prepared(tmp_path / "n2s-1", btrfs / "one", "btrfs")
    (one.root / "file").write_text("one")
    subprocess.run(["btrfs", "-q", "subvolume", "delete", btrfs / "unknown"], check=True)
    hooks.run("n2s-btrbk", "-c", config, code=10)
    assert "file" in stored(one)
    _, err = hooks.run("n2s-btrbk", "-c", tmp_path / "nowhere", code=2)
    assert "nowhere" in err
