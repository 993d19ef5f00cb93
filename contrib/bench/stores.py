#!/usr/bin/env python3
"""Compare n2s with `rclone copy` on real servers on this machine: S3, SFTP, WebDAV.

n2s pushes a tree and pulls it; rclone copies the objects that such a push makes, which lie ready
in a folder, and copies them back. So rclone is the limit: n2s reads, compresses, encrypts and
confirms besides. The last case is a tree of small files into S3, where rclone copies the
files themselves. They take turns. Everything happens below one scratch folder, which is removed.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import trees
from measure import MIB, CommandFailed, Cost, adopt_orphans, measured, settle
from report import Run, plot, table, write_csv
from tools import N2s, first_line

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.servers import rclones
from tests.servers.seaweed import KEY, REGION, SECRET, seaweed
from tests.servers.sshd import sshd
from tests.servers.webdav import webdav

KINDS = ("s3", "sftp", "webdav")
OBJECT_SHELVES = ("data", "meta")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="which servers (s3,sftp,webdav)")
    parser.add_argument("--size", type=int, default=2000, help="MB of large files (2000)")
    parser.add_argument("--files", type=int, default=100_000, help="small files; 0: none (100000)")
    parser.add_argument("--transfers", default="4", help="of rclone with objects (4)")
    parser.add_argument("--small-transfers", default="16", help="of rclone with small files (16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program (3)")
    parser.add_argument("--settle", type=float, default=2, help="seconds between runs (2)")
    parser.add_argument("--dir", type=Path, help="scratch folder, made and removed")
    parser.add_argument("--results", type=Path, default=Path(".bench"), help="for CSV and plot")
    given = parser.parse_args()
    given.kinds = given.kinds.split(",")
    for word in set(given.kinds) - set(KINDS):
        parser.error(f"there is no {word!r}")
    return given


class RemoteN2s(N2s):
    """n2s with its store on a remote."""

    def __init__(self, home: Path, remote: str, configuration: Path) -> None:
        super().__init__(home)
        self.remote = remote
        self.environment |= {"RCLONE_CONFIG": str(configuration)}

    def prepare(self, tree: Path) -> list[str]:
        command = super().prepare(tree)
        store = command.index("--store") + 1
        command[store] = f"rclone:{self.remote}" if self.remote else str(self.home / "store")
        return command


class Bench:
    """The runs, in one scratch folder, with the servers that run."""

    def __init__(self, given: argparse.Namespace, scratch: Path, configuration: Path) -> None:
        self.given = given
        self.scratch = scratch
        self.configuration = configuration
        self.runs: list[Run] = []
        self._serial = 0

    def place(self, kind: str) -> str:
        """A folder on this server where nothing is yet."""
        self._serial += 1
        tops = {"s3": "bench/", "sftp": f"{self.scratch}/sftp-files/", "webdav": ""}
        return f"{kind}:{tops[kind]}{self._serial}"

    def n2s(self, remote: str) -> RemoteN2s:
        self._serial += 1
        return RemoteN2s(self.scratch / f"n2s-{self._serial}", remote, self.configuration)

    def run(self, command: list[str], environment: dict[str, str]) -> Cost:
        settle(self.given.settle)
        log = self.scratch / "log"
        return measured(command, cwd=str(self.scratch), environment=environment, log=log)

    def copy(self, source: str, target: str, transfers: str) -> Cost:
        """One `rclone copy`."""
        environment = dict(os.environ) | {"RCLONE_CONFIG": str(self.configuration)}
        command = [rclones.newest(), "copy", "--transfers", transfers, source, target]
        return self.run(command, environment)

    def record(self, case: str, tool: str, number: int, cost: Cost, stored_mib: float) -> None:
        self.runs.append(Run(case, tool, number, cost, stored_mib))
        print(
            f"{number}  {case:28} {tool:7} {cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU", flush=True
        )

    def ready_made(self, tree: Path) -> Path:
        """The objects of a push of this tree, in a folder."""
        tool = self.n2s("")
        for command in (tool.prepare(tree), tool.push(tree, None)):
            self.run(command, tool.environment)
        store = tool.home / "store"
        for folder in store.iterdir():
            if folder.name not in OBJECT_SHELVES:
                shutil.rmtree(folder)
        return store

    def large(self, kind: str, number: int, tree: Path, objects: Path) -> None:
        """Push and restore of one round; who is first changes."""
        size = trees.extent(objects)[1] / MIB
        tool, copied = self.n2s(self.place(kind)), self.place(kind)
        self.run(tool.prepare(tree), tool.environment)

        def push() -> None:
            cost = self.run(tool.push(tree, None), tool.environment)
            self.record(f"{kind}, push", "n2s", number, cost, size)

        def upload() -> None:
            cost = self.copy(str(objects), copied, self.given.transfers)
            self.record(f"{kind}, push", "rclone", number, cost, size)

        def restore() -> None:
            target = self.new_folder()
            cost = self.run(tool.restore(tree, target), tool.environment)
            self.must_equal("n2s", tree, target / "tree")
            self.record(f"{kind}, restore", "n2s", number, cost, size)

        def download() -> None:
            target = self.new_folder()
            cost = self.copy(copied, str(target), self.given.transfers)
            self.must_equal("rclone", objects, target)
            self.record(f"{kind}, restore", "rclone", number, cost, size)

        for pair in ((push, upload), (restore, download)):
            for step in pair if number % 2 else reversed(pair):
                step()
        for remote in (tool.remote, copied):
            self.purge(remote)

    def small(self, number: int, tree: Path) -> None:
        """Small files into S3."""
        size = trees.extent(tree)[1] / MIB
        case = f"s3, {self.given.files:,} files, push"
        tool, copied = self.n2s(self.place("s3")), self.place("s3")
        self.run(tool.prepare(tree), tool.environment)
        for name in ("n2s", "rclone") if number % 2 else ("rclone", "n2s"):
            trees.warm(tree)
            if name == "n2s":
                cost = self.run(tool.push(tree, None), tool.environment)
            else:
                cost = self.copy(str(tree), copied, self.given.small_transfers)
            self.record(case, name, number, cost, size)
        for remote in (tool.remote, copied):
            self.purge(remote)

    def new_folder(self) -> Path:
        """Where a restore goes; that of the one before is removed."""
        target = self.scratch / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        return target

    @staticmethod
    def must_equal(who: str, wanted: Path, found: Path) -> None:
        """Ends the program unless as many files and bytes came back."""
        if trees.extent(wanted) != trees.extent(found):
            sys.exit(f"{who} restored {trees.extent(found)} instead of {trees.extent(wanted)}")

    def purge(self, remote: str) -> None:
        rclones.run(rclones.newest(), "purge", remote, configuration=self.configuration)


@contextmanager
def servers(scratch: Path) -> Iterator[Path]:
    """All of them; gives an rclone.conf in which they are remotes."""
    s3_settings = {
        "type": "s3", "provider": "Other", "region": REGION, "force_path_style": "true",
        "access_key_id": KEY, "secret_access_key": SECRET,
    }  # fmt: skip
    configuration = scratch / "rclone.conf"
    (scratch / "sftp-files").mkdir()
    with (
        seaweed(scratch / "weed") as s3,
        sshd(scratch / "sshd") as sftp,
        webdav(scratch / "webdav") as dav,
    ):
        remotes = {
            "s3": s3_settings | {"endpoint": s3.endpoint},
            "sftp": sftp.settings,
            "webdav": dav.settings | {"pacer_min_sleep": "10us"},
        }
        rclones.write_configuration(configuration, remotes)
        yield configuration


def compare(bench: Bench) -> None:
    given = bench.given
    tree = bench.scratch / "large"
    trees.large_files(tree, given.size * 1_000_000 // 4)
    objects = bench.ready_made(tree)
    print(f"large files: {trees.extent(tree)[1] / MIB:,.0f} MiB", flush=True)
    print("objects: {:,}, {:,.0f} MiB".format(*_objects(objects)), flush=True)
    for number in range(1, given.rounds + 1):
        for kind in given.kinds:
            bench.large(kind, number, tree, objects)
    if given.files and "s3" in given.kinds:
        small = bench.scratch / "small"
        trees.many_files(small, given.files, linked=False)
        for number in range(1, given.rounds + 1):
            bench.small(number, small)


def _objects(folder: Path) -> tuple[int, float]:
    count, size = trees.extent(folder)
    return count, size / MIB


def measure_all(given: argparse.Namespace, scratch: Path, configuration: Path) -> None:
    """The body of a process that is not the parent of the servers, as it waits for all it has."""
    adopt_orphans()
    bench = Bench(given, scratch, configuration)
    versions = [N2s(scratch).version(), first_line([rclones.newest(), "version"])]
    versions.append(f"Python {platform.python_version()}")
    machine = f"{os.cpu_count()} processors; {'; '.join(versions)}"
    print(machine, flush=True)
    try:
        compare(bench)
    except CommandFailed as failure:
        sys.exit(f"bench: {failure}")
    given.results.mkdir(exist_ok=True)
    write_csv(bench.runs, given.results / "stores.csv")
    text = f"{machine}; medians of {given.rounds}\n\n{table(bench.runs)}"
    (given.results / "stores.md").write_text(text + "\n")
    print(f"\n{text}\n")
    if not plot(bench.runs, given.results / "stores.png"):
        print("(no plot: matplotlib is not installed)")


def main() -> int:
    given = arguments()
    if given.dir is not None:
        given.dir.mkdir(parents=True)
    scratch = Path(given.dir or tempfile.mkdtemp(prefix="n2s-bench-")).absolute()
    try:
        with servers(scratch) as configuration:
            arguments_of_it = (given, scratch, configuration)
            process = get_context("fork").Process(target=measure_all, args=arguments_of_it)
            process.start()
            process.join()
    finally:
        shutil.rmtree(scratch)
    return process.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
