"""The options of the plugin."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from n2s_core.errors import DiscoveryError

NAMES = ("snapshot", "feed", "prefix", "keep", "max-changes", "max-minutes")
FEEDS = ("send", "diff")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

KEPT = 2
FEWEST_CHANGES = 10_000
OBJECTS_PER_CHANGE = 20
FEWEST_OBJECTS = 100_000
OBJECTS_PER_OBJECT = 5
SHORTEST_WAIT_S = 600.0
WAIT_S_PER_OBJECT = 0.001


@dataclass(frozen=True, slots=True)
class Limits:
    """When `zfs diff` is stopped, after so many changes, or `zfs send`, after so many objects."""

    changes: int
    objects: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Options:
    """What the user wishes; None: as usual."""

    snapshot: str | None
    feed: str
    prefix: str
    keep: int
    max_changes: int | None
    max_minutes: int | None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "Options":
        """Raises DiscoveryError for an option that the plugin does not have, or a wrong value."""
        unknown = sorted(set(options) - set(NAMES))
        if unknown:
            message = f"The zfs plugin has no option {unknown[0]!r}; it has {', '.join(NAMES)}."
            raise DiscoveryError(message)
        snapshot = options.get("snapshot")
        if snapshot is not None:
            _judge_snapshot(snapshot, options)
        feed = options.get("feed", FEEDS[0])
        if feed not in FEEDS:
            message = f"feed={feed!r} is none; there are {' and '.join(FEEDS)}."
            raise DiscoveryError(message)
        prefix = options.get("prefix", "n2s")
        if _PREFIX.fullmatch(prefix) is None:
            message = (
                f"prefix={prefix!r} cannot be part of the name of a snapshot; use A-Za-z0-9_.:-"
            )
            raise DiscoveryError(message)
        keep = _number(options, "keep", 0)
        return cls(
            snapshot,
            feed,
            prefix,
            KEPT if keep is None else keep,
            _number(options, "max-changes", 0),
            _number(options, "max-minutes", 1),
        )

    def limits(self, objects: int) -> Limits:
        """The limits for a dataset of so many objects.

        `zfs diff` costs up to some twenty times as much per change as a walk per file, so after
        one change in twenty objects a walk would have been done. An object of `zfs send` costs a
        few looks at its directory, at itself and at the catalogue.
        """
        changes, wait_s = self.max_changes, None
        named = self.max_changes
        if self.max_minutes is not None:
            wait_s = self.max_minutes * 60.0
        if changes is None:
            changes = max(FEWEST_CHANGES, objects // OBJECTS_PER_CHANGE)
        if wait_s is None:
            wait_s = max(SHORTEST_WAIT_S, objects * WAIT_S_PER_OBJECT)
        if named is None:
            named = max(FEWEST_OBJECTS, objects // OBJECTS_PER_OBJECT)
        return Limits(changes, named, wait_s)


def _judge_snapshot(snapshot: str, options: Mapping[str, str]) -> None:
    dataset, _, name = snapshot.partition("@")
    if not dataset or not name or "@" in name or dataset.startswith("-"):
        message = f"snapshot={snapshot!r} is no snapshot; write POOL/DATASET@NAME."
        raise DiscoveryError(message)
    for other in ("prefix", "keep"):
        if other in options:
            message = f"With snapshot=... the plugin takes none itself, so {other} means nothing."
            raise DiscoveryError(message)


def _number(options: Mapping[str, str], name: str, least: int) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < least:
        message = f"{name}={text!r} is no number from {least} on."
        raise DiscoveryError(message)
    return int(text)
