"""Contents that damaged objects held, found elsewhere; only what has the same hash is taken."""

import os
import stat as statlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from blake3 import blake3

from n2s_core.errors import DamageError, Missing, SourceError
from n2s_core.flows.spans import Spans
from n2s_core.jobs import Located
from n2s_core.model import LIVE, FileRow, RecordRef, SegmentRow
from n2s_core.ports import Store
from n2s_core.reading import Directories
from n2s_core.relpath import RelPath
from n2s_core.wanted import SegmentPlace, Twin


class Left(Protocol):
    """What a damaged object itself still gives."""

    def content(self, digest: bytes) -> bytes | None:
        """The content with this hash."""


class Contents:
    """Looks in the damaged object, in the tree, and in other objects of the store."""

    def __init__(
        self,
        source: Directories,
        store: Store,
        master_key: bytes,
        *,
        twins: Callable[[bytes], Iterable[Twin]],
        segment_twins: Callable[[bytes], Iterable[RecordRef]],
        digest_of: Callable[[int], bytes],
    ) -> None:
        """`twins` and `segment_twins` say where else the content with a hash is."""
        self._source = source
        self._store = store
        self._master_key = master_key
        self._twins = twins
        self._segment_twins = segment_twins
        self._digest_of = digest_of

    def of_file(self, row: FileRow, left: Left) -> bytes | None:
        """The content of a file in one piece."""
        assert row.file_hash is not None
        found = left.content(row.file_hash)
        if found is not None:
            return found
        twins = list(self._twins(row.file_hash))
        paths = [row.path] if row.valid_to == LIVE else []
        paths += [one.path for one in twins if one.live]
        for path in dict.fromkeys(paths):
            data = self._from_tree(path, 0, row.size, whole=True)
            if blake3(data).digest() == row.file_hash:
                return data
        records = (one.whole for one in twins if one.whole is not None)
        return next((data for _, data in self.stored(records, row.file_hash)), None)

    def of_segment(
        self, segment: SegmentRow, places: Iterable[SegmentPlace], left: Left
    ) -> bytes | None:
        """A piece of a large file."""
        digest = segment.segment_hash
        found = left.content(digest)
        if found is not None:
            return found
        for place in places:
            if place.here:
                data = self._from_tree(place.path, place.file_offset, segment.length, whole=False)
                if blake3(data).digest() == digest:
                    return data
        return next((data for _, data in self.stored(self._segment_twins(digest), digest)), None)

    def stored(
        self, records: Iterable[RecordRef], digest: bytes
    ) -> Iterator[tuple[RecordRef, bytes]]:
        """Those of these records that were read and have the content with this hash."""
        for ref in records:
            place = Located(ref.object_no, self._digest_of(ref.object_no), ref.offset, ref.length)
            try:
                data = Spans(self._store, self._master_key, [place]).payload(place)
            except (DamageError, Missing):
                continue
            if blake3(data).digest() == digest:
                yield ref, data

    def _from_tree(self, path: RelPath, offset: int, length: int, *, whole: bool) -> bytes:
        """Bytes of a file of the tree, of one that has no others if it is to be `whole`.

        Nothing when it cannot be read: the content may be had elsewhere, and the next push reports
        the path.
        """
        try:
            fd = self._source.open_file(path)
        except (OSError, SourceError):
            return b""
        try:
            stat = os.fstat(fd)
            if not statlib.S_ISREG(stat.st_mode) or (whole and stat.st_size != length):
                return b""
            return os.pread(fd, length, offset)
        except OSError:
            return b""
        finally:
            os.close(fd)
