"""Time: integers, nanoseconds since 1970, UTC; text is ISO 8601 with an offset."""

import re
import time
from datetime import UTC, datetime

from n2s_core.errors import UsageError

SECOND_NS = 1_000_000_000
_AGE = re.compile(r"(\d+)([smhdw])")
_AGE_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def now_ns() -> int:
    """The wall clock in nanoseconds."""
    return time.time_ns()


def boot_ns() -> int:
    """Nanoseconds since this machine started, also while it slept; nobody can set this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def iso(time_ns: int) -> str:
    """ISO 8601 in UTC with microseconds; years outside 1..9999 come as plain nanoseconds."""
    seconds, rest_ns = divmod(time_ns, SECOND_NS)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
    return moment.replace(microsecond=rest_ns // 1000).isoformat(timespec="microseconds")


def parse_iso(text: str) -> int:
    """Nanoseconds of an ISO 8601 time; one without an offset is in the local zone.

    Raises UsageError when `text` is not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time; write it like 2026-11-21T14:30+01:00 or 2026-11-21."
        raise UsageError(message) from None
    return int(moment.astimezone(UTC).timestamp() * 1_000_000) * 1000


def parse_age(text: str) -> int:
    """Nanoseconds of an age such as 90m, 12h, 7d. Raises UsageError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        message = f"{text!r} is no age; write for example 90m, 12h, 7d or 2w."
        raise UsageError(message)
    return int(match[1]) * _AGE_S[match[2]] * SECOND_NS
