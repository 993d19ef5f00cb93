#!/usr/bin/env python3
"""How n2s grows: catalogues of millions of rows, and first pushes of many files.

Catalogues are synthetic (scale_data.py). The figures that count are CPU seconds of all processes
of a command, the server of a database left out, and the resident memory of the largest process:
wall times say more about the disk. Rows are versions of paths, in 100 changesets.

What was measured before stays in the CSV of --results and is measured again only when asked for.
With --docs table and plots go to docs/.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

import scale_data
import trees
from measure import CommandFailed, Cost, adopt_orphans, measured
from report import fill
from scale_report import Point, plot, read_csv, size_text, table, write_csv
from tools import TOOLS, install

sys.path.insert(0, str(Path(__file__).parents[2]))

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
CASES = ("path", "short", "long", "walk", "hundred", "push", "shapes")
DATABASES = ("sqlite", "postgresql")
FOLDER = "part-00003/folder-00007"
FILE = f"{FOLDER}/document 000030701.txt"
CHANGED = 100
SHAPES = {
    "flat": "one directory",
    "deep": "300 levels",
    "long": "long names",
    "linked": "70 % links",
}
LINKED = 0.7
WORKERS = Path(__file__).with_name("workers.py")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--sizes", default="100k,1M,10M,20M", help="rows (100k,1M,10M,20M)")
    parser.add_argument("--push-sizes", default="100k,1M", help="small files (100k,1M)")
    parser.add_argument("--shape-size", default="2M", help="rows of odd trees (2M)")
    parser.add_argument("--databases", default=",".join(DATABASES), help="sqlite,postgresql")
    parser.add_argument("--tools", default="n2s,restic,borg", help="that push (n2s,restic,borg)")
    parser.add_argument(
        "--dir", type=Path, help="scratch folder; one that is there is used again, and kept"
    )
    parser.add_argument("--results", type=Path, default=Path(".bench"), help="for CSV and plots")
    parser.add_argument("--docs", action="store_true", help=f"fill {PAGE.name} too")
    given = parser.parse_args()
    given.cases, given.databases = given.cases.split(","), given.databases.split(",")
    given.tools = given.tools.split(",")
    for word in {*given.cases, *given.databases} - {*CASES, *DATABASES}:
        parser.error(f"there is no {word!r}")
    return given


class Scale:
    """The runs, below one scratch folder."""

    def __init__(self, scratch: Path, points: list[Point], server: Callable[[], str]) -> None:
        self.scratch = scratch
        self.points = points
        self._server = server
        plugin = scratch / "plugin" / "n2s_scale-0.dist-info"
        plugin.mkdir(parents=True, exist_ok=True)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: n2s-scale\nVersion: 0\n")
        (plugin / "entry_points.txt").write_text("[n2s.plugins]\nscale = scale_walk\n")
        self.environment = scale_data.environment()
        self.environment["PYTHONPATH"] += f"{os.pathsep}{plugin.parent}"

    def catalogue(self, database: str, plan: scale_data.Plan) -> Path:
        """The configuration of a dataset that is filled so."""
        name = f"{database}-{plan.shape}-{plan.linked:g}-{plan.rows}"
        folder, done = self.scratch / name, self.scratch / f"{name}.done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            url = self._server() if database == "postgresql" else None
            self._fill(folder, plan, url)
            if url is None:  # the server ends with this program
                done.touch()
        return folder / "root" / ".n2s" / "config.toml"

    def _fill(self, folder: Path, plan: scale_data.Plan, url: str | None) -> None:
        """In a process of its own: what this one used would count as used by those it starts."""
        program = Path(scale_data.__file__)
        words = [str(folder), "--rows", str(plan.rows), "--shape", plan.shape]
        words += ["--linked", str(plan.linked), *(["--catalogue", url] if url else [])]
        subprocess.run([sys.executable, program, *words], check=True, env=self.environment)

    def n2s(self, config: Path, *words: str) -> Cost:
        command = [sys.executable, "-m", "n2s_core", "--config", str(config), *words]
        log = self.scratch / "log"
        return measured(command, cwd=str(self.scratch), environment=self.environment, log=log)

    def record(self, case: str, tool: str, size: int, cost: Cost) -> None:
        point = Point(case, tool, size, cost.wall_s, cost.cpu_s, cost.peak_mib)
        same = [one for one in self.points if one[:3] == point[:3]]
        self.points[:] = [one for one in self.points if one not in same] + [point]
        print(
            f"{case:34} {tool:12} {size_text(size):>5} {cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU"
            f" {cost.peak_mib:6.0f} MiB",
            flush=True,
        )

    # -- questions -----------------------------------------------------------------------------

    def short(self, config: Path, tool: str, size: int) -> None:
        """What should not grow with the rows, and what does by little."""
        listed = subprocess.run(
            [sys.executable, "-m", "n2s_core", "--config", str(config), "changesets", "--json"],
            check=True, capture_output=True, env=self.environment,
        )  # fmt: skip
        last = [one["changeset_id"] for one in json.loads(listed.stdout)][:2]
        for words in (
            ("status",),
            ("history", FILE),
            ("where", FILE),
            ("list", FOLDER),
            ("search", f"{FOLDER}/*"),
            ("forget", "--dry-run", "--keep-last", "10"),
            ("pull", "--dry-run", "--target-path", "nowhere", FOLDER),
            ("verify",),
        ):
            self.record(f"{words[0]}", tool, size, self.n2s(config, *words))
        self.record("diff of two days", tool, size, self.n2s(config, "diff", *reversed(last)))

    def long(self, config: Path, tool: str, size: int) -> None:
        """What looks at every row."""
        self.record("list of all", tool, size, self.n2s(config, "--json-lines", "list"))
        self.record("search of all", tool, size, self.n2s(config, "search", "*77.txt"))
        self.record("prune --dry-run", tool, size, self.n2s(config, "prune", "--dry-run"))

    def path(self, config: Path, tool: str, size: int) -> None:
        """Single questions in an open catalogue, in milliseconds."""
        probe = Path(__file__).with_name("scale_probe.py")
        done = subprocess.run(
            [sys.executable, str(probe), str(config)],
            check=True, capture_output=True, env=self.environment,
        )  # fmt: skip
        for what, (first, usual) in json.loads(done.stdout).items():
            print(f"{what}, {tool}, {size_text(size)}: {usual:.2f} ms, first {first:.2f} ms")
            self.record(f"{what}, alone", tool, size, Cost(first / 1000, usual / 1000, 0, 0))

    def walk(self, config: Path, tool: str, plan: scale_data.Plan) -> None:
        """The whole tree is compared; what names its paths costs something too."""
        options = [f"rows={plan.rows}", f"shape={plan.shape}", f"linked={plan.linked:g}"]
        words = [word for option in options for word in ("-o", option)]
        cost = self.n2s(config, "push", "--dry-run", "--using", "scale", *words)
        self.record("walk compare", tool, plan.rows, cost)

    def hundred(self, config: Path, tool: str, size: int) -> None:
        """A hundred files that exist change, and are named."""
        root = config.parents[1]
        paths = [root / "real" / f"{number:03d}" / "file" for number in range(CHANGED)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("first\n")
        self.n2s(config, "push", "real")
        for path in paths:
            path.write_text("second version\n")
        named = self.scratch / "named"
        named.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
        cost = self.n2s(config, "push", "--paths-from", str(named))
        self.record("100 changes given", tool, size, cost)

    # -- trees -----------------------------------------------------------------------------------

    def push(self, names: list[str], size: int) -> None:
        """First pushes, one program after the other, and a rebuild of what n2s stored."""
        tree = self.scratch / "tree"
        trees.many_files(tree, size, linked=False)
        for name in names:
            tool = TOOLS[name](self.scratch / name)
            tool.environment["PYTHONPATH"] = self.environment["PYTHONPATH"]
            for words in (tool.prepare(tree), tool.push(tree, None)):
                trees.read(tree)
                log = self.scratch / "log"
                cost = measured(words, cwd=str(tree), environment=tool.environment, log=log)
            self.record("first push", name, size, cost)
            if name == "n2s":
                config = tool.home / "config" / "config.toml"
                self.record("rebuild", name, size, self.n2s(config, "rebuild"))
            shutil.rmtree(tool.home)
        shutil.rmtree(tree)

    def shapes(self, database: str, rows: int) -> None:
        """Trees that are not like others."""
        for shape, what in SHAPES.items():
            linked = shape == "linked"
            plan = scale_data.Plan(
                rows, "usual" if linked else shape, linked=LINKED if linked else 0.0
            )
            config = self.catalogue(database, plan)
            for name, words in (("list", ("list",)), ("pull --dry-run", _PULL)):
                self.record(f"{name}, {what}", database, rows, self.n2s(config, *words))
            self.walk(config, f"{database}, {what}", plan)


_PULL = ("pull", "--dry-run", "--target-path", "nowhere")


@contextmanager
def servers(databases: list[str]) -> Iterator[Callable[[], str]]:
    """Gives addresses of new catalogues in a PostgreSQL, if one is wanted."""
    with ExitStack() as stack:
        if "postgresql" not in databases:
            yield str
            return
        from tests.servers.postgresql import postgresql  # noqa: PLC0415 - psycopg

        yield stack.enter_context(postgresql(careful=True)).url


def measure_all(given: argparse.Namespace, scratch: Path, server: Callable[[], str]) -> None:
    """In a process that is not the parent of the servers, whose children can all be waited for."""
    adopt_orphans()
    path = given.results / "scale.csv"
    points = read_csv(path)
    try:
        measure(given, Scale(scratch, points, server))
    except CommandFailed as failure:
        print(f"scale: {failure}", file=sys.stderr)
        sys.exit(1)
    finally:
        write_csv(points, path)


def measure(given: argparse.Namespace, scale: Scale) -> None:
    for database in given.databases:
        for rows in map(scale_data.number, given.sizes.split(",")):
            plan = scale_data.Plan(rows)
            wanted = [case for case in CASES[:5] if case in given.cases]
            config = scale.catalogue(database, plan) if wanted else Path()
            for case in wanted:
                if case == "walk":
                    scale.walk(config, database, plan)
                else:
                    getattr(scale, case)(config, database, rows)
        if "shapes" in given.cases:
            scale.shapes(database, scale_data.number(given.shape_size))
    if "push" in given.cases:
        install(given.tools)
        for size in map(scale_data.number, given.push_sizes.split(",")):
            scale.push(given.tools, size)


def main() -> int:
    given = arguments()
    scratch = Path(given.dir or tempfile.mkdtemp(prefix="n2s-scale-")).absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(exist_ok=True)
    try:
        with servers(given.databases) as server:
            process = get_context("fork").Process(target=measure_all, args=(given, scratch, server))
            process.start()
            process.join()
    finally:
        if given.dir is None:
            shutil.rmtree(scratch)
    if process.exitcode:
        return process.exitcode
    points = read_csv(given.results / "scale.csv")
    text = f"{os.cpu_count()} processors; Python {platform.python_version()}\n\n{table(points)}"
    print(f"\n{text}\n")
    folder = PAGE.parent if given.docs else given.results
    if given.docs:
        fill(PAGE, "scale", text)
    if not plot(points, folder):
        print("(no plot: matplotlib is not installed)")
    if WORKERS.exists():
        print(f"Two machines beside one: {WORKERS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
