#!/usr/bin/env python3
"""Compare n2s with `rclone copy` on real servers on this machine: S3, SFTP, WebDAV.

push, restore: n2s pushes a tree and pulls it; rclone copies the objects that such a push makes,
which lie ready in a folder, and copies them back. n2s reads, compresses, encrypts and confirms
besides. With --link once more, both limited to a line of so many bytes per second.
put, get: what n2s does with the same ready-made objects alone (objects.py), and rclone copy.
The last case is a tree of small files into S3, where rclone copies the files themselves.

They take turns. Everything happens below one scratch folder, which is removed. It takes up to six
times --size of disk: what was stored in a round is removed before the next one.
"""

import argparse
import filecmp
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import trees
from measure import MIB, CommandFailed, Cost, adopt_orphans, measured, settle
from report import Run, fill, plot, table, write_csv
from tools import N2s, clean_environment, first_line

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.servers import rclones
from tests.servers.seaweed import KEY, REGION, SECRET, seaweed
from tests.servers.sshd import sshd
from tests.servers.webdav import webdav

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
KINDS = ("s3", "sftp", "webdav")
OBJECTS = Path(__file__).with_name("objects.py")
OBJECT_SHELVES = ("data", "meta")
DATA = {"mixed": trees.MIXED, "random": trees.RANDOM}
DISK_SHARE = 6  # a tree, its objects, those that n2s and rclone stored, a restore, and some room


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="which servers (s3,sftp,webdav)")
    parser.add_argument("--size", type=int, default=2000, help="MB of large files (2000)")
    parser.add_argument(
        "--data", choices=DATA, default="mixed", help="half of it words, or random bytes (mixed)"
    )
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="100M",
        help="push and restore once more over a line of so many bytes per second; repeatable",
    )
    parser.add_argument("--files", type=int, default=100_000, help="small files; 0: none (100000)")
    parser.add_argument("--transfers", default="4", help="of rclone with objects (4)")
    parser.add_argument("--small-transfers", default="16", help="of rclone with small files (16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program (3)")
    parser.add_argument("--settle", type=float, default=2, help="seconds between runs (2)")
    parser.add_argument("--dir", type=Path, help="scratch folder, made and removed")
    parser.add_argument("--results", type=Path, default=Path(".bench"), help="for CSV and plot")
    parser.add_argument("--docs", metavar="SECTION", help=f"fill this section of {PAGE.name} too")
    given = parser.parse_args()
    given.kinds = given.kinds.split(",")
    for word in set(given.kinds) - set(KINDS):
        parser.error(f"there is no {word!r}")
    for link in given.link:
        if re.fullmatch(r"[1-9][0-9]*[KMG]", link) is None:
            parser.error(f"--link takes bytes per second such as 100M, not {link!r}")
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

    def limit(self, link: str) -> None:
        """Let the prepared repository use no more than this line."""
        path = self.home / "config" / "config.toml"
        before, table, after = path.read_text().partition("[store]\n")
        path.write_text(f'{before}{table}bwlimit = "{link}"\n{after}')


