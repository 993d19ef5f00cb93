"""The hooks of sanoid and zfs-auto-snapshot: the mount table is real, the zfs command is played.

What sanoid 2.1 and zfs-auto-snapshot 1.2 hand over was taken down from them, and they are run where
they are installed. On Debian both bring ZFS itself along, so the tests do not insist on them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.conftest import missing
from tests.contrib.hooks import README, Environment, Hooks, commands, prepared, stored

PLAYER = f"#!/bin/sh\nexec '{sys.executable}' -m tests.contrib.zfs_program NAME \"$@\"\n"
TANK = f"tank-{os.getpid()}"
"""The mount table is that of the whole machine, where other tests may run."""
NAME = "autosnap_2026-11-21_08:45:00_daily"


@dataclass(frozen=True)
class Pool:
    """Datasets on mounted folders, and the hooks that find them."""

    base: Path
    hooks: Hooks

    @property
    def state(self) -> Path:
        return self.base / "zfs.json"

    def dataset(self, name: str, place: str | bytes | None = None) -> Path:
        """Mount a new one."""
        where = os.fsencode(self.base) + b"/" + os.fsencode(place or name.replace("/", "-"))
        root = Path(os.fsdecode(where))
        root.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", name, root],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            missing(f"This test needs to mount a tmpfs, which is not allowed here: {done.stderr}")
        state = json.loads(self.state.read_text()) if self.state.exists() else {}
        state[name] = {"root": str(root), "snapshots": []}
        self.state.write_text(json.dumps(state))
        return root

    def known(self, name: str, place: str | bytes | None = None) -> Program:
        """A new one that n2s knows."""
        root = self.dataset(name, place)
        return prepared(self.base / f"n2s-{name.replace('/', '-')}", root, "zfs")

    def run(
        self, *words: str | Path, code: int = 0, env: Environment | None = None
    ) -> tuple[str, str]:
        return self.hooks.run(*words, code=code, env={"ZFS_STATE": str(self.state), **(env or {})})

    def take(self, snapshot: str, *options: str) -> None:
        self.run("zfs", "snapshot", *options, snapshot)

    def sanoid(self, targets: str, names: str, code: int = 0, **extra: str) -> tuple[str, str]:
        """As sanoid calls its post_snapshot_script."""
        told = {
            "SANOID_SCRIPT": "post",
            "SANOID_TARGET": targets.partition(",")[0],
            "SANOID_TARGETS": targets,
            "SANOID_SNAPNAME": names.partition(",")[0],
            "SANOID_SNAPNAMES": names,
            "SANOID_TYPES": "daily",
            "SANOID_PRE_FAILURE": "0",
        }
        return self.run("n2s-sanoid", code=code, env={**told, **extra})


@pytest.fixture
def pool(tmp_path: Path, hooks: Hooks) -> Iterator[Pool]:
    if os.geteuid() != 0:
        missing("This test mounts folders; run it as root.")
    for name in ("zfs", "zpool", "n2s"):
        hooks.program(name, PLAYER.replace("NAME", name))
    made = Pool(tmp_path, hooks)
    yield made
    if made.state.exists():
        for dataset in reversed(json.loads(made.state.read_text()).values()):
            subprocess.run(["umount", dataset["root"]], check=True)


def test_sanoid_s_newest_snapshot_is_pushed(pool: Pool) -> None:
    data = pool.known(f"{TANK}/data")
    (data.root / "file").write_text("one")
    pool.take(f"{TANK}/data@early")
    (data.root / "more").write_text("two")
    pool.take(f"{TANK}/data@{NAME}")
    (data.root / "later").write_text("not in the snapshot")
    pool.sanoid(f"{TANK}/data", f"early,{NAME}")
    (line,) = pool.hooks.log
    assert line.startswith(f"{data.root} from {TANK}/data@{NAME}: changeset")
    assert {"file", "more"} <= stored(data)
    assert "later" not in stored(data)
    (data.root / "file").unlink()
    pool.take(f"{TANK}/data@next")
    pool.sanoid(f"{TANK}/data", "next")
    assert stored(data) == {"more", "later", ".n2s/config.toml"}


def test_what_an_older_sanoid_tells_is_enough(pool: Pool) -> None:
    data = pool.known(f"{TANK}/data")
    pool.take(f"{TANK}/data@x")
    pool.sanoid(f"{TANK}/data", "x", SANOID_TARGETS="", SANOID_SNAPNAMES="", SANOID_SCRIPT="post")
    assert f"{data.root} from {TANK}/data@x: changeset" in pool.hooks.log[0]


@pytest.mark.parametrize("script", ["pre", "prune"])
def test_sanoid_s_other_scripts_push_nothing(pool: Pool, script: str) -> None:
    data = pool.known(f"{TANK}/data")
    pool.take(f"{TANK}/data@x")
    pool.sanoid(f"{TANK}/data", "x", SANOID_SCRIPT=script)
    assert (pool.hooks.log, stored(data)) == ([], set())


def test_without_sanoid_it_says_who_starts_it(hooks: Hooks) -> None:
    assert "is started by sanoid" in hooks.run("n2s-sanoid", code=2)[1]


def test_several_datasets_at_once_and_the_worst_code_is_passed_on(pool: Pool) -> None:
    broken, whole = pool.known(f"{TANK}/broken"), pool.known(f"{TANK}/whole")
    pool.dataset(f"{TANK}/unknown")
    for name in ("broken", "whole", "unknown"):
        pool.take(f"{TANK}/{name}@x")
    shutil.rmtree(broken.store)
    (whole.root / "file").write_text("one")
    pool.take(f"{TANK}/whole@y")
    pool.take(f"{TANK}/broken@y")
    pool.sanoid(f"{TANK}/broken,{TANK}/unknown,{TANK}/whole", "x,y", code=2)
    first, second, third = pool.hooks.log
    assert first.endswith("(exit code 2)")
    assert "unknown: skipped" in second
    assert third.endswith("(exit code 0)")
    assert "file" in stored(whole)


@pytest.mark.parametrize(
    ("name", "place", "snapshot"),
    [
        ("my data", b"sp ace", "a.b:c-d_e+2026"),
        ("a.b:c-d_e", b"new\nline", "="),
        ("x", b"back\\040slash\t", "with space"),
    ],
)
def test_odd_names(pool: Pool, name: str, place: bytes, snapshot: str) -> None:
    taken = f"{TANK}/{name}@{snapshot}"
    data = pool.known(f"{TANK}/{name}", place)
    (data.root / "file").write_text("one")
    pool.take(taken)
    pool.run("n2s-zfs-snapshot", f"{TANK}/{name}", snapshot)
    assert f" from {taken}: changeset" in pool.hooks.log[0]
    assert "file" in stored(data)


def test_children_are_pushed_when_the_snapshot_took_them_along(pool: Pool) -> None:
    data = pool.known(f"{TANK}/data")
    child, other = pool.known(f"{TANK}/data/child"), pool.known(f"{TANK}/data-other")
    for one in (data, child, other):
        (one.root / "file").write_text("one")
    pool.take(f"{TANK}/data@alone")
    pool.run("n2s-zfs-snapshot", f"{TANK}/data", "alone")
    assert "file" in stored(data)
    assert stored(child) == set()
    pool.take(f"{TANK}/data@both", "-r")
    pool.take(f"{TANK}/data-other@both")
    pool.run("n2s-zfs-snapshot", f"{TANK}/data", "both")
    assert "file" in stored(child)
    assert stored(other) == set()


def test_a_dataset_that_is_not_mounted_is_passed_over_and_named(pool: Pool) -> None:
    child = pool.known(f"{TANK}/data/child")
    assert pool.run("n2s-zfs-snapshot", f"{TANK}/nowhere", "x") == ("", "")
    assert pool.hooks.log == [f"{TANK}/nowhere@x: skipped, for the dataset is not mounted."]
    pool.take(f"{TANK}/data/child@x")
    pool.run("n2s-zfs-snapshot", f"{TANK}/data", "x")
    assert f"{child.root} from {TANK}/data/child@x: changeset" in pool.hooks.log[1]


def test_a_snapshot_that_is_not_there_is_a_failure(pool: Pool) -> None:
    data = pool.known(f"{TANK}/data")
    _, err = pool.run("n2s-zfs-snapshot", f"{TANK}/data", "nowhere", code=2)
    assert f"is no snapshot of {TANK}/data" in err
    assert f"is no snapshot of {TANK}/data" in pool.hooks.log[0]
    assert stored(data) == set()


def test_a_missing_passphrase_is_a_failure(pool: Pool) -> None:
    pool.known(f"{TANK}/data")
    pool.take(f"{TANK}/data@x")
    pool.sanoid(f"{TANK}/data", "x", code=2, N2S_PASSPHRASE="")
    assert "No passphrase" in pool.hooks.log[0]


@pytest.mark.parametrize("words", [[], [f"{TANK}/data"], [f"{TANK}/my", "data", "x"]])
def test_wrong_words_are_refused(hooks: Hooks, words: list[str]) -> None:
    assert "usage: n2s-zfs-snapshot" in hooks.run("n2s-zfs-snapshot", *words, code=2)[1]


def test_the_real_sanoid_pushes(pool: Pool) -> None:
    if shutil.which("sanoid") is None:
        pytest.skip("sanoid is not installed here.")
    data = pool.known(f"{TANK}/data")
    (data.root / "file").write_text("one")
    folder = pool.base / "sanoid"
    folder.mkdir()
    stanza = (
        commands(README, "[tank/data]")
        .replace("[tank/", f"[{TANK}/")
        .replace("/usr/local/bin/", f"{pool.hooks.bin}/")
    )
    template = "[template_production]\nhourly = 1\ndaily = 1\nautosnap = yes\nautoprune = no\n"
    (folder / "sanoid.conf").write_text(stanza + template)
    pool.run(
        "sanoid", f"--configdir={folder}", f"--cache-dir={folder}", f"--run-dir={folder}",
        "--take-snapshots",
    )  # fmt: skip
    (line,) = pool.hooks.log
    assert f"{data.root} from {TANK}/data@autosnap_" in line
    assert line.endswith("(exit code 0)")
    assert "file" in stored(data)


def test_the_real_zfs_auto_snapshot_pushes(pool: Pool) -> None:
    if shutil.which("zfs-auto-snapshot") is None:
        pytest.skip("zfs-auto-snapshot is not installed here.")
    data, child = pool.known(f"{TANK}/data"), pool.known(f"{TANK}/data/child")
    (child.root / "file").write_text("one")
    line = commands(README, "exec zfs-auto-snapshot").replace("/usr/local/bin/", "")
    pool.run("sh", "-c", line)
    pushed = [line.partition(" from ")[0] for line in pool.hooks.log if "(exit code 0)" in line]
    assert pushed == [str(data.root), str(child.root)]
    assert "file" in stored(child)
    assert stored(data) == {".n2s/config.toml"}
