"""Where shards go: the rule, against all placements that there are."""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest

from n2s_core.errors import UsageError
from n2s_core.remotes import Mode, RemoteSet, RemoteTable
from n2s_core.stores.placement import Rule, counts_for, groups_of, judge, place, rule_of


def every_count(n: int, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not sizes:
        if n == 0:
            yield ()
        return
    for count in range(min(n, sizes[0]) + 1):
        for rest in every_count(n - count, sizes[1:]):
            yield (count, *rest)


def survives_all_losses(counts: Sequence[int], rule: Rule) -> bool:
    """By trying them: every `rg` groups are lost, and of each other one `rn` shards."""
    used = [count for count in counts if count]
    return all(
        sum(max(0, count - rule.rn) for at, count in enumerate(used) if at not in lost) >= rule.m
        for lost in combinations(range(len(used)), min(rule.rg, len(used)))
    )


def fitting(rule: Rule, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Z: sets of groups that are large enough and not too many, and what may lie on them."""
    d = rule.n - rule.m
    usable = [size if size >= rule.rn else 0 for size in sizes]
    most = len(sizes) if rule.rn == 0 else d // rule.rn + rule.rg
    return [
        counts
        for counts in every_count(rule.n, usable)
        if len([one for one in counts if one]) <= most and survives_all_losses(counts, rule)
    ]


@pytest.mark.parametrize("seed", range(150))
def test_a_placement_is_found_exactly_when_there_is_one(seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.randint(1, 5) for _ in range(chance.randint(1, 5))]
    n = chance.randint(1, min(9, sum(sizes)))
    rule = Rule(n, chance.randint(1, n), chance.randint(0, 2), chance.randint(0, 2))
    found = counts_for(rule, sizes)
    there_are = fitting(rule, sizes)
    assert (found is not None) == bool(there_are), (rule, sizes, there_are[:3])
    if found is not None:
        assert tuple(found) in there_are


def remotes(groups: Sequence[int]) -> dict[str, list[str]]:
    return {f"g{at}": [f"g{at}r{one}" for one in range(size)] for at, size in enumerate(groups)}


@pytest.mark.parametrize(
    ("n", "m", "rg", "rn", "sizes"),
    [
        (15, 10, 1, 0, [5] * 3),
        (15, 10, 1, 0, [3] * 5),
        (15, 10, 0, 1, [3] * 5),
        (4, 2, 2, 0, [1] * 4),
        (8, 3, 1, 1, [2] * 4),
        (9, 4, 1, 1, [3] * 3),
        (20, 16, 1, 0, [4] * 5),
    ],
)
def test_what_can_be_placed_is(n: int, m: int, rg: int, rn: int, sizes: list[int]) -> None:
    rule = Rule(n, m, rg, rn)
    chosen = place(rule, remotes(sizes), b"name")
    assert chosen is not None
    assert len(set(chosen)) == n
    counts = [sum(one.startswith(f"g{at}r") for one in chosen) for at in range(len(sizes))]
    assert survives_all_losses(counts, rule)


@pytest.mark.parametrize(
    ("n", "m", "rg", "rn", "sizes"),
    [
        (15, 10, 1, 1, [5] * 3),
        (15, 10, 1, 1, [3] * 5),
        (15, 10, 1, 1, [1] * 15),
        (15, 10, 1, 0, [8] * 2),
        (8, 4, 1, 1, [2] * 4),
        (9, 5, 1, 1, [3] * 3),
        (4, 2, 0, 0, [1, 1, 1]),
    ],
)
def test_what_cannot_be_placed_is_refused(
    n: int, m: int, rg: int, rn: int, sizes: list[int]
) -> None:
    assert place(Rule(n, m, rg, rn), remotes(sizes), b"name") is None


def test_the_same_name_is_placed_the_same_and_names_are_spread() -> None:
    rule, groups = Rule(3, 2), remotes([1] * 10)
    assert place(rule, groups, b"one") == place(rule, groups, b"one")
    used = {one for at in range(100) for one in place(rule, groups, bytes([at])) or ()}
    assert len(used) == 10


def a_set(groups: Sequence[str], **keys: int) -> RemoteSet:
    tables = tuple(
        RemoteTable(f"r{at}", f"file:/r{at}", group=group) for at, group in enumerate(groups)
    )
    return RemoteSet(Mode.ERASURE, tables, **keys)  # type: ignore[arg-type]


def test_a_setting_that_no_placement_fits_is_refused_in_words() -> None:
    wanted = a_set(["a"] * 8 + ["b"] * 8, minimal_shards=10, expected_shards=15, redundant_groups=1)
    with pytest.raises(UsageError, match=r"15 shards .* any 10 .*groups of 8, 8.*1 groups"):
        judge(wanted)


def test_a_remote_without_a_group_is_a_group() -> None:
    wanted = a_set(["", "", "x", "x"], minimal_shards=2, expected_shards=3)
    judge(wanted)
    assert sorted(map(len, groups_of(wanted, {"r0", "r1", "r2", "r3"}).values())) == [1, 1, 2]
    assert rule_of(wanted) == Rule(3, 2)
