"""Several remotes as one store: what the user asks for, judged.

A set travels as a URL, `set:` and its canonical JSON, so that every process that gets the URL of
a store can open it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from n2s_core.errors import ConfigError

SCHEME = "set"
PREFIX = f"{SCHEME}:"
MOST_SHARDS = 255
_Word = TypeVar("_Word", bound=StrEnum)


class Mode(StrEnum):
    """How the objects of a store lie on its remotes."""

    MIRROR = "mirror"
    ERASURE = "erasure"


class Metadata(StrEnum):
    """How keys and changesets lie on the remotes of an erasure-coded store."""

    COPIES = "copies"
    ZSTOR = "zstor"


@dataclass(frozen=True, slots=True)
class RemoteTable:
    """`[[store.remotes]]`: of two remotes that work the one with the lower `priority` is read.

    Remotes of one `group` are more likely to be lost together; without one each stands alone.
    """

    name: str
    url: str
    priority: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class RemoteSet:
    """The remotes of a store and how objects lie on them.

    `minimum` is how many remotes have to confirm an object; 0 stands for the default, which is one
    copy, or one shard more than is needed.
    """

    mode: Mode
    remotes: tuple[RemoteTable, ...]
    minimum: int = 0
    minimal_shards: int = 0
    expected_shards: int = 0
    redundant_groups: int = 0
    redundant_nodes: int = 0
    metadata: Metadata = Metadata.COPIES

    @classmethod
    def judged(cls, found: Mapping[str, Any], where: str) -> "RemoteSet":
        """From the keys of a table. Raises ConfigError that begins with `where`."""
        values = _typed(found, _KINDS, where)
        listed = values.get("remotes")
        if not listed:
            message = (
                f"{where}: a store with a mode needs remotes: [[remotes]] with name and url in a"
                " file of its own, [[store.remotes]] in the configuration."
            )
            raise ConfigError(message)
        values["remotes"] = tuple(_remote(one, where) for one in listed)
        values["mode"] = _word(Mode, values.get("mode", ""), f"{where}: mode")
        metadata = values.get("metadata", Metadata.COPIES)
        values["metadata"] = _word(Metadata, metadata, f"{where}: metadata")
        made = cls(**values)
        problem = made.problem()
        if problem:
            message = f"{where}: {problem}"
            raise ConfigError(message)
        return made

    @classmethod
    def from_url(cls, url: str) -> "RemoteSet":
        """The set that `to_url` wrote. Raises ConfigError."""
        try:
            found = json.loads(url.removeprefix(PREFIX))
        except (ValueError, RecursionError):
            found = None
        if not url.startswith(PREFIX) or not isinstance(found, dict):
            message = "The URL of this store is not that of a set of remotes."
            raise ConfigError(message)
        return cls.judged(found, "the URL of the store")

    def to_table(self) -> dict[str, Any]:
        """The keys that are not the default."""
        found = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) != one.default
        }
        found["mode"] = self.mode.value
        if "metadata" in found:
            found["metadata"] = self.metadata.value
        found["remotes"] = [
            {key: value for key, value in asdict(one).items() if value not in (0, "")}
            for one in self.remotes
        ]
        return found

    def to_url(self) -> str:
        """As one string that is equal for equal sets."""
        table = json.dumps(self.to_table(), ensure_ascii=False, sort_keys=True)
        return PREFIX + table

    def with_urls(self, change: Callable[[str], str]) -> "RemoteSet":
        """The same set with every URL changed. Raises ConfigError when two become the same."""
        remotes = tuple(replace(one, url=change(one.url)) for one in self.remotes)
        made = replace(self, remotes=remotes)
        problem = made.problem()
        if problem:
            raise ConfigError(problem)
        return made

    @property
    def needed(self) -> int:
        """How many remotes have to confirm an object."""
        if self.minimum:
            return self.minimum
        if self.mode is Mode.MIRROR:
            return 1
        return min(self.minimal_shards + 1, self.expected_shards)

    def __str__(self) -> str:
        """For people."""
        names = ", ".join(one.name for one in self.remotes)
        if self.mode is Mode.MIRROR:
            return f"a mirror of {names}"
        return f"{self.minimal_shards} of {self.expected_shards} shards on {names}"

    def problem(self) -> str:
        """What does not fit, in words; empty when all does."""
        names = [one.name for one in self.remotes]
        if len(set(names)) < len(names):
            return "two remotes have the same name."
        if len({one.url for one in self.remotes}) < len(names):
            return "two remotes have the same URL, so one loss would be two."
        shards = (self.minimal_shards, self.expected_shards)
        if self.mode is Mode.MIRROR:
            if any(shards) or self.redundant_groups or self.redundant_nodes:
                return "a mirror has no shards, and no redundant groups or nodes."
            if not 0 <= self.minimum <= len(names):
                return f"minimum is {self.minimum}, and there are {len(names)} remotes."
            return ""
        return self._erasure_problem(*shards, remotes=len(names))

    def _erasure_problem(self, minimal: int, expected: int, *, remotes: int) -> str:
        if not 1 <= minimal <= expected <= MOST_SHARDS:
            return (
                f"minimal_shards is {minimal} and expected_shards {expected}; the first is at"
                f" least 1, the second at least the first and at most {MOST_SHARDS}."
            )
        if remotes < expected:
            return f"expected_shards is {expected}, and there are only {remotes} remotes."
        if min(self.redundant_groups, self.redundant_nodes) < 0:
            return "redundant_groups and redundant_nodes are not negative."
        if self.minimum and not minimal <= self.minimum <= expected:
            return (
                f"minimum is {self.minimum}; it lies between minimal_shards ({minimal}) and"
                f" expected_shards ({expected})."
            )
        if self.metadata is Metadata.ZSTOR and (remotes < ZSTOR_SHARDS or expected - minimal > 2):  # noqa: PLR2004 - two of the four may be lost
            return (
                'metadata = "zstor" takes four remotes and survives the loss of two of them; here'
                f" are {remotes}, and the data survive the loss of {expected - minimal}."
            )
        return ""


def names_in(url: str) -> frozenset[str]:
    """The names of the remotes in the URL of a store; none when it is no set."""
    if not url.startswith(PREFIX):
        return frozenset()
    return frozenset(one.name for one in RemoteSet.from_url(url).remotes)


ZSTOR_SHARDS = 4
_KINDS: dict[str, type] = {
    "mode": str,
    "minimum": int,
    "minimal_shards": int,
    "expected_shards": int,
    "redundant_groups": int,
    "redundant_nodes": int,
    "metadata": str,
    "remotes": list,
}
_REMOTE_KINDS: dict[str, type] = {"name": str, "url": str, "priority": int, "group": str}
KEYS = frozenset(_KINDS)


def _word(kind: type[_Word], text: str, where: str) -> _Word:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(one.value for one in kind)
        message = f"{where} is {text!r}; there are {known}."
        raise ConfigError(message) from None


def _typed(found: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> dict[str, Any]:
    for key, value in found.items():
        if key not in kinds:
            message = f"{where}: there is no key {key!r}; there are {', '.join(kinds)}."
            raise ConfigError(message)
        if type(value) is not kinds[key]:
            message = f"{where}: {key} must be of type {kinds[key].__name__}."
            raise ConfigError(message)
    return dict(found)


def _remote(found: Any, where: str) -> RemoteTable:
    where = f"{where}, a remote"
    if not isinstance(found, dict):
        message = f"{where}: must be a table."
        raise ConfigError(message)
    values = _typed(found, _REMOTE_KINDS, where)
    if not values.get("name") or not values["name"].isprintable() or not values.get("url"):
        message = f"{where}: has a name, which can be printed, and a url."
        raise ConfigError(message)
    if values["url"].startswith(PREFIX):
        message = f"{where}: {values['name']} is a set itself."
        raise ConfigError(message)
    return RemoteTable(**values)
