"""Whom missing and damaged objects concern: paths and changesets, in lists of a bounded length."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

from n2s_core.model import Affected
from n2s_core.relpath import RelPath

MOST_OBJECTS = 1000
MOST_PATHS = 100_000
MOST_NAMED = 100


class WhoNeeds(Protocol):
    """What is asked of the catalogue."""

    def affected(self, object_nos: set[int]) -> Iterator[Affected]:
        """Versions that need one of these objects, by path."""

    def changeset_ids(self) -> dict[int, bytes]:
        """The changesets, oldest first."""


@dataclass(slots=True)
class Concern:
    """Whom one object concerns: the first of the paths and changesets, and how many there are."""

    paths: list[RelPath] = field(default_factory=list)
    path_count: int = 0
    changeset_ids: list[bytes] = field(default_factory=list)
    changeset_count: int = 0
    _last: RelPath | None = None
    _turns: dict[int, int] = field(default_factory=dict)

    def add(self, one: Affected) -> None:
        """A version; they come by path."""
        self._turns[one.valid_from] = self._turns.get(one.valid_from, 0) + 1
        self._turns[one.valid_to] = self._turns.get(one.valid_to, 0) - 1
        if one.path == self._last:
            return
        self._last = one.path
        self.path_count += 1
        if len(self.paths) < MOST_NAMED:
            self.paths.append(one.path)

    def finish(self, changesets: Mapping[int, bytes]) -> None:
        """Which changesets have one of the versions in them."""
        ends = sorted(self._turns)
        depths = dict(zip(ends, accumulate(self._turns[end] for end in ends), strict=True))
        depth = 0
        waiting = iter(ends)
        end = next(waiting, None)
        for number, identity in changesets.items():
            while end is not None and end <= number:
                depth, end = depths[end], next(waiting, None)
            if depth:
                self.changeset_count += 1
                if len(self.changeset_ids) < MOST_NAMED:
                    self.changeset_ids.append(identity)


@dataclass(slots=True)
class Concerns:
    """Whom a number of objects concern, by the name of the object and all together."""

    of: dict[str, Concern] = field(default_factory=dict)
    paths: list[RelPath] = field(default_factory=list)
    path_count: int = 0


def concerns(catalogue: WhoNeeds, objects: Mapping[int, str]) -> Concerns:
    """Whom these objects (number: name) concern; of more than MOST_OBJECTS only all together."""
    found = Concerns()
    if not objects:
        return found
    detailed = dict(list(objects.items())[:MOST_OBJECTS])
    found.of = {name: Concern() for name in detailed.values()}
    last: RelPath | None = None
    for one in catalogue.affected(set(objects)):
        for number in one.object_nos & detailed.keys():
            found.of[detailed[number]].add(one)
        if one.path != last:
            last = one.path
            found.path_count += 1
            if len(found.paths) < MOST_PATHS:
                found.paths.append(one.path)
    changesets = catalogue.changeset_ids()
    for concern in found.of.values():
        concern.finish(changesets)
    return found
