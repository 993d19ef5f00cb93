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


def first_push(scratch: Path, workers: int, given: argparse.Namespace, number: int) -> float:
    """Seconds of a first push with so many workers, each on its own processor."""
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
        before = time.monotonic()
        subprocess.run([*start, "push"], env=environment, check=True)
        seconds = time.monotonic() - before
        for one in started:
            one.end()
    shutil.rmtree(home)
    return seconds


def main() -> int:
    given = arguments()
    if len(os.sched_getaffinity(0)) < 2:  # noqa: PLR2004 - one for each worker
        print("This takes two processors.", file=sys.stderr)
        return 2
    scratch = Path(given.dir or tempfile.mkdtemp(prefix="n2s-bench-")).absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    runs: list[tuple[int, int, float]] = []
    try:
        make_tree(scratch / "tree", given.size)
        for number in range(1, given.rounds + 1):
            for workers in (1, 2) if number % 2 else (2, 1):
                seconds = first_push(scratch, workers, given, number)
                runs.append((number, workers, seconds))
                print(f"{number}  {workers} worker(s) {seconds:8.2f} s", flush=True)
    finally:
        shutil.rmtree(scratch)
    given.results.mkdir(exist_ok=True)
    with (given.results / "workers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("round", "workers", "wall_s"))
        writer.writerows(runs)
    one, two = (
        statistics.median(seconds for _, workers, seconds in runs if workers == count)
        for count in (1, 2)
    )
    ratios = sorted(
        next(s for n, w, s in runs if (n, w) == (number, 1))
        / next(s for n, w, s in runs if (n, w) == (number, 2))
        for number in range(1, given.rounds + 1)
    )
    text = (
        f"{given.size} MiB of text, compression {given.compression}; medians of {given.rounds}\n\n"
        "| workers | wall s | MiB/s | of one |\n|--:|--:|--:|--:|\n"
        f"| 1 | {one:.1f} | {given.size / one:.0f} | 1.00 x |\n"
        f"| 2 | {two:.1f} | {given.size / two:.0f} | {one / two:.2f} x |\n\n"
        f"Round by round two workers were {ratios[0]:.2f} to {ratios[-1]:.2f} times as fast."
    )
    print(f"\n{text}\n")
    if given.docs:
        fill(PAGE, given.docs, text)
    return 0 if one / two >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
