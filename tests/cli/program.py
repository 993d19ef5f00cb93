"""The program as users run it: another process, its exit code and what it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from n2s_core.catalogue_address import CatalogueAddress, parse_address
from tests import catalogues, forked
from tests.conftest import PASSPHRASE, REPOSITORY

MODULE, CHEAP_INIT = "n2s_core", "tests.cheap_keys"
COMMAND = [sys.executable, "-m", MODULE]
LIMIT_S = 60
ODD = b"odd \xff\xfe name"
Word = str | bytes | Path


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything else there fails the test."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """Runs commands in `root`."""

    root: Path
    store: Path
    home: Path
    prefix: tuple[str, ...] = ()
    url: str | None = None

    def environment(self, **extra: str | None) -> dict[str, str]:
        """None takes a variable away."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("N2S_")}
        found |= {
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'plugins'}",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "N2S_PASSPHRASE": PASSPHRASE,
            "COLUMNS": "100",
        }
        found |= {name: value for name, value in extra.items() if value is not None}
        return {name: value for name, value in found.items() if name not in extra or extra[name]}

    def run(
        self,
        *words: Word,
        code: int = 0,
        stdin: bytes = b"",
        cwd: Path | None = None,
        env: dict[str, str | None] | None = None,
    ) -> Done:
        """Run a command that must end with `code` and without a traceback."""
        module = CHEAP_INIT if words[:1] == ("init",) else MODULE
        environment, given = self.environment(**(env or {})), [*map(os.fsencode, words)]
        if self.prefix or not forked.fits(environment):
            done = subprocess.run(
                [*self.prefix, sys.executable, "-m", module, *given],
                input=stdin,
                capture_output=True,
                check=False,
                cwd=cwd or self.root,
                env=environment,
                timeout=LIMIT_S,
            )
        else:
            done = forked.run(
                given,
                module=module,
                cwd=cwd or self.root,
                environment=environment,
                stdin=stdin,
                limit_s=LIMIT_S,
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, (words, done.returncode, out, err)
        assert "Traceback" not in err
        assert "Traceback" not in out
        return Done(done.returncode, out, err)

    def json(self, *words: Word, **how: Any) -> Any:
        """The document that a command prints with --json."""
        return self.run(*words, "--json", **how).document

    def init(self, *words: Word, code: int = 0) -> Done:
        if self.url is not None and "--catalogue" not in words:
            words = "--catalogue", self.url, *words
        return self.run("init", self.root, "--store", self.store, *words, code=code, cwd=self.home)

    @property
    def config(self) -> Path:
        return self.root / ".n2s" / "config.toml"

    @property
    def catalogue(self) -> Path:
        """For tests that are about the file itself."""
        if self.url is not None:
            pytest.skip("This test is about the file of SQLite.")
        return self.root / ".n2s" / "catalogue.db"

    @property
    def address(self) -> CatalogueAddress:
        return parse_address(self.url or "catalogue.db", self.config.parent)

    def objects(self, shelf: str) -> list[Path]:
        """The objects of one shelf."""
        return sorted(path for path in (self.store / shelf).rglob("*") if path.is_file())

    def name(self, path: Path) -> str:
        """The name of an object."""
        return str(path.relative_to(self.store))

    def copy(self, base: Path) -> "Program":
        """The same dataset elsewhere, to be damaged."""
        url = None if self.url is None else catalogues.copied(self.url)
        made = Program(base / "root", base / "store", self.home, url=url)
        base.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", self.root, self.store, base], check=True)
        text = self.config.read_text().replace(str(self.store), str(made.store))
        if self.url is not None and url is not None:
            text = text.replace(self.url, url)
        made.config.write_text(text)
        return made


Make = Callable[..., Program]


def fill(root: Path) -> None:
    """A small tree with what is odd in trees."""
    (root / "docs").mkdir()
    (root / "docs" / "letter.txt").write_text("Dear reader\n")
    (root / "docs" / "grüße.txt").write_text("Grüße\n")
    (root / "a.txt").write_text("first\n")
    (root / "large.bin").write_bytes(os.urandom(40_000))
    os.link(root / "a.txt", root / "docs" / "also-a.txt")
    (root / "link").symlink_to("docs/letter.txt")
    Path(os.fsdecode(os.fsencode(root) + b"/" + ODD)).write_bytes(b"odd\n")
