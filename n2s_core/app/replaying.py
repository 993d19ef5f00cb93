"""The changesets of a dataset, read from a store and applied to an empty catalogue."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from n2s_core.app.settling import Unread
from n2s_core.catalogue.rebuilding import Rebuilding
from n2s_core.errors import DamageError, Missing
from n2s_core.flows.rebuild import EntryReader, HeadObject, Line
from n2s_core.flows.records import Holding, Records
from n2s_core.manifest import Entry
from n2s_core.model import FileRow, Op, SegmentRow
from n2s_core.relpath import RelPath, show
from n2s_core.rows import row_of


@dataclass(slots=True)
class Replay:
    """The changesets of one line, applied one after the other.

    What of a changeset is lost is taken from the records that were written for it. `unread` are
    lists of pieces that could not be read: no loss if nobody needs them.
    """

    line: Line
    into: Rebuilding
    reader: EntryReader
    records: Records
    problems: list[str]
    since: int = 0
    changesets: int = 0
    unread: list[Unread] = field(default_factory=list)

    def run(self) -> None:
        """All of them."""
        doubtful = False
        for at, one in enumerate(self.line.chain):
            lost = self.line.lost_before(at)
            self._lost(lost, one.head.parent)
            doubtful |= bool(lost)
            number = self.into.begin(one.head, one.identity, one.digest)
            whole = self.line.from_checkpoint and at == 0
            if one.head.checkpoint is not None and doubtful:
                self.into.start_over()
                whole = True
                doubtful = False
            before = len(self.problems)
            self._changeset(one, number, whole=whole)
            if len(self.problems) > before:
                doubtful = True
                self._again(one, number, whole=whole)
            self.changesets += 1
            if one.head.checkpoint is not None:
                self.since = self.changesets = 0
        if not self.line.chain:
            doubtful = True
            numbers = sorted(self.records.of(self.line.dataset_id))
            self._lost(numbers or [1], None)
        if doubtful:
            self._leave_out_impossible()
        self.into.finish(self.line.tip, self.since, self.changesets)
        if doubtful:
            self.into.distrust()

    def _changeset(self, one: HeadObject, number: int, *, whole: bool) -> None:
        source = self.reader.checkpoint(one) if whole else self.reader.changeset(one)
        for entries in source:
            self._apply(entries, number, self.reader, self.problems)
            self.since += len(entries)

    def _again(self, one: HeadObject, number: int, *, whole: bool) -> None:
        """Entries were lost: what was written for the changeset comes first, then what is left."""
        found = self.records.of(self.line.dataset_id)
        wanted = [held for held in found if held <= one.head.number] if whole else [one.head.number]
        for held in wanted:
            self._written_for(found.get(held, []), number)
        self.problems.append(
            f"What of changeset {one.identity.hex()[:16]} (number {one.head.number}) could not be"
            " read was taken from the records alone; files that it removed may be back."
        )
        silent = replace(self.reader, on_damage=lambda _why: None)
        for entries in silent.checkpoint(one) if whole else silent.changeset(one):
            self._apply(entries, number, silent, [])

    def _lost(self, numbers: Iterable[int], last_identity: bytes | None) -> None:
        """Changesets of which no head is left."""
        found: dict[int, list[Holding]] | None = None
        every = list(numbers)
        for lost in every:
            found = self.records.of(self.line.dataset_id) if found is None else found
            identity = last_identity if lost == every[-1] else None
            number = self.into.begin_lost(lost, identity)
            holdings = found.get(lost, [])
            if holdings:
                self.into.date(max(one.packed_ns for one in holdings))
            self._written_for(holdings, number)
            self.changesets += 1

    def _written_for(self, holdings: list[Holding], number: int) -> None:
        for entries in self.records.entries(holdings):
            self._apply(entries, number, self.reader, self.problems)

    def _leave_out_impossible(self) -> None:
        for path in self.into.drop_impossible():
            why = "is below something" if path else "is the root, but something"
            self.problems.append(
                f"{show(path) or '.'} {why} that is no directory and was left out."
            )

    def _apply(
        self, entries: list[Entry], number: int, reader: EntryReader, problems: list[str]
    ) -> None:
        """One record's entries; of several for one path the last counts."""
        rows: dict[RelPath, FileRow] = {}
        removed: dict[RelPath, None] = {}
        segments: list[SegmentRow] = []
        for entry in entries:
            path = entry.node["p"]
            if entry.op is Op.REMOVE:
                rows.pop(path, None)
                removed[path] = None
                continue
            try:
                row = rows[path] = row_of(entry, number, self.into.number_of)
                if "q" in entry.node and row.blob_id is not None:
                    segments += self._segments(entry, number, reader)
            except DamageError as error:
                problems.append(f"{show(path)}: {error}")
        self.into.apply(list(rows.values()), list(removed), segments)

    def _segments(self, entry: Entry, number: int, reader: EntryReader) -> list[SegmentRow]:
        try:
            parts = reader.segments(entry)
        except (DamageError, Missing) as error:
            path, digest = entry.node["p"], entry.own[0].digest or b""
            self.unread.append(Unread(path, number, digest, str(error)))
            return []
        return [
            SegmentRow(
                entry.node["b"],
                part.file_offset,
                part.length,
                part.segment_hash,
                self.into.number_of(part.ref.digest or b""),
                part.ref.offset,
                part.ref.length,
            )
            for part in parts
        ]
