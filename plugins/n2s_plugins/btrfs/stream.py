"""The commands of a btrfs send stream, versions 1 to 3.

Source of the format: fs/btrfs/send.h of Linux 6.1, and the page "Send stream format" of the btrfs
documentation. All integers are little-endian. A stream is a header of 17 bytes (magic, version)
and a row of commands: size of the attributes (u32), number (u16), CRC-32C (u32), attributes. An
attribute is its number (u16), its size (u16) and its bytes; in version 2 and later a DATA
attribute has no size and reaches to the end of its command.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import IO, NamedTuple

import google_crc32c

from n2s_core.errors import DiscoveryError

MAGIC = b"btrfs-stream\0"
NEWEST = 3
_HEADER = struct.Struct("<13sI")
_COMMAND = struct.Struct("<IHI")
_ATTRIBUTE = struct.Struct("<HH")
LARGEST = 32 << 20  # an encoded write holds 128 KiB of data, so this is far from any real command


class Command(IntEnum):
    """Those that say something about names; every other command is about one file."""

    SUBVOL = 1
    SNAPSHOT = 2
    MKFILE = 3
    MKDIR = 4
    MKNOD = 5
    MKFIFO = 6
    MKSOCK = 7
    SYMLINK = 8
    RENAME = 9
    LINK = 10
    UNLINK = 11
    RMDIR = 12
    END = 21


NEWEST_COMMAND = 26


class Attribute(IntEnum):
    """Those that are needed here."""

    UUID = 1
    CTRANSID = 2
    PATH = 15
    PATH_TO = 16
    PATH_LINK = 17
    DATA = 19
    CLONE_UUID = 20


class Said(NamedTuple):
    """One command; paths are as the stream has them, b"" is the root."""

    command: int
    path: bytes
    path_to: bytes
    path_link: bytes
    clone_uuid: bytes


def commands(stream: IO[bytes]) -> Iterator[Said]:
    """The commands up to the end of the subvolume.

    Raises DiscoveryError when the stream is none, is cut off, is damaged, or says something that
    this version of n2s does not know.
    """
    version = _version(stream)
    while True:
        size, number, crc = _COMMAND.unpack(_exactly(stream, _COMMAND.size))
        if size > LARGEST:
            message = f"The send stream has a command of {size} bytes, which cannot be."
            raise DiscoveryError(message)
        body = _exactly(stream, size)
        if crc32c(_COMMAND.pack(size, number, 0) + body) != crc:
            message = "The send stream is damaged: the checksum of a command does not match."
            raise DiscoveryError(message)
        if not 1 <= number <= NEWEST_COMMAND:
            message = f"The send stream has command {number}, which this version does not know."
            raise DiscoveryError(message)
        if number == Command.END:
            return
        found = _attributes(body, version)
        yield Said(
            number,
            found.get(Attribute.PATH, b""),
            found.get(Attribute.PATH_TO, b""),
            found.get(Attribute.PATH_LINK, b""),
            found.get(Attribute.CLONE_UUID, b""),
        )


def _version(stream: IO[bytes]) -> int:
    magic, version = _HEADER.unpack(_exactly(stream, _HEADER.size))
    if magic != MAGIC:
        message = "What btrfs send wrote is not a send stream."
        raise DiscoveryError(message)
    if not 1 <= version <= NEWEST:
        message = f"The send stream has version {version}; this n2s reads 1 to {NEWEST}."
        raise DiscoveryError(message)
    return int(version)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        message = "The send stream ends in the middle; did btrfs send fail?"
        raise DiscoveryError(message)
    return data


def _attributes(body: bytes, version: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        if version > 1 and body[at : at + 2] == _DATA:
            return found
        try:
            number, size = _ATTRIBUTE.unpack_from(body, at)
        except struct.error:
            size, number = len(body), 0
        at += _ATTRIBUTE.size
        if at + size > len(body):
            message = "The send stream is damaged: an attribute is longer than its command."
            raise DiscoveryError(message)
        if number not in found:
            found[number] = body[at : at + size]
        at += size
    return found


_DATA = struct.pack("<H", Attribute.DATA)


def crc32c(data: bytes) -> int:
    """CRC-32C as the kernel uses it here: from 0 and without the final inversion."""
    return ~int(google_crc32c.extend(0xFFFFFFFF, data)) & 0xFFFFFFFF
