"""The public functions that ask the catalogue; none of them needs the passphrase."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterator

from n2s_core.app.answers import PathLike
from n2s_core.app.api import workspace
from n2s_core.app.listings import (
    ChangesetAnswer,
    Place,
    Version,
    WhereAnswer,
)
from n2s_core.app.naming import Naming
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.queries import Queries
from n2s_core.clock import SECOND_NS, parse_iso
from n2s_core.config import shown_url
from n2s_core.errors import N2sError, UsageError
from n2s_core.facts import Changeset, Dataset
from n2s_core.layout import Shelf, object_name
from n2s_core.model import LIVE, FileRow, RecordRef
from n2s_core.relpath import RelPath, Span, parse, show
from n2s_core.rows import numbered_content
from n2s_core.verdicts import KEPT

_WILDCARD = re.compile(rb"[*?[]")
_TO_THE_SECOND = re.compile(r"\d:\d\d:\d\d")


def chosen(
    queries: Queries, dataset: Dataset, changeset_id: str | None, at: str | None
) -> Changeset:
    """The changeset that is meant: by id, by time, else the latest. Raises UsageError."""
    if at is None:
        return queries.changeset(dataset, changeset_id or "latest")
    if changeset_id is not None:
        message = "Give a changeset id or a time, not both."
        raise UsageError(message)
    return queries.changeset_at(dataset, _end_ns(at))


def _end_ns(text: str) -> int:
    """The last ns of a time as far as it was written: times are printed with a second or a µs.

    So the time that `changesets` prints finds that changeset, not the one before.
    """
    begins_ns = parse_iso(text)
    if "." in text or "," in text:
        return begins_ns + 999
    return begins_ns + (SECOND_NS - 1 if _TO_THE_SECOND.search(text) else 0)


def changesets(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    forgotten: bool = False,
) -> list[ChangesetAnswer]:
    """All stored changesets, newest first; with `forgotten` also those that were forgotten."""
    with workspace(root, config) as space:
        dataset_no = space.dataset.dataset_no
        standings = space.catalogue.verdicts.standings(dataset_no)
        found = [
            ChangesetAnswer.of(one, standings.get(one.changeset_no, KEPT))
            for one in space.catalogue.queries.changesets(dataset_no)
        ]
        return [one for one in found if forgotten or one.forgotten_ns is None]


def list_files(
    root: PathLike | None = None,
    path: PathLike = b"",
    *,
    config: PathLike | None = None,
    changeset_id: str | None = None,
) -> Iterator[Version]:
    """The paths at and below `path` in a changeset, in byte order, without the root itself.

    One by one: memory does not follow the tree. The catalogue is open until the last.
    """
    with workspace(root, config) as space:
        dataset, queries = space.dataset, space.catalogue.queries
        number = queries.changeset(dataset, changeset_id or "latest").changeset_no
        under = _relative(space, path)
        if under and queries.at(dataset.dataset_no, number, under) is None:
            message = f"{show(under)} is not in that changeset; 'n2s history' tells where it was."
            raise UsageError(message)
        naming = Naming(queries, dataset)
        for row in queries.tree(dataset.dataset_no, number, under=under):
            if row.path:
                yield naming.version(row)


def _relative(space: Workspace, path: PathLike) -> RelPath:
    return parse(os.fsencode(path), root=space.root)


def search(
    pattern: str | bytes,
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Iterator[Version]:
    """Versions whose path matches a glob, by path and age.

    The pattern is matched with the whole path (`*` matches `/` too), and without a `/` in it with
    the last component as well. `since` and `until` bound the time of the changeset.
    """
    first_ns = parse_iso(since) if since else None
    last_ns = _end_ns(until) if until else None
    glob = os.fsencode(pattern)
    matches, names = _matcher(glob), b"/" not in glob
    with workspace(root, config) as space:
        dataset, queries = space.dataset, space.catalogue.queries
        naming = Naming(queries, dataset)
        outside = naming.not_made_between(first_ns, last_ns)
        for path, begins in queries.names(dataset, _span_of(glob)):
            if begins in outside or not path:
                continue
            if matches(path) or (names and matches(path.rpartition(b"/")[2])):
                row = queries.version(dataset.dataset_no, path, begins)
                if row is not None:  # a prune may have removed it meanwhile
                    yield naming.version(row)


def _matcher(glob: bytes) -> Callable[[bytes], object]:
    """What `fnmatch.fnmatchcase` does, without looking at the pattern again for each path."""
    return re.compile(fnmatch.translate(glob.decode("latin-1")).encode("latin-1")).match


def _span_of(glob: bytes) -> Span:
    """All paths that a glob can match: those that begin as it does, up to its first wildcard.

    One without a slash is looked for at every place.
    """
    literal = _WILDCARD.split(glob, 1)[0] if b"/" in glob else b""
    kept = literal.rstrip(b"\xff")
    return Span(literal, kept[:-1] + bytes([kept[-1] + 1]) if kept else None)


def history(
    path: PathLike, root: PathLike | None = None, *, config: PathLike | None = None
) -> list[Version]:
    """All versions of a path, newest first. Raises UsageError for one that was never stored."""
    with workspace(root, config) as space:
        rows = _versions(space, _relative(space, path))
        naming = Naming(space.catalogue.queries, space.dataset)
        begun = {row.valid_from for row in rows}
        head_no = space.dataset.head_no
        return [
            naming.version(row, removed=row.valid_to <= head_no and row.valid_to not in begun)
            for row in rows
        ]


def _versions(space: Workspace, path: RelPath) -> list[FileRow]:
    rows = space.catalogue.queries.history(space.dataset, path)
    if not rows:
        message = f"{show(path) or '.'} was never stored; 'n2s search' finds paths."
        raise UsageError(message)
    return rows


def where(
    path: PathLike, root: PathLike | None = None, *, config: PathLike | None = None
) -> WhereAnswer:
    """The objects that hold the newest version of a path."""
    with workspace(root, config) as space:
        row = _versions(space, _relative(space, path))[0]
        queries = space.catalogue.queries
        naming = Naming(queries, space.dataset)
        record = RecordRef(row.object_no, row.record_offset, row.record_length)
        found = [("metadata", 0, record)]
        if row.segments >= 0 and row.blob_id is not None:
            found += [
                (
                    "segment",
                    one.file_offset,
                    RecordRef(one.object_no, one.record_offset, one.record_length),
                )
                for one in queries.segments(row.blob_id)
            ]
        else:
            content = [RecordRef(*ref) for ref in numbered_content(row)]
            if content == [record]:
                found.clear()
            found += [("content", 0, ref) for ref in content]
        return WhereAnswer(
            version=naming.version(row),
            current=row.valid_to == LIVE or row.valid_to > space.dataset.head_no,
            store_url=shown_url(space.store_url),
            places=tuple(_place(queries, *one) for one in found),
        )


def _place(queries: Queries, kind: str, file_offset: int, ref: RecordRef) -> Place:
    found = queries.object(ref.object_no)
    if found is None:
        message = f"The catalogue refers to object {ref.object_no} but lacks it; run 'n2s rebuild'."
        raise N2sError(message)
    stored, confirmed_ns, verified_ns, verified_how = found
    name = object_name(Shelf(stored.shelf), stored.digest)
    return Place(
        kind,
        file_offset,
        object=name,
        object_size=stored.size,
        offset=ref.offset,
        length=ref.length,
        confirmed_ns=confirmed_ns,
        verified_ns=verified_ns,
        verified_how=verified_how,
    )
