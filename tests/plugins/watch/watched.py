"""What the tests of watching share."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from n2s_core.excludes import Excludes
from n2s_core.model import Change, ChangeKind, Mark, Source
from n2s_core.ports import Recording
from n2s_core.relpath import RelPath, ancestors
from n2s_core.walking import Walk
from n2s_plugins.watch import Watch
from tests.cli.program import Program
from tests.trees import describe, differences

OWN = frozenset({b".n2s"})
PATIENCE_S = 60.0
QUICK = (
    "import sys, n2s_core.app.watching as app, n2s_core.cli.watching as cli;"
    " app.FIRST_PAUSE_S = 0.1; cli.FINISH_S = 0.5; cli.LEAVE_S = 0.5;"
    " from n2s_core.cli import main; main(sys.argv[1:])"
)


def until(condition: Callable[[], Any], what: str) -> Any:
    """What the condition gives once it is true; a test that waits for ever fails."""
    last = time.monotonic() + PATIENCE_S
    while time.monotonic() < last:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"It never happened: {what}")


@dataclass(frozen=True)
class Said:
    """One answer of the discoverer; `hints` is None of a walk."""

    until: Mark | None
    hints: dict[RelPath, ChangeKind] | None
    fallback: str | None

    def names(self, path: bytes) -> bool:
        """Whether the core will look at the path."""
        if self.hints is None:
            return True
        above = (self.hints.get(one) for one in ancestors(path))
        return path in self.hints or ChangeKind.SUBTREE_WRITTEN in above

    @property
    def paths(self) -> set[RelPath]:
        """What a feed names, but for the configuration, which is always looked at."""
        assert self.hints is not None, self.fallback
        return set(self.hints) - {b".n2s/config.toml"}


@dataclass
class Tree:
    """A directory and what the discoverer says of it."""

    root: Path
    dataset: str = "one"
    exclude: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)

    @property
    def excludes(self) -> Excludes:
        return Excludes(patterns=self.exclude, own_folder=b".n2s")

    def source(self) -> Source:
        excludes = self.excludes
        return Source(
            root=os.fsencode(self.root),
            dataset=self.dataset,
            walk=lambda root: Walk(root, excludes, lambda _path, _error: None),
            report=lambda _path, _error: None,
            options=self.options,
            leaves_out=lambda path: any(
                excludes.leaves_out(one, directory=True) for one in (*ancestors(path)[1:], path)
            ),
        )

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        excludes = self.excludes
        with self.watch.watch(
            self.source(), ignores=lambda path: excludes.leaves_out(path, directory=False)
        ) as recording:
            yield recording

    def ask(self, since: Mark | None = None) -> Said:
        with self.watch.discover(self.source(), since) as found:
            if found.complete:
                return Said(found.until, None, found.fallback)
            hints: dict[RelPath, ChangeKind] = {}
            for change in found.changes:
                assert isinstance(change, Change)
                assert change.path not in hints
                hints[change.path] = change.kind
            return Said(found.until, hints, None)

    def mark(self) -> Mark:
        """Where a feed may begin now."""
        found = self.ask().until
        assert found is not None
        return found


class Watching:
    """A dataset and at most one `n2s watch` of it."""

    def __init__(self, base: Path, program: Program) -> None:
        self.base = base
        self.program = program
        self.root = program.root
        self.store = program.store
        self.pushes: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._pulls = 0

    def start(self, *words: str, delay: str = "1s", **env: str) -> None:
        """Returns when changes are recorded, before anything was pushed."""
        assert self._process is None
        self.pushes, self.errors = [], []
        command = [sys.executable, "-c", QUICK, "watch", "--json", "--delay", delay, *words]
        process = self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.root,
            env=self.program.environment(**env),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read_pushes, args=(process.stdout,)),
            threading.Thread(target=self._read_errors, args=(process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()
        until(lambda: self.said("Recording the changes"), "recording begins")

    def _read_pushes(self, lines: Any) -> None:
        for line in lines:
            self.pushes.append(json.loads(line))

    def _read_errors(self, lines: Any) -> None:
        for line in lines:
            self.errors.append(line.decode())

    def said(self, words: str) -> str | None:
        """The first line on stderr with these words. One that ended without them fails the test."""
        ended = self._process is not None and self._process.poll() is not None
        found = next((line for line in list(self.errors) if words in line), None)
        if found is None and ended:
            pytest.fail(f"It ended without saying {words!r}: {self.errors}")
        return found

    def caught_up(self) -> dict[str, Any]:
        """The first push."""
        until(lambda: self.pushes, "the first push")
        return self.pushes[0]

    def until_stored(self, path: str) -> None:
        """Until a push has stored the path."""
        until(lambda: path in self.stored(), f"{path} is stored")

    def stored(self) -> set[str]:
        return {one["path"] for one in self.program.json("list")} if self.pushes else set()

    def push(self) -> dict[str, Any]:
        """A push by hand, which waits for those that are under way."""
        while True:
            done = subprocess.run(
                [sys.executable, "-m", "n2s_core", "push", "--json"],
                capture_output=True,
                check=False,
                cwd=self.root,
                env=self.program.environment(),
            )
            found: dict[str, Any] = json.loads(done.stdout)
            if "Another push" not in found.get("error", ""):
                assert done.returncode == 0, found
                return found

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has one."""
        assert self._process is not None
        code = self._process.wait(PATIENCE_S)
        self._join()
        assert not any("Traceback" in line for line in self.errors), self.errors
        return code

    def kill(self) -> None:
        """As a power failure would, but for the machine."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._join()

    def _join(self) -> None:
        assert self._process is not None
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self._process = None

    def assert_restores(self) -> None:
        self._pulls += 1
        target = self.base / f"pull-{self._pulls}"
        self.program.run("pull", "--target-path", target)
        wanted = describe(self.root, ignore=OWN)
        assert differences(wanted, describe(target, ignore=OWN)) == []
