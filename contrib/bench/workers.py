#!/usr/bin/env python3
"""What a second worker brings: first pushes of one tree, sealed by one worker and by two.

Each worker is `n2s worker` with one process, held to a processor of its own; scheduler and push run
beside. The tree is text, which takes more time to compress than to read. They take turns; every
push begins with an empty store. Everything lies below one scratch folder, which is removed.
"""

import argparse
import csv
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import trees
from measure import MIB, settle
from report import fill

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.workers.cluster import PROGRAM, WorkerProcess, cluster

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PASSPHRASE = "a passphrase of the benchmark"  # noqa: S105 - protects nothing
FILE_MIB = 4
LIMIT = 1.7


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1500, help="MiB of text (1500)")
    parser.add_argument("--compression", type=int, default=6, help="level of zstd (6)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (3)")
    parser.add_argument("--settle", type=float, default=1, help="seconds between runs (1)")
    parser.add_argument("--dir", type=Path, help="scratch folder, made and removed")
    parser.add_argument("--results", type=Path, default=Path(".bench"), help="for the CSV")
    parser.add_argument("--docs", metavar="SECTION", help=f"fill this section of {PAGE.name} too")
    return parser.parse_args()


def make_tree(tree: Path, size_mib: int) -> None:
    """Files of text, no two alike."""
    trees.large_files(tree.with_name("text"), 16 * MIB, ("words",))
    (text,) = (path.read_bytes() for path in tree.with_name("text").iterdir())
    chance = random.Random(size_mib)  # noqa: S311 - the same each time
    tree.mkdir()
    for number in range(size_mib // FILE_MIB):
        at = chance.randrange(len(text) - FILE_MIB * MIB)
        part = text[at : at + FILE_MIB * MIB]
        (tree / f"{number:06}").write_bytes(b"%d\n" % number + part)
    trees.warm(tree)


class Run(NamedTuple):
    """One push: wall seconds, processor seconds of the workers, and of push and scheduler."""

    number: int
    workers: int
    wall_s: float
    workers_cpu_s: float
    beside_cpu_s: float


def cpu_s(pids: list[int]) -> float:
    """Processor seconds of processes that run."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def first_push(scratch: Path, workers: int, given: argparse.Namespace, number: int) -> Run:
    """A first push with so many workers, each on its own processor."""
    home = scratch / f"run-{number}-{workers}"
    home.mkdir()
    config = home / "config" / "config.toml"
    start = [*PROGRAM, "--quiet", "--config", str(config)]
    environment = {**os.environ, "N2S_PASSPHRASE": PASSPHRASE}
    store = ["--store", str(home / "store")]
    subprocess.run([*start, "init", str(scratch / "tree"), *store], env=environment, check=True)
    with cluster(home / "cluster") as made:
        text = config.read_text().replace(
            "[store]", f"[store]\ncompression = {given.compression}", 1
        )
        workers_table = f'executor = "dask"\nscheduler = "{made.address}"'
        config.write_text(f"{text}\n[workers]\n{workers_table}\n")
        processors = sorted(os.sched_getaffinity(0))[:workers]
        words = ("--processes", "1")
        started: list[WorkerProcess] = [
            made.worker(
                config, *words, prefix=["taskset", "-c", str(one)], N2S_PASSPHRASE=PASSPHRASE
            )
            for one in processors
        ]
        settle(given.settle)
        assert made.scheduler is not None
        pids = [pid for one in started for pid in (one.process.pid, *one.sealing())]
        idle_s, beside_s, before = cpu_s(pids), cpu_s([made.scheduler.pid]), time.monotonic()
        children = os.times()
        subprocess.run([*start, "push"], env=environment, check=True)
        wall_s = time.monotonic() - before
        used = os.times()
        push_s = used.children_user + used.children_system
        push_s -= children.children_user + children.children_system
        found = Run(
            number,
            workers,
            wall_s,
            cpu_s(pids) - idle_s,
            push_s + cpu_s([made.scheduler.pid]) - beside_s,
        )
        for one in started:
            one.end()
    shutil.rmtree(home)
    return found


def median(runs: list[Run]) -> Run:
    """Field by field."""
    return Run(*(statistics.median(column) for column in zip(*runs, strict=True)))


def main() -> int:
    given = arguments()
    if len(os.sched_getaffinity(0)) < 2:  # noqa: PLR2004 - one for each worker
        print("This takes two processors.", file=sys.stderr)
        return 2
    scratch = Path(given.dir or tempfile.mkdtemp(prefix="n2s-bench-")).absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    try:
        make_tree(scratch / "tree", given.size)
        for number in range(1, given.rounds + 1):
            for workers in (1, 2) if number % 2 else (2, 1):
                runs.append(first_push(scratch, workers, given, number))
                print(
                    f"{number}  {workers} worker(s) {runs[-1].wall_s:8.2f} s,"
                    f" CPU of workers {runs[-1].workers_cpu_s:.2f} s,"
                    f" beside {runs[-1].beside_cpu_s:.2f} s",
                    flush=True,
                )
    finally:
        shutil.rmtree(scratch)
    given.results.mkdir(exist_ok=True)
    with (given.results / "workers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Run._fields)
        writer.writerows(runs)
    one, two = (median([run for run in runs if run.workers == count]) for count in (1, 2))
    ratio = one.wall_s / two.wall_s
    lines = [
        f"| {run.workers:.0f} | {run.wall_s:.1f} | {given.size / run.wall_s:.0f}"
        f" | {run.workers_cpu_s:.1f} | {run.beside_cpu_s:.1f} | {one.wall_s / run.wall_s:.2f} x |"
        for run in (one, two)
    ]
    text = (
        f"{given.size} MiB of text, compression {given.compression}; medians of {given.rounds}\n\n"
        "| workers | wall s | MiB/s | CPU s of the workers | CPU s beside | of one |\n"
        "|--:|--:|--:|--:|--:|--:|\n" + "\n".join(lines)
    )
    print(f"\n{text}\n")
    if given.docs:
        fill(PAGE, given.docs, text)
    return 0 if ratio >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
