"""Which remotes get the shards of an object, so that the losses asked for can be survived.

Remotes that are more likely to be lost together form a group. With `n` shards of which any `m`
suffice, `rg` groups may be lost, and in each of the others `rn` remotes. So a placement fits when,
without the `rg` groups that hold most, the sum of `max(0, count - rn)` over the others is at
least `m`. At most `floor((n - m) / rn) + rg` groups are used, any number when `rn` is 0.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from n2s_core.errors import UsageError
from n2s_core.remotes import RemoteSet


@dataclass(frozen=True, slots=True)
class Rule:
    """What a placement has to survive: `rg` groups and, in each of the others, `rn` remotes."""

    n: int
    m: int
    rg: int = 0
    rn: int = 0

    @property
    def most_groups(self) -> int:
        """How many groups may hold shards."""
        return (self.n - self.m) // self.rn + self.rg if self.rn else self.n

    def survives(self, counts: Collection[int]) -> bool:
        """Whether shards that lie so in the groups survive what the rule says."""
        rest = sorted(counts)[: max(0, len(counts) - self.rg)]
        return sum(max(0, count - self.rn) for count in rest) >= self.m

    def fits(self, counts: Collection[int]) -> bool:
        """Whether all shards lie so, in as many groups as are allowed."""
        used = [count for count in counts if count]
        return sum(used) == self.n and len(used) <= self.most_groups and self.survives(used)


def counts_for(rule: Rule, sizes: Sequence[int]) -> list[int] | None:
    """How many shards each group gets, given their sizes; None when no placement fits.

    The one whose fullest groups are least full. For every bound `top` on the groups that are not
    lost it suffices to look at one distribution: the groups that may be lost hold `top` each, and
    the others are filled up one after the other, because every group begun costs `rn`.
    """
    usable = [size if size >= rule.rn else 0 for size in sizes]
    for top in range(1, max(usable, default=0) + 1):
        counts = _filled(rule, usable, top)
        if counts is not None and rule.fits(counts):
            return counts
    return None


def _filled(rule: Rule, sizes: Sequence[int], top: int) -> list[int] | None:
    for by_size in (False, True):  # the largest may be lost only when the others lack room
        order = sorted(
            range(len(sizes)), key=lambda at: -(sizes[at] if by_size else min(sizes[at], top))
        )
        lost, rest = order[: rule.rg], order[rule.rg : rule.most_groups]
        left = rule.n - top * len(lost)
        if len(lost) < rule.rg or left < 0 or any(sizes[at] < top for at in lost):
            continue
        counts = [0] * len(sizes)
        for at in lost:
            counts[at] = top
        rest.sort(key=lambda at: -min(sizes[at], top))
        for at in rest:
            counts[at] = min(sizes[at], top, left)
            left -= counts[at]
        for at in lost:
            more = min(left, sizes[at] - top)
            counts[at] += more
            left -= more
        if not left:
            return counts
    return None


def place(rule: Rule, groups: Mapping[str, Sequence[str]], seed: bytes) -> list[str] | None:
    """The remotes of the shards in the order of their indexes; None when no placement fits.

    `groups` are names of remotes by group. Which of equal groups, and of the remotes in a group,
    is chosen at random; the same `seed` and groups give the same choice.
    """
    chance = random.Random(seed)  # noqa: S311 - spreads load, keeps no secret
    names = sorted(groups)
    chance.shuffle(names)
    counts = counts_for(rule, [len(groups[name]) for name in names])
    if counts is None:
        return None
    chosen = [
        remote
        for name, count in zip(names, counts, strict=True)
        for remote in chance.sample(sorted(groups[name]), count)
    ]
    chance.shuffle(chosen)
    return chosen


def rule_of(wanted: RemoteSet) -> Rule:
    """The rule of a set."""
    return Rule(
        wanted.expected_shards,
        wanted.minimal_shards,
        wanted.redundant_groups,
        wanted.redundant_nodes,
    )


def groups_of(wanted: RemoteSet, names: Collection[str]) -> dict[str, list[str]]:
    """These remotes by group; one without a group is alone in its own."""
    found: dict[str, list[str]] = {}
    for one in wanted.remotes:
        if one.name in names:
            found.setdefault(
                f"group {one.group}" if one.group else f"remote {one.name}", []
            ).append(one.name)
    return found


def judge(wanted: RemoteSet) -> None:
    """Raise UsageError when no placement fits."""
    rule = rule_of(wanted)
    groups = groups_of(wanted, [one.name for one in wanted.remotes])
    if counts_for(rule, [len(members) for members in groups.values()]) is not None:
        return
    sizes = ", ".join(str(size) for size in sorted(map(len, groups.values()), reverse=True))
    message = (
        f"{rule.n} shards of which any {rule.m} suffice cannot be placed on groups of {sizes}"
        f" remotes so that {rule.rg} groups, and {rule.rn} remotes in each of the others, may be"
        f" lost: only {rule.n - rule.m} shards may be lost. Lower redundant_groups,"
        " redundant_nodes or minimal_shards, or add groups."
    )
    raise UsageError(message)
