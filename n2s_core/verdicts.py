"""What was decided about changesets after they were made: docs/format.md, section 5.9."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from n2s_core.errors import DamageError, UsageError
from n2s_core.judging import number, raw, text

LAST_NS = (1 << 63) - 1


class Standing(NamedTuple):
    """How one changeset stands.

    `forgotten_ns` is when it was forgotten, `marked_ns` when a prune first looked for what only it
    needs. Of a `swept` one something may be gone, so that it cannot be brought back.
    """

    forgotten_ns: int | None = None
    marked_ns: int | None = None
    swept: bool = False
    pinned: bool = False
    tags: frozenset[str] = frozenset()


KEPT = Standing()
_LISTS = {
    "F": "forgotten",
    "B": "brought_back",
    "S": "swept",
    "P": "pinned",
    "U": "unpinned",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, as it is stored; later ones (by time) count more. Ids are changeset ids."""

    dataset_id: bytes
    dataset: str
    made_ns: int
    forgotten: tuple[bytes, ...] = ()
    brought_back: tuple[bytes, ...] = ()
    swept: tuple[bytes, ...] = ()
    pinned: tuple[bytes, ...] = ()
    unpinned: tuple[bytes, ...] = ()
    tags: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)

    def pack(self) -> bytes:
        """The metadata of the FORGET record."""
        body: dict[str, Any] = {"d": self.dataset_id, "N": self.dataset, "t": self.made_ns}
        for key, name in _LISTS.items():
            if ids := getattr(self, name):
                body[key] = list(ids)
        if self.tags:
            body["G"] = [[identity, list(tags)] for identity, tags in self.tags.items()]
        packed: bytes = msgpack.packb(body)
        return packed

    @staticmethod
    def parse(body: Mapping[str, Any]) -> "Verdict":
        """The verdict in the metadata of a record. Raises DamageError."""
        try:
            lists = {
                name: tuple(raw(one) for one in body.get(key, ())) for key, name in _LISTS.items()
            }
            return Verdict(
                dataset_id=raw(body["d"]),
                dataset=text(body["N"]),
                made_ns=number(body["t"], most=LAST_NS),
                tags={raw(one): tuple(map(text, tags)) for one, tags in body.get("G", ())},
                **lists,
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"A verdict about changesets lacks what it must say: {error!r}."
            raise DamageError(message) from error

    def apply(self, standings: dict[bytes, Standing]) -> None:
        """What follows for the changesets that it names."""
        for one in self.forgotten:
            old = standings.get(one, KEPT)
            if old.forgotten_ns is None:
                standings[one] = old._replace(forgotten_ns=self.made_ns)
        for one in self.brought_back:
            old = standings.get(one, KEPT)
            if not old.swept:
                standings[one] = old._replace(forgotten_ns=None, marked_ns=None)
        for one in self.swept:
            old = standings.get(one, KEPT)
            forgotten_ns = self.made_ns if old.forgotten_ns is None else old.forgotten_ns
            standings[one] = old._replace(forgotten_ns=forgotten_ns, swept=True)
        for pinned, ids in ((True, self.pinned), (False, self.unpinned)):
            for one in ids:
                standings[one] = standings.get(one, KEPT)._replace(pinned=pinned)
        for one, tags in self.tags.items():
            standings[one] = standings.get(one, KEPT)._replace(tags=frozenset(tags))


class StoredVerdict(NamedTuple):
    """A verdict as a store has it; `data` is None when the object is not what its name says."""

    verdict: Verdict
    digest: bytes
    data: bytes | None


def check_tags(tags: Iterable[str]) -> None:
    """Raises UsageError for a tag that could not be named in a list of tags."""
    for one in tags:
        if not one or "," in one or not one.isprintable():
            message = f"{one!r} cannot be a tag: a tag is printable text without a comma."
            raise UsageError(message)
