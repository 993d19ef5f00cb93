"""Restoring of one batch of files: the unit of work of a pull.

Plain functions of a batch, run in any process that can write to the target.
"""

import os
import stat as statlib
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3

from n2s_core.errors import DamageError, Missing, SourceError, TargetError
from n2s_core.flows.spans import Spans
from n2s_core.hashing import feed_zeros
from n2s_core.jobs import Located
from n2s_core.model import Failure, FileRow, FileType, JsonMap
from n2s_core.ports import Store
from n2s_core.reading import describe, file_type
from n2s_core.sealing import unpack_map
from n2s_core.writing import Target

READ_SIZE = 4 << 20
SPECIAL = {
    FileType.FIFO: statlib.S_IFIFO,
    FileType.CHARACTER_DEVICE: statlib.S_IFCHR,
    FileType.BLOCK_DEVICE: statlib.S_IFBLK,
    FileType.SOCKET: statlib.S_IFSOCK,
}


class Piece(NamedTuple):
    """Bytes of a file from `file_offset` on are the payload of one record."""

    file_offset: int
    place: Located


class Wanted(NamedTuple):
    """One path to restore and the pieces of its content in ascending order."""

    row: FileRow
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class RestoreBatch:
    """Paths that are no directories; `replace` lets them take the place of others.

    `fresh` says that the target was empty when the pull began, so nothing has to be looked for;
    what appears there meanwhile is still not overwritten.
    """

    target: bytes
    wanted: list[Wanted]
    replace: bool
    fresh: bool = False


@dataclass(slots=True)
class RestoreResult:
    """What became of a batch. `damaged` counts failures for which the store is to blame.

    `requests` is what the store was asked.
    """

    files: int = 0
    bytes: int = 0
    skipped: int = 0
    damaged: int = 0
    failures: list[Failure] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)


def restore_batch(batch: RestoreBatch, store: Store, master_key: bytes) -> RestoreResult:
    """Restore the paths of a batch. Raises StoreError when the store cannot be reached."""
    result = RestoreResult()
    places = [piece.place for wanted in batch.wanted for piece in wanted.pieces]
    spans = Spans(store, master_key, places)
    with Target(batch.target, replace=batch.replace) as target:
        for wanted in batch.wanted:
            row = wanted.row
            try:
                done = _restore(target, wanted, spans, fresh=batch.fresh)
            except (DamageError, Missing) as error:
                result.damaged += 1
                result.failures.append(Failure(row.path, str(error)))
            except (TargetError, SourceError) as error:
                result.failures.append(Failure(row.path, str(error)))
            except OSError as error:
                result.failures.append(
                    Failure(row.path, f"it cannot be restored: {describe(error)}")
                )
            else:
                if done is None:
                    result.skipped += 1
                else:
                    result.files += 1
                    result.bytes += row.size if row.type == FileType.FILE else 0
                    if done:
                        result.failures.append(Failure(row.path, done))
    return result


def _restore(target: Target, wanted: Wanted, spans: Spans, *, fresh: bool) -> str | None:
    """None: it was right already. Otherwise what could not be set, "" for nothing."""
    row = wanted.row
    there = None if fresh else target.lstat(row.path)
    if there is not None and file_type(there.st_mode) != row.type:
        if not target.replace:
            message = "something of another type is there; --force replaces it"
            raise TargetError(message)
        target.make_way(row.path)
        there = None
    extra = unpack_map(row.extra) if row.extra is not None else {}
    xattrs = {bytes(key): bytes(value) for key, value in extra.get("x", {}).items()}
    if row.type == FileType.FILE:
        return _restore_file(target, wanted, spans, there, xattrs)
    return _restore_special(target, row, extra, there, xattrs)


def _restore_special(
    target: Target,
    row: FileRow,
    extra: JsonMap,
    there: os.stat_result | None,
    xattrs: dict[bytes, bytes],
) -> str | None:
    right = False
    device = extra.get("d") or [0, 0]
    if row.type == FileType.SYMLINK:
        link = extra.get("l")
        if not isinstance(link, bytes):
            message = "the stored symlink has no target"
            raise DamageError(message)
        right = there is not None and target.readlink(row.path) == link
        if there is not None and not right:
            _refuse_or_clear(target, row)
        if not right:
            target.symlink(row.path, link)
    else:
        numbers = tuple(device[:2])
        right = there is not None and (os.major(there.st_rdev), os.minor(there.st_rdev)) == numbers
        if there is not None and not right:
            _refuse_or_clear(target, row)
        if not right:
            target.special(row.path, SPECIAL[FileType(row.type)], numbers)
    mode = None if row.type == FileType.SYMLINK else row.mode
    problem = target.describe_path(
        row.path, mode=mode, uid=row.uid, gid=row.gid, mtime_ns=row.mtime_ns, xattrs=xattrs
    )
    return None if right and not problem else problem or ""


def _refuse_or_clear(target: Target, row: FileRow) -> None:
    if not target.replace:
        message = "something different is there; --force replaces it"
        raise TargetError(message)
    target.make_way(row.path)


def _restore_file(
    target: Target,
    wanted: Wanted,
    spans: Spans,
    there: os.stat_result | None,
    xattrs: dict[bytes, bytes],
) -> str | None:
    row = wanted.row
    if there is not None:
        if is_content(target, row, there):
            fd = target.open_existing(row.path)
            try:
                problem = _describe(target, fd, row, xattrs)
            finally:
                os.close(fd)
            return problem or None
        if not target.replace:
            message = "a different file is there; --force replaces it"
            raise TargetError(message)
    with target.new_file(row.path) as fd:
        _fill(fd, wanted, spans)
        return _describe(target, fd, row, xattrs) or ""


def _describe(target: Target, fd: int, row: FileRow, xattrs: dict[bytes, bytes]) -> str | None:
    return target.describe_file(
        fd, mode=row.mode, uid=row.uid, gid=row.gid, mtime_ns=row.mtime_ns, xattrs=xattrs
    )


def is_content(target: Target, row: FileRow, there: os.stat_result) -> bool:
    """Whether what is at the path of `row`, with the status `there`, has its content."""
    if there.st_size != row.size or file_type(there.st_mode) != FileType.FILE:
        return False
    try:
        fd = target.open_existing(row.path)
    except OSError:
        return False
    hasher = blake3()
    try:
        while data := os.read(fd, READ_SIZE):
            hasher.update(data)
    finally:
        os.close(fd)
    return hasher.digest() == row.file_hash


def _fill(fd: int, wanted: Wanted, spans: Spans) -> None:
    """Write the content. Raises DamageError when it is not what the catalogue says."""
    row = wanted.row
    whole = blake3()
    position = 0
    for piece in wanted.pieces:
        payload = spans.payload(piece.place)
        if not position <= piece.file_offset <= row.size - len(payload):
            message = "its stored pieces do not fit into it"
            raise DamageError(message)
        feed_zeros(whole, piece.file_offset - position)
        whole.update(payload)
        _write(fd, payload, piece.file_offset)
        position = piece.file_offset + len(payload)
    if position < row.size:
        os.ftruncate(fd, row.size)
        feed_zeros(whole, row.size - position)
    if whole.digest() != row.file_hash:
        message = "its stored content is not what the catalogue says"
        raise DamageError(message)


def _write(fd: int, data: bytes, offset: int) -> None:
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)
