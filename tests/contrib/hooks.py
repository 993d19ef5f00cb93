"""The hooks of contrib/hooks as their README installs them, in a folder of one test."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cli.program import Program
from tests.conftest import REPOSITORY

HOOKS = REPOSITORY / "contrib" / "hooks"
README = (HOOKS / "README.md").read_text()
LIMIT_S = 120
Environment = Mapping[str, str | None]
"""Variables beside the usual ones; None takes one away."""
LOGGER = """#!/bin/sh
for line; do :; done
printf '%s\\n' "$line" >>"$TEST_LOG"
"""


def commands(readme: str, beginning: str) -> str:
    """The indented block of a README that begins so; a README without it fails the test."""
    blocks: list[str] = re.findall(r"(?:^    .*\n)+", readme, re.MULTILINE)
    return next(block for block in blocks if block.strip().startswith(beginning))


def program(path: Path, text: str) -> Path:
    """A program of a test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Hooks:
    """Runs the installed hooks. `bin` is first on their PATH; `log` has what logger was told."""

    base: Path

    @property
    def bin(self) -> Path:
        return self.base / "bin"

    @property
    def log(self) -> list[str]:
        file = self.base / "log"
        return file.read_text(errors="surrogateescape").splitlines() if file.exists() else []

    def install(self) -> None:
        """As the README says, into another folder."""
        self.bin.mkdir(parents=True)
        line = commands(README, "install -m 755").replace("/usr/local/bin", f"'{self.bin}'")
        subprocess.run(["sh", "-ec", line], cwd=REPOSITORY, check=True)
        self.program("n2s", f'#!/bin/sh\nexec "{sys.executable}" -m n2s_core "$@"\n')
        self.program("logger", LOGGER)

    def program(self, name: str, text: str) -> Path:
        return program(self.bin / name, text)

    def environment(self, **extra: str | None) -> dict[str, str]:
        home = self.base / "home"
        home.mkdir(exist_ok=True)
        path = f"{self.bin}:{os.environ['PATH']}"
        given = {"PATH": path, "TEST_LOG": str(self.base / "log"), **extra}
        return Program(home, home, home).environment(**given)

    def start(
        self, *words: str | bytes | Path, cwd: Path | None = None, env: Environment | None = None
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [os.fsencode(word) for word in words],
            cwd=cwd,
            env=self.environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self,
        *words: str | bytes | Path,
        code: int = 0,
        cwd: Path | None = None,
        env: Environment | None = None,
    ) -> tuple[str, str]:
        """What a command that must end with `code` printed."""
        with self.start(*words, cwd=cwd, env=env) as started:
            out, err = started.communicate(timeout=LIMIT_S)
        assert started.returncode == code, (started.returncode, out, err, self.log)
        return out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")


def prepared(base: Path, root: Path, using: str = "find") -> Program:
    """A dataset of n2s with its configuration in the tree, as the hooks want it."""
    (base / "home").mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    found = Program(root, base / "store", base / "home")
    found.init("--using", using)
    return found


def stored(dataset: Program) -> set[str]:
    """The paths of the files that were pushed."""
    if not dataset.json("changesets"):
        return set()
    return {one["path"] for one in dataset.json("list") if one["type"] == "file"}
