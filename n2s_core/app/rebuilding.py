"""Rebuilding of catalogues from a store."""

from collections.abc import Iterator

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.rebuilding import Rebuilding
from n2s_core.errors import DamageError, Missing
from n2s_core.flows.rebuild import EntryReader, HeadObject, Line, lines, read_heads
from n2s_core.layout import FOLDERS, Shelf, parse_name
from n2s_core.manifest import Entry
from n2s_core.model import FileRow, Op, Progress, Report, SegmentRow
from n2s_core.ports import Store
from n2s_core.relpath import RelPath
from n2s_core.rows import row_of


def survey(store: Store, master_key: bytes, report: Report) -> list[Line]:
    """The lines of changesets in a store, one for each dataset."""
    problems: list[str] = []
    heads = []
    for head in read_heads(store, master_key, problems.append):
        heads.append(head)
        report(Progress("reading changesets", len(heads), 0))
    found = lines(heads, problems)
    if problems and not found:
        raise DamageError(" ".join(problems))
    return found


def _listed(store: Store, report: Report) -> Iterator[tuple[str, bytes, int]]:
    count = 0
    for shelf in (Shelf.DATA, Shelf.META):
        for folder in FOLDERS:
            for found in store.list(f"{shelf.value}/{folder}"):
                parsed = parse_name(found.name)
                if parsed is not None:
                    count += 1
                    yield shelf.value, parsed[1], found.size
            report(Progress("listing objects", count, 0))
    for found in store.list(Shelf.CHANGESETS.value):
        parsed = parse_name(found.name)
        if parsed is not None:
            yield Shelf.CHANGESETS.value, parsed[1], found.size


def rebuild_into(
    catalogue: Catalogue, store: Store, master_key: bytes, found: list[Line], report: Report
) -> list[str]:
    """Fill a catalogue; what could not be read, in sentences."""
    problems: list[str] = []
    first = True
    for line in found:
        problems.extend(one for one in line.problems if one not in problems)
        dataset = next(
            (one for one in catalogue.datasets() if one.dataset_id == line.dataset_id), None
        ) or catalogue.add_dataset(line.dataset_id, line.name)
        into = Rebuilding(catalogue, dataset)
        if first:
            into.add_objects(_listed(store, report))
            first = False
        reader = EntryReader(store, master_key, problems.append, report)
        _replay(line, into, reader, problems)
    return problems


def _replay(line: Line, into: Rebuilding, reader: EntryReader, problems: list[str]) -> None:
    since, changesets = 0, 0
    for at, one in enumerate(line.chain):
        number = into.begin(one.head, one.identity, one.digest)
        whole = line.from_checkpoint and at == 0
        source = reader.checkpoint(one) if whole else reader.changeset(one)
        count = 0
        for entries in source:
            _apply(entries, number, into, reader, problems)
            count += len(entries)
        since, changesets = since + count, changesets + 1
        if one.head.checkpoint is not None:
            since = changesets = 0
    into.finish(line.tip, since, changesets)


def _apply(
    entries: list[Entry],
    number: int,
    into: Rebuilding,
    reader: EntryReader,
    problems: list[str],
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
            row = row_of(entry, number, into.number_of)
            if "q" in entry.node and row.blob_id is not None:
                parts = reader.segments(entry)
                segments.extend(
                    SegmentRow(
                        row.blob_id or b"",
                        part.file_offset,
                        part.length,
                        part.segment_hash,
                        into.number_of(part.ref.digest or b""),
                        part.ref.offset,
                        part.ref.length,
                    )
                    for part in parts
                )
        except (DamageError, Missing) as error:
            problems.append(f"{path!r}: {error}")
            continue
        rows[path] = row
    into.apply(list(rows.values()), list(removed), segments)


__all__ = ["HeadObject", "rebuild_into", "survey"]
