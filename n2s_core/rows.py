"""Rows of the catalogue and nodes of the format are the same facts in two spellings."""

from collections.abc import Callable
from typing import Any

import msgpack

from n2s_core.errors import DamageError
from n2s_core.judging import MOST, array, digest, number, raw, text
from n2s_core.manifest import Entry, ObjectTable, Ref, pack_entry, packb
from n2s_core.model import LIVE, FileRow, FileType, Op
from n2s_core.reading import clamp_ns
from n2s_core.relpath import excerpt
from n2s_core.sealing import unpack_map

_RARE = ("l", "d", "x")
MOST_ID = (1 << 32) - 2
"""The number after it stands for "leave it as it is"."""
_DEVICES = (FileType.CHARACTER_DEVICE, FileType.BLOCK_DEVICE)
MOST_MODE = 0o7777
_ANY_TIME = 1 << 64
MOST_DEVICE = (1 << 32) - 1
MOST_SEGMENTS = (1 << 31) - 1
DigestOf = Callable[[int], bytes]
NumberOf = Callable[[bytes], int]


def node_of(row: FileRow) -> dict[str, Any]:
    """The node map of a row, without `a`."""
    node: dict[str, Any] = {
        "p": row.path,
        "t": row.type,
        "s": row.size,
        "m": row.mtime_ns,
        "o": row.mode,
        "u": row.uid,
        "g": row.gid,
    }
    if row.user_name is not None:
        node["U"] = row.user_name
    if row.group_name is not None:
        node["G"] = row.group_name
    if row.nlink > 1:
        node["n"] = row.nlink
        node["i"] = row.inode
        if row.mount:
            node["f"] = row.mount
    if row.extra is not None:
        node.update(unpack_map(row.extra))
    if row.file_hash is not None:
        node["h"] = row.file_hash
    if row.blob_id is not None:
        node["b"] = row.blob_id
    if row.segments >= 0:
        node["q"] = row.segments
    return node


def numbered_content(row: FileRow) -> list[tuple[int, int, int]]:
    """Where the content lies, as (object_no, offset, length); nothing for what has none."""
    if row.file_hash is None or not row.size:
        return []
    if row.content is None:
        return [(row.object_no, row.record_offset, row.record_length)]
    return places_in(row.content)


def places_in(content: bytes) -> list[tuple[int, int, int]]:
    """The column `content` of a row: (object_no, offset, length) of each record."""
    return [tuple(place) for place in msgpack.unpackb(content)]


def entry_of(row: FileRow, table: ObjectTable, digest_of: DigestOf) -> bytes:
    """The WRITE entry that gives back a row, for checkpoints."""
    content = [Ref(digest_of(number), at, size) for number, at, size in numbered_content(row)]
    own = [Ref(digest_of(row.object_no), row.record_offset, row.record_length)]
    if content and content[0] == own[0]:
        own, content = content, []
    return pack_entry(
        table,
        Op.WRITE,
        packb(node_of(row)),
        ctime_ns=row.ctime_ns,
        inode=row.inode,
        own=own,
        content=content or None,
    )


def row_of(entry: Entry, valid_from: int, number_of: NumberOf) -> FileRow:
    """The row of a WRITE or TOUCH entry. Raises DamageError when the entry lacks something."""
    node = entry.node
    try:
        extra = _rare(node)
        refs = entry.own if entry.content is None and len(entry.own) > 1 else entry.content
        content = refs and packb([(number_of(_named(ref)), *ref[1:]) for ref in refs])
        own = entry.own[0]
        return FileRow(
            path=node["p"],
            valid_from=valid_from,
            valid_to=LIVE,
            type=int(FileType(number(node["t"]))),
            size=number(node["s"]),
            mtime_ns=clamp_ns(number(node["m"], least=-_ANY_TIME, most=_ANY_TIME)),
            ctime_ns=clamp_ns(entry.ctime_ns),
            mode=number(node["o"], most=MOST_MODE),
            uid=number(node["u"], most=MOST_ID),
            gid=number(node["g"], most=MOST_ID),
            user_name=None if "U" not in node else text(node["U"]),
            group_name=None if "G" not in node else text(node["G"]),
            inode=number(entry.inode, least=-MOST - 1),
            nlink=number(node.get("n", 1)),
            mount=raw(node.get("f", b"")),
            file_hash=None if "h" not in node else digest(node["h"]),
            blob_id=None if "b" not in node else digest(node["b"]),
            object_no=number_of(_named(own)),
            record_offset=own.offset,
            record_length=own.length,
            content=content or None,
            segments=number(node.get("q", -1), least=-1, most=MOST_SEGMENTS),
            extra=packb(extra) if extra else None,
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        message = f"An entry for {excerpt(node.get('p'))} lacks what it must say: {error!r}."
        raise DamageError(message) from error


def _rare(node: dict[str, Any]) -> dict[str, Any]:
    """The rarer metadata. Raises TypeError or ValueError when a restore could not set them."""
    extra = {key: node[key] for key in _RARE if key in node}
    if not extra and node["t"] not in _DEVICES:
        return extra
    _without_nul(raw(extra.get("l", b"")), "its target")
    xattrs = extra.get("x", {})
    if type(xattrs) is not dict:
        message = "its attributes are no map"
        raise TypeError(message)
    for name, value in xattrs.items():
        _without_nul(raw(name), "the name of an attribute")
        raw(value)
    if "d" in extra or node["t"] in _DEVICES:
        for part in array(extra.get("d"), 2)[:2]:
            number(part, most=MOST_DEVICE)
    return extra


def _without_nul(found: bytes, what: str) -> None:
    if b"\0" in found:
        message = f"{what} has a NUL in it"
        raise ValueError(message)


def _named(ref: Ref) -> bytes:
    if ref.digest is None:
        message = "it refers to an object without a name"
        raise ValueError(message)
    return ref.digest
