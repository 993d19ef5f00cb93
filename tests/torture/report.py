"""The table of counts, and where it goes."""

import os
import platform
from pathlib import Path

from tests.torture.trying import Count

BEGIN, END = "<!-- made by make torture: begin -->", "<!-- made by make torture: end -->"


def table(rows: dict[str, Count]) -> str:
    """Markdown, in the order of the names."""
    lines = ["| what is done | tried | lost | stored twice | unnoticed |", "|---|---|---|---|---|"]
    for name, count in sorted(rows.items()):
        shown = ("-" if one is None else one for one in (count.twice, count.unnoticed))
        lines.append(f"| {' | '.join(map(str, (name, count.tried, count.lost, *shown)))} |")
    return "\n".join(lines)


def write(page: Path, rows: dict[str, Count], *, minutes: float, seed: int) -> None:
    """Put the table between the markers of a page; everything else stays."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    release = ".".join(platform.release().split(".")[:2])
    how = (
        f"`make torture MINUTES={minutes:g} SEED={seed}`, Linux {release},"
        f" Python {platform.python_version()}, {os.cpu_count()} processors:"
    )
    page.write_text(f"{before}{BEGIN}\n{how}\n\n{table(rows)}\n{END}{after}")