class Bench:
    """The runs, in one scratch folder, with the servers that run."""

    def __init__(self, given: argparse.Namespace, scratch: Path, configuration: Path) -> None:
        self.given = given
        self.scratch = scratch
        self.configuration = configuration
        self.runs: list[Run] = []
        self._environment = clean_environment({"RCLONE_CONFIG": str(configuration)})
        self._transfers = ("--transfers", given.transfers)
        self._serial = 0

    def place(self, kind: str) -> str:
        """A folder on this server where nothing is yet; of S3 a bucket, which can be purged."""
        self._serial += 1
        tops = {"s3": "bench-", "sftp": f"{self.scratch}/sftp-files/", "webdav": ""}
        return f"{kind}:{tops[kind]}{self._serial}"

    def n2s(self, remote: str) -> RemoteN2s:
        self._serial += 1
        return RemoteN2s(self.scratch / f"n2s-{self._serial}", remote, self.configuration)

    def run(self, command: list[str], environment: dict[str, str]) -> Cost:
        settle(self.given.settle)
        log = self.scratch / "log"
        return measured(command, cwd=str(self.scratch), environment=environment, log=log)

    def copy(self, source: str, target: str, *options: str) -> Cost:
        """One `rclone copy`."""
        return self.run([rclones.newest(), "copy", *options, source, target], self._environment)

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

    def turns(
        self,
        case: str,
        number: int,
        size: float,
        ours: Callable[[], Cost],
        theirs: Callable[[], Cost],
    ) -> None:
        """n2s and rclone with one case of one round; who is first changes."""
        both = [("n2s", ours), ("rclone", theirs)]
        for name, step in both if number % 2 else reversed(both):
            self.record(case, name, number, step(), size)

    def large(self, kind: str, number: int, tree: Path, objects: Path, link: str) -> None:
        """Push and restore of one round, over a line of so many bytes per second if `link`."""
        size = trees.extent(objects)[1] / MIB
        tool, copied = self.n2s(self.place(kind)), self.place(kind)
        self.run(tool.prepare(tree), tool.environment)
        suffix, options = "", [*self._transfers]
        if link:
            tool.limit(link)
            suffix = f" at {link}/s"
            options += ["--bwlimit", link]

        def restore() -> Cost:
            target = self.new_folder()
            cost = self.run(tool.restore(tree, target), tool.environment)
            self.must_equal("n2s", tree, target / "tree")
            return cost

        self.turns(
            f"{kind}, push{suffix}",
            number,
            size,
            lambda: self.run(tool.push(tree, None), tool.environment),
            lambda: self.copy(str(objects), copied, *options),
        )
        self.turns(
            f"{kind}, restore{suffix}",
            number,
            size,
            restore,
            lambda: self.copy_back(objects, copied, *options),
        )
        self.purge(tool.remote, copied)
        shutil.rmtree(tool.home)

    def ready(self, kind: str, number: int, objects: Path) -> None:
        """Put and get of one round: the store of n2s alone, with the objects that rclone has."""
        size = trees.extent(objects)[1] / MIB
        stored, copied = self.place(kind), self.place(kind)

        def command(verb: str, *more: str) -> list[str]:
            where = [f"rclone:{stored}", str(objects)]
            return [sys.executable, str(OBJECTS), verb, *where, *self._transfers, *more]

        def get() -> Cost:
            target = self.new_folder()
            cost = self.run(command("get", "--into", str(target)), self._environment)
            self.must_equal("n2s", objects, target)
            return cost

        self.turns(
            f"{kind}, put",
            number,
            size,
            lambda: self.run(command("put"), self._environment),
            lambda: self.copy(str(objects), copied, *self._transfers),
        )
        self.turns(
            f"{kind}, get",
            number,
            size,
            get,
            lambda: self.copy_back(objects, copied, *self._transfers),
        )
        self.purge(stored, copied)

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
                cost = self.copy(str(tree), copied, "--transfers", self.given.small_transfers)
            self.record(case, name, number, cost, size)
        self.purge(tool.remote, copied)
        shutil.rmtree(tool.home)

    def copy_back(self, objects: Path, copied: str, *options: str) -> Cost:
        """What rclone copied, from the server into an empty folder."""
        target = self.new_folder()
        cost = self.copy(copied, str(target), *options)
        self.must_equal("rclone", objects, target)
        return cost

    def new_folder(self) -> Path:
        """Where a restore goes; that of the one before is removed."""
        target = self.scratch / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        return target

    @staticmethod
    def must_equal(who: str, wanted: Path, found: Path) -> None:
        """Ends the program unless the same files came back, byte by byte."""
        names = [path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file()]
        same, _, _ = filecmp.cmpfiles(wanted, found, names, shallow=False)
        if len(same) != len(names) or trees.extent(wanted) != trees.extent(found):
            sys.exit(f"{who} restored {len(same)} of {len(names)} files as they were")

    def purge(self, *remotes: str) -> None:
        for remote in remotes:
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
    need = DISK_SHARE * given.size * 1_000_000
    if shutil.disk_usage(bench.scratch).free < need:
        sys.exit(f"{need / 1e9:.0f} GB of disk are needed at {bench.scratch}; see --size, --dir")
    tree = bench.scratch / "large"
    trees.large_files(tree, given.size * 1_000_000 // len(DATA[given.data]), DATA[given.data])
    objects = bench.ready_made(tree)
    print(f"large files: {trees.extent(tree)[1] / MIB:,.0f} MiB, {given.data}", flush=True)
    print("objects: {:,}, {:,.0f} MiB".format(*_objects(objects)), flush=True)
    for number in range(1, given.rounds + 1):
        for kind in given.kinds:
            for link in ("", *given.link):
                bench.large(kind, number, tree, objects, link)
            bench.ready(kind, number, objects)
    for folder in (tree, objects, bench.new_folder()):
        shutil.rmtree(folder)
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
    if given.docs:
        fill(PAGE, given.docs, text)
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
