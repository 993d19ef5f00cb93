"""Which changesets a policy keeps; the rules are those that restic documents for its `forget`."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MINYEAR, datetime, timedelta
from typing import NamedTuple

from n2s_core.clock import SECOND_NS
from n2s_core.errors import UsageError

UNLIMITED = -1
HOUR_NS = 3600 * SECOND_NS
HOURS_A_DAY = 24
MONTHS_A_YEAR = 12
_PART = re.compile(r"(\d{1,9})([ymdh])", re.ASCII)
_FIRST_S, _LAST_S = -62_135_510_400, 253_402_214_400
"""2 January of the year 1 and 30 December 9999: a calendar goes no farther."""


class Candidate(NamedTuple):
    """What the policy looks at of one changeset; `created_ns` is in ns since 1970 UTC."""

    created_ns: int
    tags: frozenset[str] = frozenset()
    pinned: bool = False


class Duration(NamedTuple):
    """A stretch of the calendar, counted backwards: years and months are those of the calendar."""

    years: int
    months: int
    days: int
    hours: int

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read for example 1y5m7d2h; `m` is months. Raises UsageError."""
        parts = _PART.findall(text.strip())
        if not parts or "".join(number + unit for number, unit in parts) != text.strip():
            message = f"{text!r} is no duration; write for example 14d, 1y6m or 36h (m is months)."
            raise UsageError(message)
        total = dict.fromkeys("ymdh", 0)
        for number, unit in parts:
            total[unit] += int(number)
        return cls(*total.values())

    @property
    def fixed_ns(self) -> int:
        """The time in ns. Raises UsageError when months or years are in it, which differ."""
        if self.years or self.months:
            message = "A time of grace is in days and hours, such as 24h or 7d."
            raise UsageError(message)
        return (self.days * HOURS_A_DAY + self.hours) * HOUR_NS

    def before(self, time_ns: int) -> int | None:
        """The time that lies this far before another; None when no calendar goes back so far."""
        wall, rest_ns = _wall(time_ns), time_ns % SECOND_NS
        months = wall.year * MONTHS_A_YEAR + wall.month - 1
        year, month = divmod(months - self.years * MONTHS_A_YEAR - self.months, MONTHS_A_YEAR)
        if year <= MINYEAR:
            return None
        try:
            first = wall.replace(year=year, month=month + 1, day=1)
            begin = first + timedelta(days=wall.day - 1 - self.days)
            return int(begin.timestamp()) * SECOND_NS + rest_ns - self.hours * HOUR_NS
        except (OverflowError, ValueError):
            return None


