"""A pull: the tree of one changeset into a directory.

Directories first, then files in the order in which they lie in the store, then hard links, then
what stands on directories, deepest first.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from n2s_core.errors import TargetError
from n2s_core.flows.clearing import others, remove
from n2s_core.flows.restore import Piece, RestoreBatch, RestoreResult, Wanted, is_content
from n2s_core.jobs import Located
from n2s_core.model import Failure, FileRow, FileType, Part, Progress, Report, SegmentRow
from n2s_core.ports import Executor
from n2s_core.reading import describe
from n2s_core.relpath import RelPath, ancestors, is_below
from n2s_core.rows import numbered_content
from n2s_core.sealing import unpack_map
from n2s_core.writing import Target

MOST_FILES = 2048
MOST_BYTES = 48 << 20
MOST_FAILURES = 10_000
LINKS_AT_ONCE = 8192


class TreeCatalogue(Protocol):
    """The trees of one dataset at one changeset."""

    def tree(self, under: RelPath, part: Part = Part.ALL) -> Iterator[FileRow]:
        """Versions at and below a path."""

    def at(self, path: RelPath) -> FileRow | None:
        """The version of one path."""

    def segments(self, blob_id: bytes) -> list[SegmentRow]:
        """The segments of a file in pieces."""

    def digest_of(self, object_no: int) -> bytes:
        """The BLAKE3 of an object."""


@dataclass(frozen=True, slots=True)
class PullWish:
    """What to restore and how. `paths` empty: everything."""

    target: bytes
    paths: tuple[RelPath, ...] = ()
    force: bool = False
    delete: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Pull:
    """One pull. `restore` is the call that workers get; `executor` starts them."""

    catalogue: TreeCatalogue
    wish: PullWish
    restore: Callable[[RestoreBatch], RestoreResult]
    executor: Callable[[], Executor]
    width: int
    report: Report
    result: RestoreResult = field(default_factory=RestoreResult)
    _running: "deque[Future[RestoreResult]]" = field(default_factory=deque)
    _batch: list[Wanted] = field(default_factory=list)
    _weight: int = 0
    _fresh: bool = False
    _failed: set[RelPath] | None = None
    _instead: dict[RelPath, RelPath] = field(default_factory=dict)

    def run(self) -> RestoreResult:
        """Do it. Raises N2sError; what belongs to one path is a failure in the result."""
        if self.wish.dry_run:
            return self._rehearse()
        self._fresh = is_empty_directory(self.wish.target)
        with Target(self.wish.target, replace=self.wish.force) as target:
            if self.wish.delete:
                self._delete_others(target)
            self._make_directories(target)
            for under in self._tops():
                for row in self.catalogue.tree(under, Part.SINGLE):
                    self._add(row)
            self._finish_batches()
            self._failed = set()
            self._hard_links(target)
            self._finish_directories(target)
        return self.result

    def _tops(self) -> list[RelPath]:
        """The paths asked for, without those that lie below another one."""
        if not self.wish.paths:
            return [b""]
        tops: list[RelPath] = []
        for path in sorted(set(self.wish.paths)):
            if not any(is_below(path, top) or path == top for top in tops):
                tops.append(path)
        return tops

    def _fail(self, path: RelPath, error: str) -> None:
        if len(self.result.failures) < MOST_FAILURES:
            self.result.failures.append(Failure(path, error))

    # -- directories -----------------------------------------------------------------------------

    def _directories(self, part: Part) -> Iterator[FileRow]:
        above = {directory for path in self._tops() for directory in ancestors(path) if path}
        rows = [row for path in above if (row := self.catalogue.at(path)) is not None]
        rows = [row for row in rows if row.type == FileType.DIRECTORY]
        if part is Part.DIRECTORIES:
            yield from sorted(rows, key=lambda row: row.path)
        for under in self._tops():
            yield from self.catalogue.tree(under, part)
        if part is Part.DEEPEST_FIRST:
            yield from sorted(rows, key=lambda row: row.path, reverse=True)

    def _make_directories(self, target: Target) -> None:
        for row in self._directories(Part.DIRECTORIES):
            try:
                target.directory(row.path)
            except (TargetError, OSError) as error:
                self._fail(row.path, _reason(error))

    def _finish_directories(self, target: Target) -> None:
        for row in self._directories(Part.DEEPEST_FIRST):
            extra = unpack_map(row.extra) if row.extra is not None else {}
            try:
                problem = target.describe_file(
                    target.directory(row.path, make=False),
                    mode=row.mode,
                    uid=row.uid,
                    gid=row.gid,
                    mtime_ns=row.mtime_ns,
                    xattrs=extra.get("x", {}),
                )
            except (TargetError, OSError) as error:
                problem = _reason(error)
            if problem:
                self._fail(row.path, problem)

    # -- files -----------------------------------------------------------------------------------

    def _wanted(self, row: FileRow) -> Wanted:
        if row.type != FileType.FILE or not row.size:
            return Wanted(row, [])
        digest_of = self.catalogue.digest_of
        if row.segments >= 0:
            assert row.blob_id is not None
            pieces = [
                Piece(
                    one.file_offset,
                    Located(
                        one.object_no,
                        digest_of(one.object_no),
                        one.record_offset,
                        one.record_length,
                    ),
                )
                for one in self.catalogue.segments(row.blob_id)
            ]
            return Wanted(row, pieces)
        pieces = [
            Piece(0, Located(number, digest_of(number), offset, length))
            for number, offset, length in numbered_content(row)
        ]
        return Wanted(row, pieces)

    def _add(self, row: FileRow) -> None:
        self._batch.append(self._wanted(row))
        self._weight += row.size
        if len(self._batch) >= MOST_FILES or self._weight >= MOST_BYTES:
            self._submit()

    def _submit(self) -> None:
        if not self._batch:
            return
        batch = RestoreBatch(self.wish.target, self._batch, self.wish.force, self._fresh)
        self._batch, self._weight = [], 0
        while len(self._running) > self.width:
            self._collect()
        self._running.append(self.executor().submit(self.restore, batch))

    def _collect(self) -> None:
        done = self._running.popleft().result()
        result = self.result
        result.files += done.files
        result.bytes += done.bytes
        result.skipped += done.skipped
        result.damaged += done.damaged
        result.requests.update(done.requests)
        result.failures.extend(done.failures[: MOST_FAILURES - len(result.failures)])
        if self._failed is not None:
            self._failed.update(one.path for one in done.failures)
        self.report(Progress("restoring", result.files, result.bytes))

    def _finish_batches(self) -> None:
        if self._batch and not self._running:
            batch = RestoreBatch(self.wish.target, self._batch, self.wish.force, self._fresh)
            self._batch, self._weight = [], 0
            future: Future[RestoreResult] = Future()
            future.set_result(self.restore(batch))
            self._running.append(future)
        self._submit()
        while self._running:
            self._collect()

    # -- hard links ------------------------------------------------------------------------------

    def _hard_links(self, target: Target) -> None:
        """Of every group the first path is restored like a file, the others are linked to it.

        When the first one fails, the next takes its place: its content may lie elsewhere.
        """
        pending: list[tuple[RelPath, FileRow]] = []
        group: tuple[object, ...] | None = None
        first = b""
        for row in self._linked_rows():
            key = (row.mount, row.inode, row.file_hash, row.size, row.mtime_ns, row.mode,
                   row.uid, row.gid, row.type)  # fmt: skip
            if key != group:
                if len(pending) >= LINKS_AT_ONCE:
                    self._link(target, pending)
                group, first = key, row.path
                self._add(row)
            else:
                pending.append((first, row))
                if len(pending) >= LINKS_AT_ONCE:
                    self._link(target, pending)
        self._link(target, pending)

    def _linked_rows(self) -> Iterator[FileRow]:
        """Rows with more than one link; of several tops together, because a group may span them."""
        tops = self._tops()
        if len(tops) == 1:
            yield from self.catalogue.tree(tops[0], Part.LINKED)
            return
        for row in self.catalogue.tree(b"", Part.LINKED):
            if any(row.path == top or is_below(row.path, top) for top in tops):
                yield row

    def _link(self, target: Target, pending: list[tuple[RelPath, FileRow]]) -> None:
        self._finish_batches()
        for first, row in pending:
            original = self._instead.get(first, first)
            if self._is_missing(target, original, row):
                self._add(row)
                self._finish_batches()
                self._instead[first] = row.path
                continue
            try:
                self._link_one(target, original, row)
            except (TargetError, OSError) as error:
                self._fail(row.path, _reason(error))
        pending.clear()

    def _is_missing(self, target: Target, first: RelPath, row: FileRow) -> bool:
        """Whether the path that `row` is to be linked to failed, and not by its metadata alone."""
        there = target.lstat(first)
        if there is None or self._failed is None:
            return True
        return first in self._failed and not is_content(target, row._replace(path=first), there)

    def _link_one(self, target: Target, first: RelPath, row: FileRow) -> None:
        there = target.lstat(row.path)
        original = target.lstat(first)
        assert original is not None
        if there is not None:
            if (there.st_dev, there.st_ino) == (original.st_dev, original.st_ino):
                self.result.skipped += 1
                return
            if not self.wish.force and not is_content(target, row, there):
                message = "a different file is there; --force replaces it"
                raise TargetError(message)
            target.make_way(row.path)
        target.link(first, row.path)
        self.result.files += 1

    # -- the rest --------------------------------------------------------------------------------

    def _delete_others(self, target: Target) -> None:
        """Remove what is in the target below the tops and not in the tree."""
        for top in self._tops():
            rows = self.catalogue.tree(top)
            for path, directory in others(self.wish.target, top, rows, self._fail):
                try:
                    remove(target, path, directory=directory)
                except (TargetError, OSError) as error:
                    self._fail(path, _reason(error))
        target.forget()

    def _rehearse(self) -> RestoreResult:
        for under in self._tops():
            for row in self.catalogue.tree(under):
                if row.type == FileType.DIRECTORY:
                    continue
                self.result.files += 1
                self.result.bytes += row.size if row.type == FileType.FILE else 0
        return self.result


def _reason(error: TargetError | OSError) -> str:
    return describe(error) if isinstance(error, OSError) else str(error)


def is_empty_directory(path: bytes) -> bool:
    """Whether a target has nothing in it."""
    with os.scandir(path) as entries:
        return next(entries, None) is None
