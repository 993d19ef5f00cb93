"""Sealing of one batch of paths into objects: the unit of work of a push.

`seal_batch` is a plain function of a batch; it reads, hashes, compresses, seals, stores, and
returns the rows for the catalogue. It may run in any process on any machine that sees the tree.
"""

import contextlib
import errno
import os
import stat as statlib
import time
from collections.abc import Iterator
from typing import Any

from blake3 import blake3

from n2s_core import segments as cutting
from n2s_core.errors import SourceError
from n2s_core.flows.ahead import opened_ahead
from n2s_core.flows.objects import ObjectsWriter
from n2s_core.hashing import EMPTY_HASH, blob_id, feed_zeros
from n2s_core.jobs import Batch, BatchResult, Emit, FindContent, Item, Known, SealSetting
from n2s_core.manifest import Ref, packb
from n2s_core.model import LIVE, LOST, UNSURE, Failure, FileRow, FileType, Op
from n2s_core.ports import Store
from n2s_core.reading import (
    Directories,
    Owners,
    clamp_ns,
    describe,
    file_type,
    inode_number,
    is_gone,
    read_whole,
    xattrs_of,
)
from n2s_core.rows import node_of
from n2s_core.sealing import Kind
from n2s_core.turns import turns

READ_AGAIN = 2
TIMESTAMP_GRAIN_NS = 20_000_000
_CHANGED = "it changed while it was read; what was read is stored, and it is read again next time"


def seal_batch(
    batch: Batch,
    setting: SealSetting,
    store: Store,
    *,
    emit: Emit | None = None,
    find_content: FindContent | None = None,
) -> BatchResult:
    """Seal the paths of `batch`; everything in the result is confirmed by the store.

    Raises StoreError when the store does not take an object; a path that cannot be read is
    a failure in the result.
    """
    with (
        Directories(setting.root) as source,
        ObjectsWriter(batch, setting, store, emit=emit) as writer,
    ):
        find = find_content if setting.share else None
        worker = _Worker(source, writer, find, frozen=setting.frozen)
        with (
            turns(_devices(batch, source) if setting.readers else (), setting.readers),
            contextlib.closing(opened_ahead(batch.items, source)) as opened,
        ):
            for item, fd in opened:
                worker.take(item, fd)
        return writer.finish(batch)


