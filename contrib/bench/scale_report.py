"""What was measured at several sizes: growth, a table, plots."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MILLION = 1_000_000
KILO = 1_000
SHORT_S = 0.05
NUMBERS = ("wall_s", "cpu_s", "peak_mib")


class Point(NamedTuple):
    """One measurement. `cpu_s` is that of all processes, `peak_mib` of the largest one."""

    case: str
    tool: str
    size: int
    wall_s: float
    cpu_s: float
    peak_mib: float


def size_text(size: int) -> str:
    """100k, 20M."""
    if size >= MILLION:
        return f"{size / MILLION:g}M"
    return f"{size / KILO:g}k"


def growth(points: Sequence[Point]) -> float | None:
    """The exponent e of CPU time that grows as size**e; None of a single size."""
    there = [(math.log(one.size), math.log(one.cpu_s)) for one in points if one.cpu_s > 0]
    if len({size for size, _ in there}) < 2:  # noqa: PLR2004 - a line takes two points
        return None
    middle = [sum(column) / len(there) for column in zip(*there, strict=True)]
    above = sum((x - middle[0]) * (y - middle[1]) for x, y in there)
    below = sum((x - middle[0]) ** 2 for x, _ in there)
    return float(above / below)


def groups(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """The points of each case and tool by size, in the order in which they were measured."""
    found: dict[tuple[str, str], list[Point]] = {}
    for one in points:
        found.setdefault((one.case, one.tool), []).append(one)
    return {key: sorted(some, key=lambda one: one.size) for key, some in found.items()}


def table(points: Sequence[Point]) -> str:
    """Markdown: CPU seconds and largest process at each size, and the exponent of growth."""
    sizes = sorted({one.size for one in points})
    heads = ["case", "tool"]
    heads += [f"{size_text(size)}: CPU s" for size in sizes]
    heads += [f"{size_text(size)}: MiB" for size in sizes]
    heads += ["growth"]
    lines = [f"| {' | '.join(heads)} |", f"|---|---{'|--:' * (len(heads) - 2)}|"]
    for (case, tool), some in groups(points).items():
        at = {one.size: one for one in some}
        cells = [case, tool]
        cells += [_seconds(at[size].cpu_s) if size in at else "" for size in sizes]
        cells += [f"{at[size].peak_mib:.0f}" if size in at else "" for size in sizes]
        exponent = growth(some)
        cells.append("" if exponent is None else f"{exponent:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= SHORT_S else f"{value:.5f}"


def write_csv(points: Sequence[Point], path: Path) -> None:
    """One line a point."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Point._fields)
        writer.writerows(points)


def read_csv(path: Path) -> list[Point]:
    """What an earlier run measured; nothing when there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Point(one["case"], one["tool"], int(one["size"]), *(float(one[key]) for key in NUMBERS))
            for one in csv.DictReader(file)
        ]


def plot(points: Sequence[Point], folder: Path) -> bool:
    """CPU time and memory over the size, as SVG; False without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional, and heavy while others are measured
    except ImportError:
        return False
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "n2s"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of the backend

    for column, label in (("cpu_s", "CPU seconds"), ("peak_mib", "MiB of the largest process")):
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        for (case, tool), some in groups(points).items():
            if len(some) > 1:
                across = [one.size for one in some]
                axes.plot(
                    across, [getattr(one, column) for one in some], "o-", label=f"{case}, {tool}"
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows, or files")
        axes.set_ylabel(label)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6, ncols=2)
        figure.savefig(folder / f"scale-{column.split('_')[0]}.svg", metadata={"Date": None})
        plt.close(figure)
    return True
