"""Promise: the rules of `forget` keep what restic's rules keep, and never less than they must."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from n2s_core.clock import SECOND_NS
from n2s_core.errors import UsageError
from n2s_core.retention import PERIODS, UNLIMITED, Candidate, Duration, Policy, judge, judged_policy

TABLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "restic-forget.json").read_text("ascii")
)
"""What restic itself answered to these policies (`restic forget --dry-run --json`, in UTC)."""
LATER_NS = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS
DAY_NS = 24 * 3600 * SECOND_NS


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from zone(monkeypatch, "UTC")


def zone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


def policy(**words: object) -> Policy:
    return judged_policy(words, str)


def kept(found: list[tuple[str, ...]]) -> list[int]:
    return [number for number, reasons in enumerate(found) if reasons]


@pytest.mark.parametrize("case", TABLE["policies"], ids=lambda one: json.dumps(one["rules"]))
def test_what_restic_keeps_is_kept_and_the_newest(case: dict[str, Any]) -> None:
    snapshots = TABLE["snapshots"]
    candidates = [Candidate(at(one["time"]), frozenset(one["tags"])) for one in snapshots]
    found = judge(judged_policy(case["rules"], str), candidates, LATER_NS)
    times = {snapshots[number]["time"] for number in kept(found)}
    assert times == {*case["kept"], snapshots[-1]["time"]}


def test_periods_are_those_of_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """23:30 and 00:30 UTC are one day in Auckland, and two days in London."""
    candidates = [Candidate(at("2024-07-01T23:30:00")), Candidate(at("2024-07-02T00:30:00"))]
    rules = policy(keep_daily=2)
    assert kept(judge(rules, [*candidates, Candidate(at("2024-07-02T00:40:00"))], LATER_NS)) == [
        0,
        2,
    ]
    for _ in zone(monkeypatch, "Pacific/Auckland"):
        three = [Candidate(at("2024-06-20T00:00:00")), *candidates]
        assert kept(judge(rules, three, LATER_NS)) == [0, 2]


def test_a_time_from_the_future_does_not_move_what_is_within() -> None:
    candidates = [Candidate(at("2024-05-01T00:00:00")), Candidate(LATER_NS + DAY_NS)]
    assert judge(policy(keep_within="1d"), candidates, LATER_NS)[0] == ("within",)


def test_times_that_no_calendar_has_are_judged_all_the_same() -> None:
    candidates = [Candidate(-(1 << 62)), Candidate(0), Candidate(1 << 62)]
    rules = policy(keep_yearly=9, keep_within="1y", keep_within_daily="999999999y")
    assert kept(judge(rules, candidates, LATER_NS)) == [0, 1, 2]


def test_of_a_month_ago_the_day_is_counted_on_as_a_calendar_does() -> None:
    """31 March less one month is 31 February: 2 March of a leap year."""
    assert Duration(0, 1, 0, 0).before(at("2024-03-31T12:00:00")) == at("2024-03-02T12:00:00")
    assert Duration(1, 2, 3, 4).before(at("2024-01-01T05:00:00")) == at("2022-10-29T01:00:00")


@pytest.mark.parametrize("text", ["", "1", "d", "1w", "1d 2h", "-1d", "1.5d", "1d!", "٣d", "1D"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        Duration.parse(text)


def test_a_time_of_grace_has_a_fixed_length() -> None:
    assert Duration.parse("1d12h").fixed_ns == 36 * 3600 * SECOND_NS
    for text in ("1m", "1y"):
        with pytest.raises(UsageError, match="days and hours"):
            _ = Duration.parse(text).fixed_ns


@pytest.mark.parametrize("text", ["-2", "many", "1.5", "1 2"])
def test_what_is_no_number_of_changesets_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="keep_weekly"):
        policy(keep_weekly=text)


@pytest.mark.parametrize("word", ["-1", "unlimited", "Unlimited", -1])
def test_unlimited_keeps_the_newest_of_every_period(word: object) -> None:
    candidates = [Candidate(number * DAY_NS // 2) for number in range(1, 100)]
    found = judge(policy(keep_daily=word), candidates, LATER_NS)
    assert policy(keep_daily=word).counts == {"daily": UNLIMITED}
    assert len(kept(found)) == 50


@pytest.mark.parametrize(
    "words",
    [{}, {"keep_last": 0}, {"keep_daily": "0", "keep_within": "0d"}, {"keep_tag": [""]},
     {"keep_within_daily": "0h"}],
)  # fmt: skip
def test_rules_that_keep_nothing_are_no_rules(words: dict[str, object]) -> None:
    assert policy(**words).is_empty()


# -- for any history and any rules -------------------------------------------------------------

TIMES = st.integers(0, 4 * 365 * 24).map(
    lambda hours: at("2020-01-01T00:00:00") + hours * 3600 * SECOND_NS
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        TIMES,
        st.frozensets(st.sampled_from("ab")),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=40,
)
SPANS = st.builds(Duration, st.just(0), st.integers(0, 3), st.integers(0, 40), st.integers(0, 30))
POLICIES = st.builds(
    Policy,
    st.dictionaries(st.sampled_from(["last", *PERIODS]), st.integers(-1, 6)),
    st.none() | SPANS,
    st.dictionaries(st.sampled_from(list(PERIODS)), SPANS, max_size=2),
    st.lists(st.frozensets(st.sampled_from("ab"), min_size=1), max_size=2).map(tuple),
)


@given(POLICIES, CANDIDATES)
def test_the_newest_and_the_pinned_are_always_kept(
    rules: Policy, candidates: list[Candidate]
) -> None:
    found = judge(rules, candidates, LATER_NS)
    assert len(found) == len(candidates)
    assert all(found[-1:])
    assert all(reasons for one, reasons in zip(candidates, found, strict=True) if one.pinned)


@given(POLICIES, CANDIDATES)
def test_rules_that_are_applied_again_forget_nothing_more(
    rules: Policy, candidates: list[Candidate]
) -> None:
    candidates.sort(key=lambda one: one.created_ns)
    left = [candidates[number] for number in kept(judge(rules, candidates, LATER_NS))]
    assert kept(judge(rules, left, LATER_NS)) == list(range(len(left)))


@given(POLICIES, CANDIDATES, st.sampled_from(["last", *PERIODS]))
def test_a_greater_number_keeps_all_that_a_smaller_one_keeps(
    rules: Policy, candidates: list[Candidate], name: str
) -> None:
    few = {**rules.counts, name: 2}
    many = {**rules.counts, name: 3}
    less = kept(
        judge(Policy(few, rules.within, rules.within_periods, rules.tags), candidates, LATER_NS)
    )
    more = kept(
        judge(Policy(many, rules.within, rules.within_periods, rules.tags), candidates, LATER_NS)
    )
    assert set(less) <= set(more)
