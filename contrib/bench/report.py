"""What was measured, as CSV, as a table and as a plot."""

import csv
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from measure import Cost

COLUMNS = ("case", "tool", "round", "wall_s", "cpu_s", "peak_mib", "total_mib", "stored_mib")


class Run(NamedTuple):
    """One measured run; `stored_mib` is the size of the repository afterwards."""

    case: str
    tool: str
    number: int
    cost: Cost
    stored_mib: float


class Median(NamedTuple):
    """The runs of one case and tool together."""

    case: str
    tool: str
    cost: Cost
    stored_mib: float


def write_csv(runs: list[Run], path: Path) -> None:
    """One line a run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for run in runs:
            numbers = [f"{value:.3f}" for value in (*run.cost, run.stored_mib)]
            writer.writerow([run.case, run.tool, run.number, *numbers])


def medians(runs: list[Run]) -> list[Median]:
    """In the order in which case and tool were first run."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.case, run.tool), []).append(run)
    return [
        Median(
            case,
            tool,
            Cost(*(statistics.median(column) for column in zip(*costs, strict=True))),
            statistics.median(one.stored_mib for one in group),
        )
        for (case, tool), group in groups.items()
        for costs in [[one.cost for one in group]]
    ]


def table(runs: list[Run]) -> str:
    """Markdown. `n2s is` says how many times less wall and processor time n2s took."""
    found = medians(runs)
    ours = {one.case: one.cost for one in found if one.tool == "n2s"}
    heads = ["case", "tool", "wall s", "CPU s", "largest process MiB", "all processes MiB"]
    heads += ["stored MiB", "n2s is, wall", "n2s is, CPU"]
    lines = [f"| {' | '.join(heads)} |", f"|---|---{'|--:' * (len(heads) - 2)}|"]
    for case, tool, cost, stored_mib in found:
        ratios = ["", ""]
        if tool != "n2s" and case in ours:
            ratios = [
                f"{cost.wall_s / ours[case].wall_s:.2f} x",
                f"{cost.cpu_s / ours[case].cpu_s:.2f} x",
            ]
        numbers = [f"{cost.wall_s:.2f}", f"{cost.cpu_s:.2f}"]
        sizes = [f"{size:.0f}" for size in (cost.peak_mib, cost.total_mib, stored_mib)]
        lines.append("| " + " | ".join([case, tool, *numbers, *sizes, *ratios]) + " |")
    return "\n".join(lines)


def fill(page: Path, section: str, text: str) -> None:
    """Put the text between the two marks that the page has for this section."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, first, rest = page.read_text().partition(begin)
    _, second, after = rest.partition(end)
    if not first or not second:
        sys.exit(f"{page} has no lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def plot(runs: list[Run], path: Path) -> bool:
    """Bars of wall time, one group for each case; False without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional, and heavy while others are measured
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of the backend

    found = medians(runs)
    cases = list(dict.fromkeys(one.case for one in found))
    tools = list(dict.fromkeys(one.tool for one in found))
    figure, axes = plt.subplots(figsize=(2 + 1.6 * len(cases), 4), layout="constrained")
    width = 0.8 / len(tools)
    for number, tool in enumerate(tools):
        bars = list(_bars(found, cases, tool))
        places = [place + number * width for place, _ in bars]
        drawn = axes.bar(places, [height for _, height in bars], width, label=tool)
        axes.bar_label(drawn, fmt="%.1f", fontsize=7)
    axes.set_xticks([place + (len(tools) - 1) * width / 2 for place in range(len(cases))], cases)
    axes.set_ylabel("seconds (log scale)")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path, dpi=120)
    return True


def _bars(found: list[Median], cases: list[str], tool: str) -> Iterator[tuple[int, float]]:
    for one in found:
        if one.tool == tool:
            yield cases.index(one.case), one.cost.wall_s