def _devices(batch: Batch, source: Directories) -> Iterator[int]:
    """Where its first, middle and last path lie; to ask for every path would cost too much."""
    items = batch.items
    for at in {0, len(items) // 2, len(items) - 1} if items else ():
        with contextlib.suppress(OSError):  # whoever reads it says so
            yield source.lstat(items[at].path).st_dev


class _Worker:
    """The state of one batch."""

    def __init__(
        self,
        source: Directories,
        writer: ObjectsWriter,
        find_content: FindContent | None,
        *,
        frozen: bool,
    ) -> None:
        self._frozen = frozen
        self._source = source
        self._writer = writer
        self._result = writer.result
        self._owners = Owners()
        self._find = find_content

    def take(self, item: Item, fd: int | OSError | None) -> None:
        """Look at one path and store what has to be stored; `fd` is closed."""
        self._writer.replacing = None if item.known is None else item.known.row
        try:
            if item.link is not None:
                self._link(item, item.link)
            elif fd is None:
                self._unopened(item)
            elif isinstance(fd, OSError):
                raise fd
            else:
                self._file(item, fd)
        except OSError as error:
            if is_gone(error):
                self._result.vanished.append(item.path)
            elif error.errno in (errno.ELOOP, errno.ENXIO):
                self._fail(item, "it was replaced by something else while it was read")
            else:
                self._fail(item, f"it cannot be read: {describe(error)}")
        except SourceError as error:
            self._fail(item, str(error))

    def _fail(self, item: Item, error: str) -> None:
        self._result.failures.append(Failure(item.path, error))

    # -- files ---------------------------------------------------------------------------

    def _unopened(self, item: Item) -> None:
        stat = self._source.lstat(item.path)
        if statlib.S_ISREG(stat.st_mode):
            self._file(item, self._source.open_file(item.path))
        else:
            self._special(item, stat)

    def _file(self, item: Item, fd: int) -> None:
        try:
            for attempt in range(READ_AGAIN + 1):
                now_ns = time.time_ns()
                stat = os.fstat(fd)
                if not statlib.S_ISREG(stat.st_mode):
                    message = "it was replaced by something else while it was read"
                    raise SourceError(message)
                if stat.st_size > cutting.LARGE or cutting.has_holes(fd, stat):
                    finished = self._large(item, fd, stat, now_ns, last=attempt == READ_AGAIN)
                else:
                    finished = self._small(item, fd, stat, now_ns, last=attempt == READ_AGAIN)
                if finished:
                    return
        finally:
            os.close(fd)

    def _steady(self, item: Item, fd: int, stat: os.stat_result, *, last: bool) -> bool | None:
        """True: unchanged since `stat`; False: changed, read again; None: changed, store it."""
        after = os.fstat(fd)
        if (
            after.st_mtime_ns == stat.st_mtime_ns
            and after.st_ctime_ns == stat.st_ctime_ns
            and after.st_size == stat.st_size
        ):
            return True
        if not last:
            return False
        self._fail(item, _CHANGED)
        return None

    def _small(self, item: Item, fd: int, stat: os.stat_result, now_ns: int, *, last: bool) -> bool:
        path = item.path
        data = read_whole(fd, stat.st_size)
        xattrs = xattrs_of(fd)
        steady = self._steady(item, fd, stat, last=last)
        if steady is False or (len(data) != stat.st_size and not last):
            return False
        if steady and len(data) != stat.st_size:
            self._fail(item, "it is not as long as its size says")
            steady = None
        digest = blake3(data).digest() if data else EMPTY_HASH
        self._result.bytes_read += len(data)
        row, node = self._describe(item, stat, xattrs, now_ns if steady else 0)
        row["size"] = node["s"] = len(data)
        node["h"] = row["file_hash"] = digest
        if self._same_content(item, row, node, digest):
            return True
        node["b"] = row["blob_id"] = blob_id(path, digest)
        if not data:
            self._writer.add_node(Op.WRITE, node, row)
            return True
        shared = self._find and self._find(Kind.BLOB, digest)
        if shared:
            node["a"] = [Ref(*shared[1:])]
            row["content"] = packb([(shared.object_no, shared.offset, shared.length)])
            self._writer.add_node(Op.WRITE, node, row, content=[Ref(*shared[1:])])
            return True
        self._writer.add_blob(node, row, data, digest if self._find else None)
        return True

    def _large(self, item: Item, fd: int, stat: os.stat_result, now_ns: int, *, last: bool) -> bool:
        whole = blake3()
        position = 0
        parts = self._writer.begin_file(item.path, item.segments or {})
        for start, end in cutting.extents(fd, stat.st_size):
            feed_zeros(whole, start - position)
            position = start
            for offset, view in cutting.cut(fd, start, end):
                whole.update(view)
                digest = blake3(view).digest()
                known = self._find and self._find(Kind.SEGMENT, digest)
                parts.add(offset, view, digest, known or None)
                position = offset + len(view)
                self._result.bytes_read += len(view)
        size = max(stat.st_size, position)
        feed_zeros(whole, size - position)
        xattrs = xattrs_of(fd)
        steady = self._steady(item, fd, stat, last=last)
        if steady is False:
            return False
        digest = whole.digest()
        row, node = self._describe(item, stat, xattrs, now_ns if steady else 0)
        row["size"] = node["s"] = size
        node["h"] = row["file_hash"] = digest
        if self._same_content(item, row, node, digest):
            return True
        node["b"] = row["blob_id"] = blob_id(item.path, digest)
        self._writer.finish_file(parts, node, row)
        return True

    def _same_content(
        self, item: Item, row: dict[str, Any], node: dict[str, Any], digest: bytes
    ) -> bool:
        """Handle a file whose content is stored already: refresh it, or touch its metadata."""
        known = item.known
        if known is None or known.row.file_hash != digest or known.row.type != FileType.FILE:
            return False
        if known.row.ctime_ns == LOST:
            return False
        self._touch(item, known, row, node)
        return True

    def _touch(self, item: Item, known: Known, row: dict[str, Any], node: dict[str, Any]) -> None:
        """The content of `known` under the metadata of now."""
        old = known.row
        node["b"] = row["blob_id"] = old.blob_id
        if item.known is known and _same_metadata(old, row):
            self._result.refreshed.append((row["ctime_ns"], row["inode"], row["nlink"], item.path))
            return
        row["segments"] = old.segments
        if old.segments >= 0:
            node["q"] = old.segments
        refs = [Ref(place.digest, place.offset, place.length) for place in known.content]
        if refs:
            node["a"] = refs
            row["content"] = packb([(p.object_no, p.offset, p.length) for p in known.content])
        op = Op.TOUCH if item.known is known else Op.WRITE
        self._writer.add_node(op, node, row, content=refs or None)

    # -- everything else ------------------------------------------------------------------

    def _link(self, item: Item, target: Known) -> None:
        """One more path of an inode that is stored: its metadata are those of `target`."""
        old = target.row
        row = old._asdict()
        row.update(
            path=item.path, mount=item.mount, valid_from=self._writer.changeset_no, content=None
        )
        known = item.known
        if (
            known is not None
            and known.row.type == old.type
            and known.row.file_hash == old.file_hash
            and known.row.ctime_ns != LOST
            and _same_metadata(known.row, row)
        ):
            self._result.refreshed.append((old.ctime_ns, old.inode, old.nlink, item.path))
            return
        node = node_of(FileRow(**row))
        refs = [Ref(place.digest, place.offset, place.length) for place in target.content]
        if refs:
            node["a"] = refs
            row["content"] = packb([(p.object_no, p.offset, p.length) for p in target.content])
        self._writer.add_node(Op.WRITE, node, row, content=refs or None)

    def _special(self, item: Item, stat: os.stat_result) -> None:
        kind = file_type(stat.st_mode)
        extra: dict[str, Any] = {}
        if kind is FileType.SYMLINK:
            extra["l"] = self._source.readlink(item.path)
        elif kind in (FileType.CHARACTER_DEVICE, FileType.BLOCK_DEVICE):
            extra["d"] = (os.major(stat.st_rdev), os.minor(stat.st_rdev))
        now_ns = time.time_ns()
        xattrs = self._source.xattrs(item.path)
        row, node = self._describe(item, stat, xattrs, now_ns, extra)
        known = item.known
        if (
            known is not None
            and known.row.type == kind
            and known.row.ctime_ns != LOST
            and _same_metadata(known.row, row)
        ):
            self._result.refreshed.append((row["ctime_ns"], row["inode"], row["nlink"], item.path))
            return
        same_type = known is not None and known.row.type == kind
        same_target = same_type and known is not None and kind is not FileType.SYMLINK
        self._writer.add_node(Op.TOUCH if same_target else Op.WRITE, node, row)

    def _describe(
        self,
        item: Item,
        stat: os.stat_result,
        xattrs: dict[bytes, bytes],
        now_ns: int,
        extra: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Row and node map of a path in the state `stat`; `now_ns` 0: look again next time."""
        mtime_ns = clamp_ns(stat.st_mtime_ns)
        ctime_ns = clamp_ns(stat.st_ctime_ns)
        if not now_ns or (not self._frozen and ctime_ns >= now_ns - TIMESTAMP_GRAIN_NS):
            ctime_ns = UNSURE
        kind = file_type(stat.st_mode)
        mode = stat.st_mode & 0o7777
        user, group = self._owners.user(stat.st_uid), self._owners.group(stat.st_gid)
        node: dict[str, Any] = {
            "p": item.path,
            "t": int(kind),
            "s": stat.st_size,
            "m": mtime_ns,
            "o": mode,
            "u": stat.st_uid,
            "g": stat.st_gid,
        }
        _add_names(node, user, group)
        nlink = stat.st_nlink if kind is not FileType.DIRECTORY else 1
        if nlink > 1:
            node["n"] = nlink
            node["i"] = inode_number(stat)
            if item.mount:
                node["f"] = item.mount
        if xattrs:
            extra = {**(extra or {}), "x": xattrs}
        if extra:
            node.update(extra)
        row: dict[str, Any] = {
            "path": item.path,
            "valid_from": self._writer.changeset_no,
            "valid_to": LIVE,
            "type": int(kind),
            "size": stat.st_size,
            "mtime_ns": mtime_ns,
            "ctime_ns": ctime_ns,
            "mode": mode,
            "uid": stat.st_uid,
            "gid": stat.st_gid,
            "user_name": user,
            "group_name": group,
            "inode": inode_number(stat),
            "nlink": nlink,
            "mount": item.mount,
            "file_hash": None,
            "blob_id": None,
            "object_no": 0,
            "record_offset": 0,
            "record_length": 0,
            "content": None,
            "segments": -1,
            "extra": packb(extra) if extra else None,
        }
        return row, node


def _add_names(node: dict[str, Any], user: str | None, group: str | None) -> None:
    if user is not None:
        node["U"] = user
    if group is not None:
        node["G"] = group


_COMPARED = ("mtime_ns", "mode", "uid", "gid", "user_name", "group_name", "extra")


def _same_metadata(old: FileRow, row: dict[str, Any]) -> bool:
    """Whether everything that a restore would set is as it was."""
    if any(getattr(old, name) != row[name] for name in _COMPARED):
        return False
    if (old.nlink > 1) != (row["nlink"] > 1):
        return False
    return old.nlink <= 1 or (old.inode == row["inode"] and old.mount == row["mount"])
