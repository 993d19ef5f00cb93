"""Where records went that a prune copied into new objects: docs/format.md, section 5.10."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from n2s_core.errors import DamageError
from n2s_core.judging import MOST, array, digest, number, raw, text
from n2s_core.manifest import Ref, packb, values_of

FARTHEST = MOST // 2
"""So that a position and a size together are still a number that a catalogue takes."""
Pieces = tuple[tuple[int, int], ...]
"""Offset and length of bytes of an object, in order."""


class Source(NamedTuple):
    """An object of which these pieces are in another one now, one after the other."""

    digest: bytes
    pieces: Pieces

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(length for _, length in self.pieces)


def pack_sources(sources: Iterable[Source]) -> bytes:
    """The metadata of the MOVED record inside the new object."""
    packed: bytes = packb({"M": _sources(sources)})
    return packed


def _sources(sources: Iterable[Source]) -> list[tuple[bytes, list[int]]]:
    return [(one.digest, [at for piece in one.pieces for at in piece]) for one in sources]


def parse_sources(value: Any) -> tuple[Source, ...]:
    """The list `M`. Raises DamageError."""
    try:
        return _alike([_source(one) for one in array(value, 1)])
    except (TypeError, ValueError) as error:
        message = f"A record about moved records is not what the format says: {error}."
        raise DamageError(message) from error


def _alike(sources: list[Source]) -> tuple[Source, ...]:
    for one in sources:
        number(one.size, most=FARTHEST)
    if len({one.size for one in sources}) > 1:
        message = "earlier places of the same records have different sizes"
        raise ValueError(message)
    return tuple(sources)


def _source(value: Any) -> Source:
    name, ends, *_ = array(value, 2)
    numbers = [number(one) for one in array(ends, 2)]
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    for (offset, length), (following, _) in pairwise([*pieces, (sum(pieces[-1]), 0)]):
        if not length or following < offset + length:
            message = "pieces of an object overlap"
            raise ValueError(message)
    return Source(digest(name), pieces)


@dataclass(frozen=True, slots=True)
class Move:
    """From `start` on the object `to` has what the sources had; the oldest one is the first."""

    to: bytes
    start: int
    sources: tuple[Source, ...]

    def pack(self) -> bytes:
        """One value in the payload of a MOVED record."""
        packed: bytes = packb((self.to, self.start, _sources(self.sources)))
        return packed

    @staticmethod
    def parse(packed: bytes) -> "Move":
        """The other way round. Raises DamageError."""
        return next(_moves(packed))


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a MOVED record in `changesets/` says: about a dataset, when, and what moved."""

    dataset_id: bytes
    dataset: str
    made_ns: int
    moves: tuple[Move, ...]

    def pack(self) -> tuple[bytes, bytes]:
        """Metadata and payload of the record."""
        meta: bytes = packb({"d": self.dataset_id, "N": self.dataset, "t": self.made_ns})
        return meta, b"".join(one.pack() for one in self.moves)

    @staticmethod
    def parse(meta: Mapping[str, Any], payload: bytes) -> "Announcement":
        """The other way round. Raises DamageError."""
        try:
            return Announcement(
                raw(meta["d"]), text(meta["N"]), number(meta["t"]), tuple(_moves(payload))
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"A record about moved records is not what the format says: {error!r}."
            raise DamageError(message) from error


def _moves(payload: bytes) -> Iterator[Move]:
    try:
        for value in values_of(payload):
            to, start, sources, *_ = array(value, 3)
            yield Move(digest(to), number(start, most=FARTHEST), parse_sources(sources))
    except ValueError as error:
        message = f"A record about moved records is not what the format says: {error}."
        raise DamageError(message) from error


class StoredAnnouncement(NamedTuple):
    """One as a store has it; `data` is None when the object is not what its name says."""

    announcement: Announcement
    digest: bytes
    data: bytes | None


class Spots:
    """New offsets of the pieces of one object in another."""

    def __init__(self, move: Move, source: Source) -> None:
        self.to = move.to
        self._offsets = [offset for offset, _ in source.pieces]
        self._lengths = [length for _, length in source.pieces]
        self._starts = list(accumulate(self._lengths, initial=move.start))

    def new(self, offset: int, length: int) -> int | None:
        """Where a record is now that was wholly within a piece."""
        at = bisect_right(self._offsets, offset) - 1
        if at < 0 or offset + length > self._offsets[at] + self._lengths[at]:
            return None
        return self._starts[at] + offset - self._offsets[at]


@dataclass(slots=True)
class Moves:
    """Finds records that moved. `exists` says whether the store has an object in `data/`.

    A move names all earlier places of its records, so no way is longer than one step.
    """

    exists: Callable[[bytes], bool] = lambda _: True
    _spots: dict[bytes, list[Spots]] = field(default_factory=dict)
    _origins: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    def add(self, move: Move) -> None:
        """Know of one more; what an object took over is said once."""
        if move.to in self._origins:
            return
        self._origins[move.to] = move.start, move.sources[0].digest
        for source in move.sources:
            self._spots.setdefault(source.digest, []).append(Spots(move, source))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._spots)

    def origin(self, ref: Ref) -> bytes | None:
        """The object that a record was written in: what index -1 in it means."""
        start, digest = self._origins.get(ref.digest or b"", (0, ref.digest))
        return digest if ref.offset >= start else ref.digest

    def place(self, ref: Ref) -> Ref:
        """Where a record is: where it was as long as the store has that object.

        Else in one that took it over and that the store has, if there is any.
        """
        if ref.digest is None or ref.digest not in self._spots or self.exists(ref.digest):
            return ref
        for spots in self._spots[ref.digest]:
            found = spots.new(ref.offset, ref.length)
            if found is not None and self.exists(spots.to):
                return Ref(spots.to, found, ref.length)
        return ref

    def places(self, refs: list[Ref]) -> list[Ref]:
        """The same of each."""
        return [self.place(one) for one in refs]
