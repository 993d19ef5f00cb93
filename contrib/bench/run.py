#!/usr/bin/env python3
"""Compare n2s with restic and borg on this machine.

Everything happens below one scratch folder, which is removed at the end. All programs run with
their defaults, encrypt, compress, and write into a folder on the same disk; they take turns.
CSV, table and plot go to .bench/ in the current directory.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import snapshots
import trees
from measure import MIB, CommandFailed, Cost, adopt_orphans, measured, settle
from report import Run, fill, plot, table, write_csv
from tools import TOOLS, Borg, N2s, Restic, install

CASES = {
    "a": "many files, first push",
    "b": "large files, first push",
    "c": "many files, unchanged",
    "d": "many files, some changed",
    "ea": "many files, restore",
    "eb": "large files, restore",
}
MILLION = (100_000, 1_000_000)
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
AnyTool = N2s | Restic | Borg


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases",
        default="a,b,c,d,e",
        help="; ".join(f"{key}: {what}" for key, what in CASES.items()) + "; e: both restores",
    )
    parser.add_argument("--tools", default="n2s,restic,borg", help="which programs")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program (3)")
    parser.add_argument("--files", type=int, help="at most so many files in case a (all)")
    parser.add_argument("--changed", type=int, default=60, help="changed files in case d (60)")
    parser.add_argument("--size", type=int, default=500, help="MB of each large file (500)")
    parser.add_argument("--settle", type=float, default=2, help="seconds between runs (2)")
    parser.add_argument(
        "--million",
        nargs="?",
        const=",".join(map(str, MILLION)),
        metavar="COUNT,..",
        help="instead: first pushes of generated trees of so many files, without and with hard"
        " links, n2s against restic (100000,1000000)",
    )
    parser.add_argument(
        "--snapshots",
        nargs="?",
        const=",".join(map(str, MILLION)),
        metavar="COUNT,..",
        help="instead: changed files between two snapshots of such trees on a btrfs (as root)",
    )
    parser.add_argument("--dir", type=Path, help="scratch folder, made and removed")
    parser.add_argument("--results", type=Path, default=Path(".bench"), help="for CSV and plot")
    parser.add_argument("--docs", action="store_true", help=f"fill the table of {PAGE.name} too")
    given = parser.parse_args()
    cases = set(given.cases.split(","))
    if "e" in cases:
        cases = cases - {"e"} | {"ea", "eb"}
    given.cases = cases
    given.tools = given.tools.split(",")
    for word in (cases - CASES.keys()) | (set(given.tools) - TOOLS.keys()):
        parser.error(f"there is no {word!r}")
    return given


class Bench:
    """The runs, in one scratch folder."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        self.given = given
        self.scratch = scratch
        self.runs: list[Run] = []

    def tool(self, name: str, purpose: str) -> AnyTool:
        """A program with a fresh repository's place."""
        home = self.scratch / f"{name}-{purpose}"
        shutil.rmtree(home, ignore_errors=True)
        return TOOLS[name](home)

    def run(self, tool: AnyTool, command: list[str], cwd: Path) -> Cost:
        settle(self.given.settle)
        log = self.scratch / "log"
        return measured(command, cwd=str(cwd), environment=tool.environment, log=log)

    def record(self, case: str, tool: AnyTool, number: int, cost: Cost) -> None:
        stored_mib = trees.extent(tool.home / "store")[1] / MIB
        self.runs.append(Run(case, tool.name, number, cost, stored_mib))
        print(
            f"{number}  {case:32} {tool.name:7} {cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU"
            f" {cost.peak_mib:7.0f} MiB",
            flush=True,
        )

    def prepare(self, tool: AnyTool, tree: Path) -> None:
        self.run(tool, tool.prepare(tree), self.scratch)

    def push(self, tool: AnyTool, tree: Path, changed: Path | None = None) -> Cost:
        trees.read(tree)
        return self.run(tool, tool.push(tree, changed), self.scratch)

    def restore(self, tool: AnyTool, tree: Path) -> Cost:
        """Restores, and sees that everything is there."""
        target = self.scratch / "restored"
        target.mkdir()
        cost = self.run(tool, tool.restore(tree, target), target)
        here, there = trees.extent(tree), trees.extent(tool.restored(tree, target))
        if here != there:
            sys.exit(f"{tool.name} restored {there} files and bytes instead of {here}")
        shutil.rmtree(target)
        return cost

    def round(self, number: int, many: Path, large: Path) -> None:
        """One turn of every program in every case."""
        cases = self.given.cases
        tools = [self.tool(name, "many") for name in self.given.tools]
        if cases - {"b", "eb"}:
            self.each("a", number, tools, lambda tool: self.first(tool, many))
            self.each("c", number, tools, lambda tool: self.push(tool, many))
            if "d" in cases:
                changed = self.scratch / "changed"
                paths = trees.change(many, self.given.changed, number)
                changed.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
                self.each("d", number, tools, lambda tool: self.push(tool, many, changed))
            self.each("ea", number, tools, lambda tool: self.restore(tool, many))
        if cases & {"b", "eb"}:
            self.clear(tools)
            tools = [self.tool(name, "large") for name in self.given.tools]
            self.each("b", number, tools, lambda tool: self.first(tool, large))
            self.each("eb", number, tools, lambda tool: self.restore(tool, large))
        self.clear(tools)

    def each(
        self, case: str, number: int, tools: list[AnyTool], step: Callable[[AnyTool], Cost]
    ) -> None:
        """The step for every program; what others build on is done even if nobody asked for it."""
        wanted = case in self.given.cases
        if not wanted and case not in {"a", "b"}:
            return
        first = (number - 1) % len(tools)
        for tool in tools[first:] + tools[:first]:  # nobody is always the first after a clean-up
            cost = step(tool)
            if wanted:
                self.record(CASES[case], tool, number, cost)

    def first(self, tool: AnyTool, tree: Path) -> Cost:
        self.prepare(tool, tree)
        return self.push(tool, tree)

    def clear(self, tools: list[AnyTool]) -> None:
        for tool in tools:
            shutil.rmtree(tool.home)

    def compare(self) -> None:
        """Cases a to e."""
        many, large = self.scratch / "many", self.scratch / "large"
        if self.given.cases - {"b", "eb"}:
            trees.copy_machine(many, self.given.files)
            self.announce("many files", many)
        if self.given.cases & {"b", "eb"}:
            trees.large_files(large, self.given.size * 1_000_000)
            self.announce("large files", large)
        for number in range(1, self.given.rounds + 1):
            self.round(number, many, large)

    def million(self) -> None:
        """First pushes of growing trees."""
        names = [name for name in self.given.tools if name != "borg"]
        for count in map(int, self.given.million.split(",")):
            for linked in (False, True):
                tree = self.scratch / "generated"
                trees.many_files(tree, count, linked=linked)
                what = f"{count:,} files" + (", 70 % linked" if linked else "")
                self.announce(what, tree)
                for number in range(1, self.given.rounds + 1):
                    for name in names:
                        tool = self.tool(name, "generated")
                        self.record(what, tool, number, self.first(tool, tree))
                        self.clear([tool])
                shutil.rmtree(tree)

    def snapshots(self) -> None:
        """A hundred changed files between two snapshots of growing trees."""
        for count in map(int, self.given.snapshots.split(",")):
            with snapshots.mounted(self.scratch, count) as top:
                tree, place = top / "tree", self.scratch / "shown"
                snapshots.btrfs("subvolume", "create", tree)
                trees.many_files(tree / "files", count, linked=False)
                self.announce(f"{count:,} files on btrfs", tree)
                made = [self.tool(name, "btrfs") for name in self.given.tools]
                tools = [tool for tool in made if not isinstance(tool, Borg)]
                for tool in tools:
                    self.run(tool, [*tool.prepare(tree), *tool.by_btrfs], self.scratch)
                changes = snapshots.Changes(tree / "files", self.given.changed)
                before = None
                for number in range(self.given.rounds + 1):
                    changes.make(number)
                    taken = top / f"snapshot-{number}"
                    snapshots.btrfs("subvolume", "snapshot", "-r", tree, taken)
                    with snapshots.shown_at(taken, place):
                        trees.warm(place)
                        for tool in tools:
                            cost = self.run(tool, tool.push_snapshot(taken, place), self.scratch)
                            if number:
                                case = f"{count:,} files, {self.given.changed} changed"
                                self.record(case, tool, number, cost)
                    if before is not None:
                        self.time_send(before, taken)
                    before = taken
                for tool in tools:
                    snapshots.forget(tool.home)

    def time_send(self, before: Path, taken: Path) -> None:
        """What btrfs itself needs, for comparison."""
        command = ["btrfs", "-q", "send", "--no-data", "-p", str(before), str(taken)]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"   btrfs send --no-data: {time.monotonic() - started:.3f} s", flush=True)

    @staticmethod
    def announce(what: str, tree: Path) -> None:
        """Says how large the tree is, and reads it once."""
        count, size = trees.extent(tree)
        print(f"{what}: {count:,} files, {size / MIB:,.0f} MiB", flush=True)
        trees.warm(tree)


def main() -> int:
    given = arguments()
    install(given.tools)
    adopt_orphans()
    if given.dir is not None:
        given.dir.mkdir(parents=True)
    scratch = Path(given.dir or tempfile.mkdtemp(prefix="n2s-bench-")).absolute()
    bench = Bench(given, scratch)
    versions = [TOOLS[name](scratch).version() for name in given.tools]
    versions.append(f"Python {platform.python_version()}")
    machine = f"{os.cpu_count()} processors; {'; '.join(versions)}"
    print(machine, flush=True)
    try:
        if given.million:
            bench.million()
        elif given.snapshots:
            bench.snapshots()
        else:
            bench.compare()
    except CommandFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch)
    given.results.mkdir(exist_ok=True)
    write_csv(bench.runs, given.results / "runs.csv")
    text = f"{machine}; medians of {given.rounds}\n\n{table(bench.runs)}"
    (given.results / "table.md").write_text(text + "\n")
    print(f"\n{text}\n")
    if given.docs:
        kind = "growth" if given.million else "snapshots" if given.snapshots else "cases"
        fill(PAGE, kind, text)
    if not plot(bench.runs, given.results / "wall.png"):
        print("(no plot: matplotlib is not installed)")
    print(f"Results are in {given.results}/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
