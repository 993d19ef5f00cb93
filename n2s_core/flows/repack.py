"""A repack: what is in use of an object that is not in use as a whole goes into a new one.

Records are copied as they are. A copy is read back before it is written down; the store is told
where the records went before anything refers to the copy; and the old object is only marked, so
that whoever still refers to it finds it for a time of grace.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from n2s_core.errors import DamageError, Missing, StoreError
from n2s_core.faults import crash_point
from n2s_core.flows.prune import Sight
from n2s_core.judging import LARGEST_ITEM
from n2s_core.layout import Shelf, object_name
from n2s_core.manifest import packb
from n2s_core.model import ObjectRow, Progress, Report
from n2s_core.moves import Move, Pieces, Source, Spots, pack_sources, parse_sources
from n2s_core.packs import Gap, ObjectReader, scan
from n2s_core.ports import Store
from n2s_core.sealing import (
    HEADER_SIZE,
    PLAIN_PRELUDE,
    KeyMode,
    Kind,
    Sealer,
    master_prelude,
    parse_header,
    record_size,
)
from n2s_core.uses import (
    Candidate,
    Copied,
    Place,
    PruneCatalogue,
    RepackCatalogue,
    Repacked,
    Sums,
    Use,
)

BEGINNING = 4096
"""Bytes of an object in which what it says of itself is looked for first."""
KEY_MODE_AT = 7
LARGEST_LIST = LARGEST_ITEM // 2
_PACK = {"d": bytes(16), "N": "", "k": (1 << 64) - 1, "t": (1 << 64) - 1}


@dataclass(frozen=True, slots=True)
class RepackWish:
    """How many unused bytes may stay: this share of all, or so many; any number without both.

    `most_bytes`: copies of one run are not larger than that together.
    """

    max_unused_percent: float | None = None
    max_unused_bytes: int | None = None
    most_bytes: int | None = None

    def limit(self, used: int) -> int | None:
        """Unused bytes that may stay beside so many used ones."""
        if self.max_unused_percent is None:
            return self.max_unused_bytes
        return int(self.max_unused_percent / (100 - self.max_unused_percent) * used)


class Plan(NamedTuple):
    """An object that is worth it: the end of its PACK record, its records that stay, and the copy.

    `moved` is the metadata of the record in the copy that says where the others came from.
    """

    one: Candidate
    pack_end: int
    pieces: Pieces
    sources: tuple[Source, ...]
    moved: bytes

    @property
    def start(self) -> int:
        """Where the copied records begin in the copy."""
        return self.pack_end + record_size(len(self.moved))

    @property
    def size(self) -> int:
        """Bytes of the copy."""
        return self.start + self.sources[-1].size


@dataclass(slots=True)
class Repack:
    """One repack. `tell()` makes the store say where the copied records are."""

    catalogue: PruneCatalogue
    repacking: RepackCatalogue
    store: Store
    master_key: Callable[[], bytes]
    tell: Callable[[], None]
    wish: RepackWish
    report: Report
    _unused: int = 0
    _fixed: list[int] = field(default_factory=list)

    def run(self, sight: Sight, now_ns: int) -> Repacked:
        """Do it, and end what an earlier one began. Raises StoreError."""
        plans: list[Plan] = []
        for plan in self._plans(sight):
            if self._copy(plan):
                plans.append(plan)
                crash_point("repack-copied")
            self.catalogue.renew()
            self.report(Progress("repacking", len(plans), sum(one.size for one in plans)))
        self.tell()
        crash_point("repack-told")
        done = self.repacking.told()
        if done:
            self._relink(done)
            crash_point("repack-relinked")
            self.repacking.finish(done, now_ns)
            crash_point("repack-finished")
        return self._answer(plans)

    def rehearse(self, sight: Sight) -> Repacked:
        """What a run would do now; nothing is changed."""
        return self._answer(list(self._plans(sight)))

    def _answer(self, plans: list[Plan]) -> Repacked:
        return Repacked(
            Sums(len(plans), sum(one.size for one in plans)),
            Sums(len(plans), sum(one.one.size for one in plans)),
            max(0, self._unused),
            Sums(len(self._fixed), sum(self._fixed)),
        )

    # -- what is worth it ------------------------------------------------------------------------

    def _plans(self, sight: Sight) -> Iterator[Plan]:
        """The worst objects first, until what stays unused is within the limit."""
        if self.wish.limit(0) is None:
            return
        self.repacking.begin()
        for page in self.catalogue.versions():
            self.repacking.use(one for one in page if sight.use(one) is not Use.NONE)
            self.catalogue.renew()
        used, worth = 0, list[tuple[int, Candidate]]()
        for one in self.repacking.candidates():
            waste = max(0, one.size - one.live - _own_size(one.dataset))
            used += one.live
            self._unused += waste
            if waste and one.movable:
                worth.append((waste, one))
        worth.sort(key=lambda found: (-found[0] / found[1].size, found[1].object_no))
        limit, size = self.wish.limit(used) or 0, 0
        for waste, one in worth:
            if self._unused <= limit:
                return
            plan = self._plan(one, waste)
            if plan is None:
                continue
            size += plan.size
            if self.wish.most_bytes is not None and size > self.wish.most_bytes:
                return
            self._unused -= waste
            yield plan

    def _plan(self, one: Candidate, waste: int) -> Plan | None:
        """How the object would be copied; None when that cannot be, or would save nothing."""
        try:
            head = self.store.get(one.name, 0, BEGINNING)
            if head[KEY_MODE_AT : KEY_MODE_AT + 1] == bytes([KeyMode.X25519]):
                self._fixed.append(waste)
                return None
            pack_end, start, earlier = self._own_records(one, head)
        except (DamageError, Missing):
            return None  # a verify names it, and a repair may heal it
        pieces = _joined(self.repacking.records(one.object_no))
        if pieces[0][0] < start or sum(pieces[-1]) > one.size:
            return None
        if any(start + source.size < sum(pieces[-1]) for source in earlier):
            return None
        sources = (
            *(_rest(source, start, pieces) for source in earlier),
            Source(one.digest, pieces),
        )
        plan = Plan(one, pack_end, pieces, sources, pack_sources(sources))
        return plan if plan.size < one.size and len(plan.moved) <= LARGEST_LIST else None

    def _own_records(self, one: Candidate, head: bytes) -> tuple[int, int, tuple[Source, ...]]:
        """Where its PACK record and what it says of itself end; the earlier places of the rest."""
        pack = parse_header(head, PLAIN_PRELUDE)
        end = PLAIN_PRELUDE + pack.size
        if pack.kind != Kind.PACK:
            message = "it does not begin with what it says of itself"
            raise DamageError(message)
        if len(head) < end + HEADER_SIZE:
            head = self.store.get(one.name, 0, end + HEADER_SIZE)
        following = parse_header(head, end)
        if following.kind != Kind.MOVED:
            return end, end, ()
        start = end + following.size
        if len(head) < start:
            head = self.store.get(one.name, 0, start)
        moved = ObjectReader(head, self.master_key()).open(end, following.size)
        return end, start, parse_sources(moved.meta.get("M"))

    # -- copies ----------------------------------------------------------------------------------

    def _copy(self, plan: Plan) -> bool:
        """Store a copy of what is in use; not of an object that is not as it should be."""
        try:
            data = self.store.get(plan.one.name)
        except Missing:
            return False
        if blake3(data).digest() != plan.one.digest or not self._holds(data, plan):
            return False
        header, sealed = Sealer(self.master_key()).seal(Kind.MOVED, plan.moved)
        chunks = [master_prelude(), data[PLAIN_PRELUDE : plan.pack_end], header, sealed]
        chunks += [data[offset : offset + length] for offset, length in plan.pieces]
        copy = b"".join(chunks)
        digest = blake3(copy).digest()
        name = object_name(Shelf.DATA, digest)
        self.store.put(name, [copy], len(copy))
        self._require_whole(name, copy)
        move = Move(digest, plan.start, plan.sources)
        row = ObjectRow(0, Shelf.DATA.value, digest, len(copy))
        self.repacking.copied(plan.one.object_no, row, move.pack())
        return True

    def _holds(self, data: bytes, plan: Plan) -> bool:
        """Whether all records that are in use are in the object, where they are looked for."""
        there = {
            (found[0], found[1].size)
            for found in scan(data, PLAIN_PRELUDE)
            if not isinstance(found, Gap)
        }
        return there.issuperset(self.repacking.records(plan.one.object_no))

    def _require_whole(self, name: str, copy: bytes) -> None:
        """Raises StoreError when the store does not give back the copy, or it does not open."""
        problems: list[str] = []
        try:
            back = self.store.get(name)
            for _ in ObjectReader(back, self.master_key()).records(problems.append):
                pass
        except (Missing, DamageError) as error:
            message = f"The store does not give back {name}, which it was given: {error}"
            raise StoreError(message) from error
        if back != copy or problems:
            message = f"The store does not give back {name} as it was given."
            raise StoreError(" ".join([message, *problems]))

    # -- new places ------------------------------------------------------------------------------

    def _relink(self, done: list[Copied]) -> None:
        spots = {}
        for one in done:
            move = Move.parse(one.move)
            spots[one.object_no] = one.new_no, Spots(move, move.sources[-1])

        def new_place(place: Place) -> Place:
            number, offset, length = place
            if number not in spots:
                return place
            new_no, moved = spots[number]
            found = moved.new(offset, length)
            return place if found is None else (new_no, found, length)

        for page in self.catalogue.versions():
            self.repacking.relink(page, new_place)
            self.catalogue.renew()
        self.repacking.relink_pieces(list(spots), new_place)


def _own_size(dataset: str) -> int:
    """Bytes of an object that are no records of files, or a few more."""
    return PLAIN_PRELUDE + record_size(len(packb(_PACK)) + len(dataset.encode()))


def _joined(records: Iterable[tuple[int, int]]) -> Pieces:
    """Neighbours become one."""
    found: list[tuple[int, int]] = []
    for offset, length in records:
        if found and sum(found[-1]) == offset:
            found[-1] = found[-1][0], found[-1][1] + length
        else:
            found.append((offset, length))
    return tuple(found)


def _rest(source: Source, start: int, pieces: Pieces) -> Source:
    """What of an earlier place is left when only these pieces of the later one are.

    The pieces of the source stand one after the other from `start` on.
    """
    found: list[tuple[int, int]] = []
    wanted = iter(pieces)
    offset, length = next(wanted)
    at = start
    for earlier, size in source.pieces:
        while length and offset < at + size:
            taken = min(length, at + size - offset)
            found.append((earlier + offset - at, taken))
            offset, length = offset + taken, length - taken
            if not length:
                offset, length = next(wanted, (0, 0))
        at += size
    return Source(source.digest, _joined(found))
