"""Texts for people: sizes, times, tables; and values that people write."""

import re
import time
from collections.abc import Iterable, Sequence

from n2s_core.clock import SECOND_NS
from n2s_core.errors import UsageError

_PERCENT = re.compile(r"\d+(\.\d+)?%?")
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
KILO = 1000


def size_text(size: int) -> str:
    """Bytes with a decimal unit: 40.1 MB."""
    if size < KILO:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= KILO
        if value < KILO:
            return f"{value:.1f} {unit}"
    return f"{value / KILO:.1f} EB"


def time_text(time_ns: int | None) -> str:
    """A local time to the second; "never" for None."""
    if time_ns is None:
        return "never"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // SECOND_NS))
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> list[str]:
    """Aligned lines; the columns whose heads are in `right` (comma-separated) to the right."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    to_right = set(right.split(",")) - {""}
    return [
        "  ".join(
            cell.rjust(width) if head in to_right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


def is_percent(text: str) -> bool:
    """Whether it looks like 5, 12.5 or 5%."""
    return _PERCENT.fullmatch(text) is not None


def parse_percent(text: str, option: str) -> float:
    """5, 12.5 or 5%, from 0 to 100. Raises UsageError."""
    if is_percent(text):
        value = float(text.removesuffix("%"))
        if value <= 100:  # noqa: PLR2004 - percent
            return value
    message = f"{option} takes a percentage from 0 to 100, such as 5 or 5%, not {text!r}."
    raise UsageError(message)


def parse_options(given: Iterable[str], option: str = "-o") -> dict[str, list[str]]:
    """The values of each KEY of an option that takes KEY=VALUE. Raises UsageError."""
    found: dict[str, list[str]] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            example = {"-o": "newer-than=7d"}.get(option, "timeout=5m")
            message = f"{option} takes KEY=VALUE, such as {option} {example}, not {one!r}."
            raise UsageError(message)
        found.setdefault(key, []).append(value)
    return found


def parse_yes(key: str, values: Sequence[str]) -> bool:
    """Whether the last value is true. Raises UsageError."""
    if not values:
        return False
    found = _YES.get(values[-1].lower())
    if found is None:
        message = f"-o {key}={values[-1]} is neither true nor false."
        raise UsageError(message)
    return found


def parse_seconds(text: str | None, option: str) -> float | None:
    """Seconds such as 0.5; None for None. Raises UsageError."""
    if text is None:
        return None
    if _SECONDS.fullmatch(text) is None:
        message = f"{option} takes seconds, such as 0.5 or 1, not {text!r}."
        raise UsageError(message)
    return float(text)
