"""A scheduler of Dask and processes of `n2s worker`, as users start them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.conftest import PASSPHRASE, Dataset, environment

START_S = 60.0
_NUMBERS = count(1)
LOOK_S = 0.02
PROGRAM = [sys.executable, "-m", "n2s_core"]
_AS_OTHER = """
import n2s_core.version
n2s_core.version.__version__ = "99.0"
from n2s_core.cli import main
main()
"""
OTHER_VERSION = [sys.executable, "-c", _AS_OTHER]


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for something that comes, or fail."""
    deadline = time.monotonic() + START_S
    while not is_so():
        assert time.monotonic() < deadline, f"This did not come: {what}."
        time.sleep(LOOK_S)


@dataclass
class WorkerProcess:
    """One `n2s worker`, with a file of what it says."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def said(self, event: str) -> list[str]:
        lines = self.output.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one["text"] for one in found if one.get("event") == event]

    def errors(self) -> str:
        lines = self.output.read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("{"))

    def wait_for(self, event: str) -> str:
        until(lambda: bool(self.said(event)) or self.process.poll() is not None, event)
        found = self.said(event)
        assert found, self.output.read_text()
        return found[-1]

    def sealing(self) -> list[int]:
        """The processes that seal for it."""
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
        return found

    def give(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def give_all(self, number: signal.Signals) -> None:
        for pid in [*self.sealing(), self.process.pid]:
            os.kill(pid, number)

    def end(self) -> int:
        """As systemd ends it; the exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(START_S)


@dataclass
class Cluster:
    """A scheduler, and what was started for it."""

    folder: Path
    prefix: list[str] = field(default_factory=list)
    host: str = "127.0.0.1"
    options: list[str] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    scheduler: "subprocess.Popen[bytes] | None" = None
    port: int = 0

    @property
    def address(self) -> str:
        return json.loads((self.folder / "scheduler.json").read_text())["address"]  # type: ignore[no-any-return]

    def start(self) -> None:
        """A scheduler; at the same port when it is started again."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        command = [
            *self.prefix, sys.executable, "-m", "distributed.cli.dask_scheduler",
            "--host", self.host, "--port", str(self.port), "--no-dashboard",
            "--scheduler-file", str(file), *self.options,
        ]  # fmt: skip
        with (self.folder / "scheduler.log").open("ab") as log:
            self.scheduler = subprocess.Popen(
                command, env=environment(), stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: file.exists() and file.read_text().endswith("}"), "the scheduler")
        self.port = int(self.address.rpartition(":")[2])

    def stop(self) -> None:
        """Kill the scheduler."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()

    def end_workers(self) -> None:
        """Kill what is left of them."""
        for one in self.workers:
            if one.process.poll() is None:
                one.give_all(signal.SIGKILL)
            one.process.wait()
        self.workers.clear()

    def worker(
        self,
        config: Path,
        *words: str,
        program: list[str] | None = None,
        prefix: list[str] | None = None,
        wait: bool = True,
        **env: str,
    ) -> WorkerProcess:
        """One more worker; returns when the scheduler has it."""
        output = self.folder / f"worker-{next(_NUMBERS)}"
        command = [
            *(prefix or self.prefix), *(program or PROGRAM), "--json", "--config", str(config),
            "worker", "--scheduler", self.address, *words,
        ]  # fmt: skip
        variables = environment(**{"N2S_PASSPHRASE": PASSPHRASE, **env})
        with output.open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        found = WorkerProcess(process, output)
        self.workers.append(found)
        if wait:
            found.wait_for("ready")
        return found


@contextmanager
def cluster(folder: Path, **how: object) -> Iterator[Cluster]:
    """A scheduler that runs; everything that was started is over afterwards."""
    folder.mkdir()
    made = Cluster(folder, **how)  # type: ignore[arg-type]
    try:
        made.start()
        yield made
    finally:
        made.end_workers()
        if made.scheduler is not None:
            made.stop()


def use(dataset: Dataset, made: Cluster, **keys: str | bool) -> None:
    """Have the pushes of the dataset sealed by these workers."""
    told = {"executor": "dask", "scheduler": made.address, "patience": "60s", **keys}
    text = dataset.config.read_text().partition("\n[workers]")[0]
    lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
    dataset.config.write_text("\n".join([text, "[workers]", *lines, ""]))
