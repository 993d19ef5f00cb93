"""Reading the changesets of a store back: what `rebuild`, `recover` and a joining `init` share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from blake3 import blake3

from n2s_core.errors import DamageError, Missing
from n2s_core.layout import Shelf, object_name, parse_name
from n2s_core.manifest import (
    ENTRIES_PER_RECORD,
    SEGMENTS_PER_RECORD,
    Entry,
    Head,
    SegmentRef,
    changeset_id,
    entries,
    segments,
)
from n2s_core.model import Progress, Report
from n2s_core.moves import Announcement, Moves, StoredAnnouncement
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.sealing import KeyMode, Kind
from n2s_core.verdicts import StoredVerdict, Verdict

KEY_MODE_AT = 7
DECISIONS = (Kind.FORGET, Kind.MOVED)


@dataclass(frozen=True, slots=True)
class HeadObject:
    """A head as it lies in the store; `whole`: every byte of its object is as its name says."""

    identity: bytes
    digest: bytes
    size: int
    head: Head
    whole: bool = True


@dataclass(slots=True)
class Line:
    """The changesets of one dataset, oldest first, as far as they hang together.

    `from_checkpoint` says that the first of them is to be read from its checkpoint. Numbers that
    are not in the chain are those of changesets that are lost. `problems` name what is missing or
    damaged; the tree of the tip is right when there are none. `verdicts` are those about its
    changesets, `announcements` say where records of any dataset went.
    """

    dataset_id: bytes
    name: str
    chain: list[HeadObject]
    from_checkpoint: bool = False
    problems: list[str] = field(default_factory=list)
    verdicts: list[StoredVerdict] = field(default_factory=list)
    announcements: list[StoredAnnouncement] = field(default_factory=list)

    @property
    def tip(self) -> Head | None:
        """The newest head, if there is any."""
        return self.chain[-1].head if self.chain else None

    def lost_before(self, at: int) -> range:
        """Numbers of the changesets that are lost between the head at this place and the last."""
        head = self.chain[at].head
        if head.parent is None or (at == 0 and self.from_checkpoint):
            return range(0)
        return range(self.chain[at - 1].head.number + 1 if at else 1, head.number)


def read_heads(
    store: Store,
    master_key: bytes,
    on_damage: Callable[[str], None],
    on_verdict: Callable[[StoredVerdict], None] = lambda _: None,
    on_moves: Callable[[StoredAnnouncement], None] = lambda _: None,
) -> Iterator[HeadObject]:
    """Every head that opens, be the rest of its object damaged; what is wrong is reported.

    `on_verdict` gets the verdicts that lie among them, `on_moves` what is said about records that
    moved. Objects that begin with a record of an unknown kind are left to later versions.
    """
    for found in store.list(Shelf.CHANGESETS.value):
        parsed = parse_name(found.name)
        if parsed is None:
            continue
        try:
            one = _read_first(store.get(found.name), parsed[1], master_key)
        except (DamageError, Missing) as error:
            on_damage(f"The changeset object {found.name} is damaged: {error}")
            continue
        if isinstance(one, StoredVerdict):
            if one.data is None:
                on_damage(f"{found.name}, a verdict, is damaged. Its record could be read.")
            on_verdict(one)
            continue
        if isinstance(one, StoredAnnouncement):
            on_moves(one)
            continue
        if one is None:
            continue
        if not one.whole:
            on_damage(
                f"The changeset object {found.name} is damaged: its bytes are not what its name"
                " says. Its head could be read."
            )
        yield one


def _read_first(
    data: bytes, digest: bytes, master_key: bytes
) -> HeadObject | StoredVerdict | StoredAnnouncement | None:
    """What an object is about; None for what is nothing to this version."""
    first = next((opened for _, _, opened in ObjectReader(data, master_key).records(_raise)), None)
    whole = blake3(data).digest() == digest
    if first is not None and first.kind in DECISIONS:
        # Who may only add to a store does not decide what is forgotten, or where contents are.
        if data[KEY_MODE_AT] != KeyMode.MASTER:
            return None
        kept = data if whole else None
        if first.kind == Kind.FORGET:
            return StoredVerdict(Verdict.parse(first.meta), digest, kept)
        return StoredAnnouncement(Announcement.parse(first.meta, first.payload), digest, kept)
    if first is not None and first.kind > max(Kind):
        return None
    if first is None or first.kind != Kind.HEAD:
        message = "it does not begin with a head"
        raise DamageError(message)
    identity = changeset_id(first.meta_bytes)
    return HeadObject(identity, digest, len(data), Head.parse(first.meta), whole)


def dataset_of(data: bytes, master_key: bytes) -> bytes | None:
    """The dataset that an object in `changesets/` is about; None when that cannot be read.

    Nothing (b"") for a decision of somebody who may not decide.
    """
    try:
        first = next((one for _, _, one in ObjectReader(data, master_key).records(_raise)), None)
        found = None if first is None else first.meta.get("d")
    except DamageError:
        return None
    if first is not None and first.kind in DECISIONS and data[KEY_MODE_AT] != KeyMode.MASTER:
        return b""
    return found if isinstance(found, bytes) else None


def _raise(problem: str) -> None:
    raise DamageError(problem)


def lines(heads: list[HeadObject], problems: list[str]) -> list[Line]:
    """The heads of a store sorted into one line for each dataset."""
    by_dataset: dict[bytes, dict[bytes, HeadObject]] = {}
    for one in heads:
        members = by_dataset.setdefault(one.head.dataset_id, {})
        if one.whole or one.identity not in members:
            members[one.identity] = one
    return [
        _line(dataset_id, members, list(problems)) for dataset_id, members in by_dataset.items()
    ]


def _line(dataset_id: bytes, members: dict[bytes, HeadObject], problems: list[str]) -> Line:
    parents = {one.head.parent for one in members.values()}
    tips = [one for one in members.values() if one.identity not in parents]
    tips.sort(key=lambda one: (one.head.number, one.head.created_ns))
    tip = tips[-1] if tips else max(members.values(), key=lambda one: one.head.number)
    problems += [
        f"Changeset {one.identity.hex()[:16]} (number {one.head.number}) is a side line of dataset"
        f" {one.head.dataset!r}; the newest line was taken."
        for one in tips[:-1]
    ]
    chain = [tip]
    seen = {tip.identity}
    while (parent := chain[-1].head.parent) is not None:
        found = members.get(parent)
        if found is None or parent in seen:
            older = {
                identity: one
                for identity, one in members.items()
                if one.head.number < chain[-1].head.number and identity not in seen
            }
            return _broken(dataset_id, chain, parent, older, problems)
        seen.add(parent)
        chain.append(found)
    chain.reverse()
    # After a rebuild from records alone a chain begins anew, with a list of the whole tree.
    anew = chain[0].head.checkpoint is not None
    return Line(dataset_id, tip.head.dataset, chain, from_checkpoint=anew, problems=problems)


def _broken(
    dataset_id: bytes,
    chain: list[HeadObject],
    parent: bytes,
    older: dict[bytes, HeadObject],
    problems: list[str],
) -> Line:
    """A chain with a gap: begin at its oldest checkpoint if it has one, else go on behind it."""
    name = chain[0].head.dataset
    broken = (
        f"Changeset {parent.hex()[:16]}, the parent of number {chain[-1].head.number} of dataset"
        f" {name!r}, is missing or damaged."
    )
    for at in range(len(chain) - 1, -1, -1):
        if chain[at].head.checkpoint is not None:
            kept = chain[: at + 1][::-1]
            broken += (
                f" Changesets before number {kept[0].head.number} cannot be restored;"
                " from there on everything can, thanks to its checkpoint."
            )
            return Line(dataset_id, name, kept, from_checkpoint=True, problems=[*problems, broken])
    broken += (
        " What it stored was taken from the records alone, so files that it removed are back,"
        " and old versions of files that it did not store again may be."
    )
    newer = chain[::-1]
    if not older:
        return Line(dataset_id, name, newer, problems=[*problems, broken])
    line = _line(dataset_id, older, problems)
    line.chain += newer
    line.problems.append(broken)
    return line


@dataclass(frozen=True, slots=True)
class EntryReader:
    """Reads the entries of changesets and the lists of segments."""

    store: Store
    master_key: bytes
    on_damage: Callable[[str], None]
    report: Report
    moves: Moves = field(default_factory=Moves)

    def changeset(self, one: HeadObject) -> Iterator[list[Entry]]:
        """Its entries in the order in which they apply, record by record."""
        for digest, count in one.head.entries:
            yield from self._object(digest, count, one)
        if one.head.inline is not None:
            yield from self._inline(one)

    def checkpoint(self, one: HeadObject) -> Iterator[list[Entry]]:
        """The whole tree after a changeset that has a checkpoint."""
        for digest, count in one.head.checkpoint or []:
            yield from self._object(digest, count, one)

    def _object(self, digest: bytes, count: int, one: HeadObject) -> Iterator[list[Entry]]:
        name = object_name(Shelf.META, digest)
        try:
            data = self.store.get(name)
            if blake3(data).digest() != digest:
                self.on_damage(f"{name}, which holds {count} entries of changeset"
                               f" {one.identity.hex()[:16]}, is damaged.")  # fmt: skip
            reader = ObjectReader(data, self.master_key)
        except (Missing, DamageError) as error:
            self.on_damage(
                f"{count} entries of changeset {one.identity.hex()[:16]} are lost with {name}:"
                f" {error}"
            )
            return
        got = 0
        for found in self._records(reader, name):
            got += len(found)
            yield found
        if got != count:
            self.on_damage(f"{name} should hold {count} entries, {got} could be read.")

    def _records(self, reader: ObjectReader, name: str) -> Iterator[list[Entry]]:
        done = 0
        for _, _, record in reader.records(lambda why: self.on_damage(f"{name}: {why}")):
            if record.kind != Kind.ENTRIES:
                continue
            try:
                following = entries(record.meta, record.payload)
                while found := list(islice(following, ENTRIES_PER_RECORD)):
                    found = [self._placed(one) for one in found] if self.moves else found
                    done += len(found)
                    self.report(Progress("reading entries", done, 0))
                    yield found
            except DamageError as error:
                self.on_damage(f"{name}: {error}")

    def _placed(self, entry: Entry) -> Entry:
        """The same, with the places where its records are now."""
        content = None if entry.content is None else self.moves.places(entry.content)
        return entry._replace(own=self.moves.places(entry.own), content=content)

    def _inline(self, one: HeadObject) -> Iterator[list[Entry]]:
        """Those behind the head count only when all of them are as the head says."""
        assert one.head.inline is not None
        count, digest = one.head.inline
        name = object_name(Shelf.CHANGESETS, one.digest)
        data = self.store.get(name)
        reader = ObjectReader(data, self.master_key)
        offset, size, _ = next(reader.records(_raise))
        if blake3(data[offset + size :]).digest() != digest:
            self.on_damage(
                f"{count} entries of changeset {one.identity.hex()[:16]} are lost with {name}."
            )
            return
        yield from self._records(reader, name)

    def segments(self, entry: Entry) -> list[SegmentRef]:
        """The segments of a file in pieces. Raises DamageError, Missing."""
        found: list[SegmentRef] = []
        size = 0
        for ref in entry.own if entry.content is None else entry.content:
            if ref.digest is None:
                message = "a file's entry refers to an object without a name"
                raise DamageError(message)
            name = object_name(Shelf.DATA, ref.digest)
            prelude = self.store.get(name, 0, 88)
            record = self.store.get(name, ref.offset, ref.length)
            opened = ObjectReader(prelude, self.master_key).open_bytes(record)
            if opened.kind != Kind.FILE:
                message = f"{name}, offset {ref.offset}, should be a list of segments"
                raise DamageError(message)
            origin = self.moves.origin(ref)
            for at, one in enumerate(segments(opened.meta, opened.payload, origin)):
                if at >= SEGMENTS_PER_RECORD or one.file_offset < size:
                    message = "a file's pieces overlap, or are too many for one list"
                    raise DamageError(message)
                size = one.file_offset + one.length
                found.append(one._replace(ref=self.moves.place(one.ref)))
        if size > entry.node["s"]:
            message = "a file's pieces are longer than the file"
            raise DamageError(message)
        return found
