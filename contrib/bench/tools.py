"""The programs that are compared, each with its defaults: encrypted, compressed, a local folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

PASSPHRASE = "a passphrase of the benchmark"  # noqa: S105 - protects nothing


class Tool(Protocol):
    """One program with its own repository, cache and configuration below one folder."""

    name: str
    home: Path
    environment: dict[str, str]

    def version(self) -> str:
        """One line."""

    def prepare(self, tree: Path) -> list[str]:
        """The command that makes the repository for this tree."""

    def push(self, tree: Path, changed: Path | None) -> list[str]:
        """The command that backs up; `changed` names the changed paths, NUL-separated."""

    def restore(self, tree: Path, target: Path) -> list[str]:
        """The command, to be run in `target`, that restores the newest state of the tree."""

    def restored(self, tree: Path, target: Path) -> Path:
        """Where the tree is after `restore`."""


def clean_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment without what configures one of the programs, and with `own`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("N2S_", "RESTIC_", "BORG_", "PYTHON"))
    }
    return {**kept, **own}


def first_line(command: list[str]) -> str:
    """What the command says about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[0]


class N2s:
    """`push` asks nobody for what changed when it is told by `--paths-from`."""

    name = "n2s"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = clean_environment({"N2S_PASSPHRASE": PASSPHRASE})
        script = Path(sys.executable).with_name("n2s")
        start = [str(script)] if script.exists() else [sys.executable, "-m", "n2s_core"]
        self._version = [*start, "--version"]
        self._start = [*start, "--quiet", "--config", str(home / "config" / "config.toml")]

    def version(self) -> str:
        return first_line(self._version)

    def prepare(self, tree: Path) -> list[str]:
        (self.home / "config").mkdir(parents=True)
        store, catalogue = self.home / "store", self.home / "config" / "catalogue.db"
        where = ["--store", str(store), "--catalogue", str(catalogue), "--dataset", "bench"]
        return [*self._start, "init", str(tree), *where]

    def push(self, tree: Path, changed: Path | None) -> list[str]:
        del tree
        return [*self._start, "push", *(["--paths-from", str(changed)] if changed else [])]

    def restore(self, tree: Path, target: Path) -> list[str]:
        del tree
        return [*self._start, "pull", "--target-path", str(target / "tree")]

    def restored(self, tree: Path, target: Path) -> Path:
        del tree
        return target / "tree"

    by_btrfs = ("--using", "btrfs")

    def push_snapshot(self, snapshot: Path, place: Path) -> list[str]:
        """A push of a read-only snapshot; `place` shows it too."""
        del place
        return [*self._start, "push", "-o", f"snapshot={snapshot}"]


class Restic:
    """Always compares the whole tree."""

    name = "restic"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = clean_environment(
            {
                "RESTIC_PASSWORD": PASSPHRASE,
                "RESTIC_REPOSITORY": str(home / "store"),
                "RESTIC_CACHE_DIR": str(home / "cache"),
            }
        )

    def version(self) -> str:
        return first_line(["restic", "version"])

    def prepare(self, tree: Path) -> list[str]:
        del tree
        self.home.mkdir(parents=True)
        return ["restic", "--quiet", "init"]

    def push(self, tree: Path, changed: Path | None) -> list[str]:
        del changed
        return ["restic", "--quiet", "backup", str(tree)]

    def restore(self, tree: Path, target: Path) -> list[str]:
        del tree
        return ["restic", "--quiet", "restore", "latest", "--target", str(target)]

    def restored(self, tree: Path, target: Path) -> Path:
        return target / str(tree).removeprefix("/")

    by_btrfs = ()

    def push_snapshot(self, snapshot: Path, place: Path) -> list[str]:
        """A backup of a snapshot at the place where the one before was."""
        del snapshot
        return self.push(place, None)


class Borg:
    """Always compares the whole tree."""

    name = "borg"

    def __init__(self, home: Path) -> None:
        self.home = home
        self._serial = 0
        self.environment = clean_environment(
            {
                "BORG_PASSPHRASE": PASSPHRASE,
                "BORG_REPO": str(home / "store"),
                "BORG_BASE_DIR": str(home / "base"),
            }
        )

    def version(self) -> str:
        return first_line(["borg", "--version"])

    def prepare(self, tree: Path) -> list[str]:
        del tree
        (self.home / "base").mkdir(parents=True)
        return ["borg", "init", "--encryption", "repokey"]

    def push(self, tree: Path, changed: Path | None) -> list[str]:
        del changed
        self._serial += 1
        return ["borg", "create", f"::{self._serial}", str(tree)]

    def restore(self, tree: Path, target: Path) -> list[str]:
        del tree, target
        return ["borg", "extract", f"::{self._serial}"]

    def restored(self, tree: Path, target: Path) -> Path:
        return target / str(tree).removeprefix("/")


TOOLS: dict[str, type[N2s] | type[Restic] | type[Borg]] = {
    "n2s": N2s,
    "restic": Restic,
    "borg": Borg,
}


def install(names: list[str]) -> None:
    """See that the programs are there; as root they come from Debian. Ends the program if not."""
    wanted = {"restic": "restic:restic", "borg": "borgbackup:borg"}
    missing = [wanted[name] for name in names if name in wanted and not shutil.which(name)]
    if missing:
        script = Path(__file__).parents[1] / "setup" / "debian.sh"
        if subprocess.run([str(script), *missing], check=False).returncode:
            sys.exit(1)
