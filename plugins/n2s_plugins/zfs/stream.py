"""The records of a `zfs send -i` stream: which objects of a dataset may have changed.

A stream names each object whose dnode lies in a block that was written since the base: whatever
changed is among them, up to 31 others that share the block as well. An object number is the inode
number of the file. The layout of the records is that of OpenZFS, include/sys/zfs_ioctl.h
(dmu_replay_record), that of the attributes include/sys/zfs_sa.h and zfs_znode.h.
"""

import struct
from collections.abc import Callable, Generator
from typing import NamedTuple, NoReturn

from n2s_core.errors import DiscoveryError

RECORD = 312
"""Bytes of every record before its payload."""
MAGIC = 0x2F5BACBAC
_BEGIN, _OBJECT, _FREE_OBJECTS, _WRITE, _FREE, _END = range(6)
_SPILL, _EMBEDDED, _REDACT = 7, 8, 10
_WITHOUT_PAYLOAD = {_FREE_OBJECTS, _FREE, _END, _REDACT}
_PLAIN_FILE, _DIRECTORY = 19, 20
_ZNODE, _ATTRIBUTES = 17, 44
_ATTRIBUTES_MAGIC = 0x2F505A
_HIDDEN = 1

_HEAD = struct.Struct("<II")
_BEGIN_BODY = struct.Struct("<8xQQQIIQQ")
_OBJECT_BODY = struct.Struct("<8xQIIII4BI")
_WRITE_BODY = struct.Struct("<8xQII QQQ BBB5x 40x Q")
_SPILL_BODY = struct.Struct("<8xQQQ BB6x Q")
_EMBEDDED_BODY = struct.Struct("<8xQQQQ 8x II")
_ATTRIBUTES_HEAD = struct.Struct("<IH")
_ATTRIBUTES_FIELDS = struct.Struct("<40xQQ64xQ")
_ZNODE_FIELDS = struct.Struct("<88xQQ16xQ")


class Object(NamedTuple):
    """A file or directory that may have changed.

    `parent` is the number of the directory where its last link was made; the data of a `written`
    one changed, which are the entries of a directory; a `linked` file has several names.
    """

    number: int
    directory: bool
    parent: int
    written: bool
    linked: bool


_Wants = Generator[int, bytes, None]
"""Yields how many bytes it wants next, or negative: how many it has no use for."""


class Stream:
    """Takes a stream in pieces of any size; `found` is called for each object, by number.

    What has no name any more and what holds extended attributes is left out. `base` and `new` are
    the guids of the two snapshots.
    """

    def __init__(self, found: Callable[[Object], None], *, base: int, new: int) -> None:
        """Nothing has been taken yet."""
        self._found = found
        self._guids = base, new
        self._parser: _Wants | None = self._parse()
        self._wants = next(self._parser)
        self._rest = b""

    def take(self, data: bytes) -> None:
        """The next piece. Raises DiscoveryError for a stream that is not understood."""
        data = self._rest + data if self._rest else data
        at = 0
        while at < len(data):
            if self._parser is None:
                _refuse("goes on after its end")
            if self._wants < 0:
                passed = min(-self._wants, len(data) - at)
                self._wants += passed
                at += passed
                if not self._wants:
                    self._send(b"")
                continue
            if len(data) - at < self._wants:
                break
            piece = data[at : at + self._wants]
            at += self._wants
            self._send(piece)
        self._rest = data[at:]

    def end(self) -> None:
        """Raises DiscoveryError when more should have come."""
        if self._parser is not None or self._rest:
            _refuse("is cut off")

    def _send(self, piece: bytes) -> None:
        assert self._parser is not None
        try:
            self._wants = self._parser.send(piece)
            while not self._wants:
                self._wants = self._parser.send(b"")
        except StopIteration:
            self._parser = None

    def _parse(self) -> _Wants:
        record = yield RECORD
        kind, size = _HEAD.unpack_from(record)
        magic, _, _, _, _, to_guid, from_guid = _BEGIN_BODY.unpack_from(record)
        if kind != _BEGIN or magic != MAGIC:
            _refuse("is no stream in the byte order of this machine")
        if (from_guid, to_guid) != self._guids:
            _refuse("is of other snapshots")
        yield -size
        last: Object | None = None
        while kind != _END:
            record = yield RECORD
            kind = _HEAD.unpack_from(record)[0]
            if kind in {_OBJECT, _END} and last is not None:
                self._found(last)
                last = None
            if kind == _OBJECT:
                bonus = yield _bonus_size(record)
                last = _object(record, bonus)
            elif kind in {_WRITE, _EMBEDDED}:
                number, size = _written(kind, record)
                if last is not None and last.number == number:
                    last = last._replace(written=True)
                yield -size
            elif kind == _SPILL:
                _, length, _, _, _, packed = _SPILL_BODY.unpack_from(record)
                yield -(packed or length)
            elif kind not in _WITHOUT_PAYLOAD:
                _refuse(f"has a record of the unknown type {kind}")


def _written(kind: int, record: bytes) -> tuple[int, int]:
    """The object of a record with contents, and the size of these."""
    if kind == _WRITE:
        number, _, _, _, logical, _, _, _, packing, packed = _WRITE_BODY.unpack_from(record)
        return number, packed if packing else logical
    number, _, _, _, _, size = _EMBEDDED_BODY.unpack_from(record)
    return number, -(-size // 8) * 8


def _bonus_size(record: bytes) -> int:
    fields = _OBJECT_BODY.unpack_from(record)
    return int(fields[-1]) or -(-int(fields[4]) // 8) * 8


def _object(record: bytes, bonus: bytes) -> Object | None:
    """None for what has no path: the books of ZFS itself, extended attributes, what is deleted."""
    number, kind, bonus_kind, *_ = _OBJECT_BODY.unpack_from(record)
    if kind not in {_PLAIN_FILE, _DIRECTORY}:
        return None
    if bonus_kind == _ZNODE and len(bonus) >= _ZNODE_FIELDS.size:
        parent, links, flags = _ZNODE_FIELDS.unpack_from(bonus)
    elif bonus_kind == _ATTRIBUTES and len(bonus) >= _ATTRIBUTES_HEAD.size:
        magic, layout = _ATTRIBUTES_HEAD.unpack_from(bonus)
        start = (layout >> 10) * 8
        if magic != _ATTRIBUTES_MAGIC or len(bonus) < start + _ATTRIBUTES_FIELDS.size:
            _refuse(f"has attributes of object {number} that nobody understands")
        parent, flags, links = _ATTRIBUTES_FIELDS.unpack_from(bonus, start)
    else:
        _refuse(f"has no attributes of object {number} that n2s can read")
    if flags & _HIDDEN or not links:
        return None
    directory = kind == _DIRECTORY
    return Object(number, directory, parent, written=False, linked=links > 1 and not directory)


def _refuse(what: str) -> NoReturn:
    message = f"What zfs send printed {what}."
    raise DiscoveryError(message)