def _wall(time_ns: int) -> datetime:
    """The local calendar and clock; periods are those of local time."""
    seconds = min(max(time_ns // SECOND_NS, _FIRST_S), _LAST_S)
    return datetime.fromtimestamp(seconds)  # noqa: DTZ006 - local on purpose


def _hour(wall: datetime) -> tuple[int, ...]:
    return (wall.year, wall.month, wall.day, wall.hour)


def _week(wall: datetime) -> tuple[int, ...]:
    return tuple(wall.isocalendar()[:2])


PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": _hour,
    "daily": lambda wall: (wall.year, wall.month, wall.day),
    "weekly": _week,
    "monthly": lambda wall: (wall.year, wall.month),
    "yearly": lambda wall: (wall.year,),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept; a changeset that nothing of this names is forgotten.

    `counts` has the number of changesets for "last" and of each period (-1: all of them);
    `within` and `within_periods` count back from the newest changeset; each member of `tags` keeps
    the changesets that have all tags in it.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    within: Duration | None = None
    within_periods: Mapping[str, Duration] = field(default_factory=dict)
    tags: tuple[frozenset[str], ...] = ()

    def is_empty(self) -> bool:
        """Whether it says nothing, and would keep nothing."""
        return not (any(self.counts.values()) or self.within or self.within_periods or self.tags)


def judged_count(text: str, where: str) -> int:
    """A number of changesets; `unlimited` and -1 mean all. Raises UsageError."""
    if text.strip().lower() == "unlimited":
        return UNLIMITED
    try:
        found = int(text)
    except ValueError:
        found = UNLIMITED - 1
    if found < UNLIMITED:
        message = f"{where} is {text!r}; it takes a number of changesets, or 'unlimited'."
        raise UsageError(message)
    return found


def judged_policy(words: Mapping[str, object], where: Callable[[str], str]) -> Policy:
    """The policy in keys such as keep_daily, keep_within, keep_within_daily and keep_tag.

    `where(key)` is how a message calls the key. Raises UsageError.
    """
    counts = {
        name: judged_count(str(given), where(f"keep_{name}"))
        for name in ("last", *PERIODS)
        if (given := words.get(f"keep_{name}")) not in (None, "", 0)
    }
    spans = {name: _span(words.get(f"keep_within_{name}")) for name in PERIODS}
    tags = tuple(_tag_list(one) for one in _strings(words.get("keep_tag")))
    return Policy(
        counts,
        _span(words.get("keep_within")),
        {name: span for name, span in spans.items() if span is not None},
        tuple(one for one in tags if one),
    )


def _span(given: object) -> Duration | None:
    """None also for a duration of nothing, which is no rule."""
    found = Duration.parse(str(given)) if given else Duration(0, 0, 0, 0)
    return found if any(found) else None


def _strings(given: object) -> Iterable[str]:
    return [str(one) for one in given] if isinstance(given, list | tuple) else []


def _tag_list(text: str) -> frozenset[str]:
    return frozenset(one for one in text.split(",") if one)


def judge(policy: Policy, candidates: Sequence[Candidate], now_ns: int) -> list[tuple[str, ...]]:
    """For each candidate, oldest first, why it is kept; nothing for those that are forgotten.

    Kept are in any case the last candidate, which is the state of the dataset, and pinned ones.
    """
    reasons: list[list[str]] = [[] for _ in candidates]
    order = sorted(range(len(candidates)), key=lambda at: (candidates[at].created_ns, at))
    order.reverse()
    past = [one.created_ns for one in candidates if one.created_ns < now_ns]
    latest_ns = max(past, default=0)
    for at in order:
        one, why = candidates[at], reasons[at]
        why.extend(
            f"tags {','.join(sorted(wanted))}" for wanted in policy.tags if wanted <= one.tags
        )
        if policy.within is not None and _is_within(one, policy.within, latest_ns):
            why.append("within")
    _keep_counted(policy, candidates, order, reasons)
    _keep_within(policy, candidates, order, reasons, latest_ns=latest_ns)
    for why, one in zip(reasons, candidates, strict=True):
        if one.pinned:
            why.append("pinned")
    if reasons:
        reasons[-1].append("newest")
    return [tuple(why) for why in reasons]


def _is_within(one: Candidate, span: Duration, latest_ns: int) -> bool:
    begin_ns = span.before(latest_ns)
    return begin_ns is None or one.created_ns > begin_ns


def _keep_counted(
    policy: Policy, candidates: Sequence[Candidate], order: list[int], reasons: list[list[str]]
) -> None:
    """The newest of each period, as many periods as there are; and the oldest of all.

    The oldest candidate is kept for a period whose number is not used up, so that a history that
    is younger than the policy keeps its beginning.
    """
    for name, count in policy.counts.items():
        left, last = count, None
        for position, at in enumerate(order):
            if not left:
                break
            one = candidates[at]
            here = (position,) if name == "last" else PERIODS[name](_wall(one.created_ns))
            if here != last or position == len(order) - 1:
                reasons[at].append(name if here != last else f"oldest {name}")
                last = here
                left -= left > 0


def _keep_within(
    policy: Policy,
    candidates: Sequence[Candidate],
    order: list[int],
    reasons: list[list[str]],
    *,
    latest_ns: int,
) -> None:
    """The newest of each period, as far as a duration before the newest changeset goes back."""
    for name, span in policy.within_periods.items():
        last = None
        for at in order:
            here = PERIODS[name](_wall(candidates[at].created_ns))
            if here != last and _is_within(candidates[at], span, latest_ns):
                reasons[at].append(f"{name} within")
                last = here
