"""Healing of missing and damaged objects, one after the other, each verified by reading it back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from blake3 import blake3

from n2s_core.clock import now_ns
from n2s_core.errors import DamageError, Missing
from n2s_core.faults import crash_point
from n2s_core.flows.contents import Contents
from n2s_core.flows.resealing import Remains, Resealing
from n2s_core.layout import Shelf, object_name
from n2s_core.model import Damage, ObjectRow, Progress, RecordRef, Report, SegmentRow
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.reading import Directories
from n2s_core.sealing import Sealer
from n2s_core.wanted import About, Twin, WantedRecord

OPENED = "opened"
ATTEMPTS = 2


class HurtCatalogue(Protocol):
    """What the catalogue knows of missing and damaged objects, and of their contents."""

    def about(self, object_no: int) -> About | None:
        """What its PACK record says."""

    def records(self, object_no: int) -> list[WantedRecord]:
        """The records of an object that versions refer to, in order."""

    def twins(self, file_hash: bytes) -> Iterator[Twin]:
        """Where else the content of a file is."""

    def segment_twins(self, segment_hash: bytes) -> list[RecordRef]:
        """Records in other objects with the same piece of a file."""

    def digest_of(self, object_no: int) -> bytes:
        """The name of an object."""

    def lost_contents(self, bad: set[int]) -> list[tuple[bytes, int, bytes, int]]:
        """Hash, dataset, path and beginning of files in one piece that are in these objects."""

    def lost_segments(self, bad: set[int]) -> Iterator[SegmentRow]:
        """Pieces of files that are in these objects."""

    def relink(self, versions: list[tuple[int, bytes, int]], place: RecordRef) -> None:
        """The content of these versions is read there from now on."""

    def relink_segment(self, segment: SegmentRow, place: RecordRef) -> None:
        """A piece of a file is read there from now on."""


class Remembering(Protocol):
    """Where it is noted that an object is whole."""

    def note_verified(self, object_nos: list[int], time_ns: int, how: str) -> None:
        """These were read and found whole."""


@dataclass(slots=True)
class Healing:
    """What became of the objects, by name: `healed` ones, and why the others were not.

    `relinked` counts versions of files, and pieces, that are read elsewhere from now on.
    """

    healed: dict[str, str] = field(default_factory=dict)
    unhealed: dict[str, str] = field(default_factory=dict)
    relinked: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Repair:
    """One repair of objects that are known to be missing or damaged; `dry_run` writes nothing.

    An object is written only when all its bytes are there and have the BLAKE3 of its name, and
    counts as whole when it was read back. Nothing is ever deleted. Old contents that cannot come
    back where they were are read from other records that have them, if there are any.
    """

    hurt: HurtCatalogue
    noted: Remembering
    store: Store
    source: Directories
    master_key: bytes
    level: int
    dry_run: bool
    report: Report
    done: Healing = field(default_factory=Healing)

    def run(self, damages: list[Damage]) -> Healing:
        """Do it. Raises StoreError when the store cannot be reached."""
        contents = Contents(
            self.source,
            self.store,
            self.master_key,
            twins=self.hurt.twins,
            segment_twins=self.hurt.segment_twins,
            digest_of=self.hurt.digest_of,
        )
        bad: set[int] = set()
        for number, one in enumerate(damages, 1):
            name = object_name(Shelf(one.row.shelf), one.row.digest)
            reason = self._heal(name, one.row, contents)
            if reason:
                bad.add(one.row.object_no)
                self.done.unhealed[name] = reason
            else:
                self.done.healed[name] = f"{one.kind}: {one.why}"
            self.report(Progress("repairing", number, self.done.bytes, len(damages)))
        if bad:
            self._relink_files(bad, contents)
            self._relink_segments(bad, contents)
        return self.done

    def _heal(self, name: str, row: ObjectRow, contents: Contents) -> str:
        """Why not; empty when it is whole."""
        if row.shelf != Shelf.DATA:
            return "it is a list of a changeset; the next push stores the whole present tree's list"
        try:
            left = self.store.get(name)
        except Missing:
            left = b""
        making = Resealing(
            row,
            self.hurt.about(row.object_no),
            self.hurt.records(row.object_no),
            Remains(left, self.master_key),
            contents,
            self.hurt.digest_of,
            Sealer(self.master_key, level=self.level),
        )
        data = making.run()
        if data is None:
            return making.reason
        self.done.bytes += len(data)
        return "" if self.dry_run else self._replace(name, row, data)

    def _replace(self, name: str, row: ObjectRow, data: bytes) -> str:
        """Write it, and read it back; a store that took other bytes gets them once more."""
        for _ in range(ATTEMPTS):
            self.store.put(name, [data], len(data))
            crash_point("repair-put")
            if self._is_whole(name, row):
                self.noted.note_verified([row.object_no], now_ns(), OPENED)
                return ""
        return "the store does not give back what it was given"

    def _is_whole(self, name: str, row: ObjectRow) -> bool:
        try:
            data = self.store.get(name)
        except Missing:
            return False
        if blake3(data).digest() != row.digest:
            return False
        problems: list[str] = []
        try:
            for _ in ObjectReader(data, self.master_key).records(problems.append):
                pass
        except DamageError:
            return False
        return not problems

    # -- old contents elsewhere ------------------------------------------------------------------

    def _relink_files(self, bad: set[int], contents: Contents) -> None:
        """Versions of files in one piece."""
        for digest, group in groupby(self.hurt.lost_contents(bad), key=lambda one: one[0]):
            twins = self.hurt.twins(digest)
            records = [one.whole for one in twins if one.whole and one.whole.object_no not in bad]
            found = next(contents.stored(dict.fromkeys(records), digest), None)
            if found is None:
                continue
            versions = [one[1:] for one in group]
            self.done.relinked += len(versions)
            if not self.dry_run:
                self.hurt.relink(versions, found[0])

    def _relink_segments(self, bad: set[int], contents: Contents) -> None:
        for segment in self.hurt.lost_segments(bad):
            records = self.hurt.segment_twins(segment.segment_hash)
            found = next(contents.stored(records, segment.segment_hash), None)
            if found is not None:
                self.done.relinked += 1
                if not self.dry_run:
                    self.hurt.relink_segment(segment, found[0])
