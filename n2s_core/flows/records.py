"""What records alone say, for changesets of which the head or the entries are lost.

Each data object names in its PACK record the dataset and the number of the changeset that it was
written for, and each node in it describes its path completely. What a changeset removed, no record
says.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from n2s_core.errors import DamageError, Missing
from n2s_core.layout import FOLDERS, Shelf, object_name, parse_name
from n2s_core.manifest import Entry, Ref, check_node, nodes, refs_of
from n2s_core.model import UNSURE, Op, Progress, Report
from n2s_core.moves import Move, Moves, parse_sources
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.sealing import KeyMode, Kind, Opened, parse_header

BEGINNING = 4096
"""Bytes of an object in which its PACK record is looked for first."""
AT_ONCE = 4096
KEY_MODE_AT = 7


class Holding(NamedTuple):
    """A data object: number of its changeset, time of writing (ns), BLAKE3; 0 when not known."""

    number: int
    packed_ns: int
    digest: bytes


@dataclass(slots=True)
class Records:
    """The data objects of a store by dataset and changeset; reads the store when it is asked.

    What cannot be read is told to `on_damage`.
    """

    store: Store
    master_key: bytes
    on_damage: Callable[[str], None]
    report: Report
    moves: Moves = field(default_factory=Moves)
    names: dict[bytes, str] = field(default_factory=dict)
    _holdings: dict[bytes, list[Holding]] | None = None
    _unknown: list[Holding] = field(default_factory=list)

    def datasets(self) -> dict[bytes, str]:
        """Names of the datasets that have data objects."""
        self._look()
        return self.names

    def of(self, dataset_id: bytes) -> dict[int, list[Holding]]:
        """Data objects of a dataset by the number of their changeset, in the order of writing.

        Those whose PACK record is lost count only when the store has no other dataset.
        """
        found = list(self._look().get(dataset_id, []))
        if set(self.names) <= {dataset_id}:
            found += self._unknown
        by_number: dict[int, list[Holding]] = {}
        for one in sorted(found):
            by_number.setdefault(one.number, []).append(one)
        return by_number

    def _look(self) -> dict[bytes, list[Holding]]:
        """Read the beginning of every data object, once."""
        if self._holdings is not None:
            return self._holdings
        self._holdings = {}
        count = 0
        for folder in FOLDERS:
            for found in self.store.list(f"{Shelf.DATA.value}/{folder}"):
                parsed = parse_name(found.name)
                if parsed is not None:
                    count += 1
                    self._look_at(found.name, parsed[1])
            self.report(Progress("looking at records", count, 0))
        return self._holdings

    def _look_at(self, name: str, digest: bytes) -> None:
        assert self._holdings is not None
        try:
            meta = self._pack_meta(name, digest)
            dataset_id, number, packed_ns = bytes(meta["d"]), int(meta["k"]), int(meta["t"])
            self.names.setdefault(dataset_id, str(meta["N"]))
        except (DamageError, Missing, KeyError, TypeError, ValueError):
            # The records behind it are read all the same; what is wrong with it is told then.
            self._unknown.append(Holding(0, 0, digest))
            return
        self._holdings.setdefault(dataset_id, []).append(Holding(number, packed_ns, digest))

    def _pack_meta(self, name: str, digest: bytes) -> dict[str, Any]:
        """What the first record says; when the next one says where the others come from, so too."""
        for length in (BEGINNING, None):
            data = self.store.get(name, 0, length)
            reader = ObjectReader(data, self.master_key)
            first = next(reader.records(lambda _: None), None)
            if first is not None and first[2].kind == Kind.PACK:
                self._note_moves(name, digest, data, first[0] + first[1])
                return first[2].meta
        message = "it does not begin with what it says of itself"
        raise DamageError(message)

    def _note_moves(self, name: str, digest: bytes, data: bytes, at: int) -> None:
        """Of an object that a prune made; its beginning may have to be read once more."""
        try:
            header = parse_header(data, at)
        except DamageError:
            return  # there is nothing, or it is told when the records are read
        if header.kind != Kind.MOVED:
            return
        if data[KEY_MODE_AT] != KeyMode.MASTER:
            return  # who may only add to a store does not say where contents are
        start = at + header.size
        whole = data if len(data) >= start else self.store.get(name, 0, start)
        try:
            moved = ObjectReader(whole, self.master_key).open(at, header.size)
            self.moves.add(Move(digest, start, parse_sources(moved.meta.get("M"))))
        except DamageError as error:
            self.on_damage(f"{name}, offset {at}: {error}")

    # -- their nodes -----------------------------------------------------------------------------

    def entries(self, holdings: Iterable[Holding]) -> Iterator[list[Entry]]:
        """A WRITE entry for each node in these objects, in the order of writing."""
        parts: dict[tuple[bytes, bytes, int], dict[int, Ref]] = {}
        for one in holdings:
            name = object_name(Shelf.DATA, one.digest)
            page: list[Entry] = []
            for offset, size, record in self._opened(name):
                ref = Ref(one.digest, offset, size)
                try:
                    page.extend(self._entries(record, ref, parts))
                except (DamageError, KeyError, TypeError, ValueError, IndexError) as error:
                    self.on_damage(f"{name}, offset {offset}: {error}")
                if len(page) >= AT_ONCE:
                    yield page
                    page = []
            yield page

    def _opened(self, name: str) -> Iterator[tuple[int, int, Opened]]:
        try:
            reader = ObjectReader(self.store.get(name), self.master_key)
        except (DamageError, Missing) as error:
            self.on_damage(f"{name}: {error}")
            return
        yield from reader.records(lambda why: self.on_damage(f"{name}: {why}"))

    def _entries(
        self, record: Opened, ref: Ref, parts: dict[tuple[bytes, bytes, int], dict[int, Ref]]
    ) -> Iterator[Entry]:
        """The nodes of one record; of a file in several lists when the last of them has come."""
        if record.kind == Kind.BLOB:
            yield _written(check_node(record.meta), [ref], None)
        elif record.kind == Kind.FILE:
            node = check_node(record.meta)
            part, count = node.pop("k", (0, 1))
            node.pop("O", None)
            lists = parts.setdefault((node["p"], node["h"], count), {})
            lists[part] = ref
            if len(lists) == count:
                yield _written(node, [lists[number] for number in range(count)], None)
        elif record.kind == Kind.NODES:
            digests = [bytes(digest) for digest in record.meta.get("O", [])]
            origin = self.moves.origin(ref)
            for node in nodes(record.payload):
                places = node.pop("a", None)
                content = None if places is None else refs_of(places, digests, origin)
                yield _written(node, [ref], content and self.moves.places(content))


def _written(node: dict[str, Any], own: list[Ref], content: list[Ref] | None) -> Entry:
    return Entry(Op.WRITE, node, UNSURE, int(node.get("i", 0)), own, content)
