#!/usr/bin/env python3
"""Restore a tree from a folder of n2s objects, without n2s: one file, written against docs/format.md alone.

    recover.py STORE TARGET [--dataset NAME] [--changeset ID-PREFIX] [--words FILE] [--records-alone]
    recover.py STORE --list ...
    recover.py STORE TARGET --also STORE --also STORE ...    (the folders of several remotes, any M of them)

Needs Python 3.11 and the packages blake3, cryptography, zstandard and msgpack. The passphrase comes from
$N2S_PASSPHRASE, from the file named by $N2S_PASSPHRASE_FILE (a newline at its end is not part of it), or a prompt;
--words (or --key-file) names a key file, or a file with the lines of a key page, that needs no passphrase.

Exit codes: 0 all well; 1 something could not be written (the store is not to blame); 2 usage, passphrase or key;
3 something in the store is missing, damaged or malformed, whatever else happened.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import errno
import functools
import getpass
import hashlib
import itertools
import operator
import os
import re
import secrets
import sqlite3
import stat
import sys
import tempfile
import warnings
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgpack  # type: ignore[import-untyped]  # has no stubs
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 64 << 20  # of a sealed part and of a payload
MAX_ITEM = 8 << 20  # of one MessagePack value: bounds what hostile nesting can cost
MAX_PATH = 1 << 20
HEADER, TAG = 48, 16
PACK, BLOB, SEGMENT, FILE, NODES, ENTRIES, HEAD, FORGET, MOVED = range(1, 10)
WRITE, TOUCH, REMOVE = 1, 2, 3
REGULAR, DIRECTORY, SYMLINK, FIFO, CHARACTER, BLOCK, SOCKET = range(1, 8)
NODE_TYPES = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK, SOCKET: stat.S_IFSOCK}
LETTERS = "?fdlpcbs"
NODE_KEYS = frozenset("ptsmougxldhnif")
MSGPACK_ERRORS = (ValueError, msgpack.UnpackException)
NOT_A_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)
ZEROS = bytes(1 << 20)
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
T = TypeVar("T")


class RefusedError(Exception):
    """The user must change something: usage, passphrase or key."""


class DamageError(Exception):
    """Something in the store is missing, damaged or not as the format says."""


@dataclass(slots=True)
class Log:
    """Says on stderr what went wrong, and counts it."""

    failed: int = 0
    damaged: int = 0
    silent: bool = False

    def note(self, text: str) -> None:
        if not self.silent:
            print(f"recover: {text}", file=sys.stderr)

    def failure(self, text: str) -> None:
        self.failed += 1
        self.note(text)

    def damage(self, text: str) -> None:
        self.damaged += 1
        self.note(text)

    def exit_code(self) -> int:
        return 3 if self.damaged else 1 if self.failed else 0


def show(path: bytes) -> str:
    """Return a path as one line of text; bytes that cannot be printed become \\xNN, the root is '.'."""
    out = []
    for char in path.decode("utf-8", "surrogateescape"):
        raw = char.encode("utf-8", "surrogateescape")
        printable = char.isprintable() and char != "\\"
        out.append(char if printable else "\\\\" if char == "\\" else "".join(f"\\x{byte:02x}" for byte in raw))
    return "".join(out) or "."


# ---- MessagePack from strangers


def unpack(data: bytes) -> object:
    """Return the one MessagePack value in data."""
    if len(data) > MAX_ITEM:
        raise DamageError(f"holds a MessagePack value of {len(data)} bytes, more than this reader takes")
    try:
        return cast("object", msgpack.unpackb(data))
    except MSGPACK_ERRORS as error:
        raise DamageError("holds something that is not MessagePack") from error


def rows(data: bytes) -> Iterator[object]:
    """Yield the MessagePack values that stand in data one after the other, each of bounded size."""
    walker = msgpack.Unpacker(max_buffer_size=len(data) + 1)
    walker.feed(data)
    start = 0
    while start < len(data):
        try:
            walker.skip()
        except MSGPACK_ERRORS as error:
            raise DamageError("holds something that is not MessagePack") from error
        end = walker.tell()
        yield unpack(data[start:end])
        start = end


def typed(value: object, kind: type[T], what: str) -> T:
    if type(value) is not kind:  # exact: a bool is no int here
        raise DamageError(f"{what} is not of type {kind.__name__}")
    return value


def number(value: object, what: str, top: int, low: int = 0) -> int:
    found = typed(value, int, what)
    if not low <= found <= top:
        raise DamageError(f"{what} is out of range")
    return found


def digest(value: object, what: str) -> bytes:
    found = typed(value, bytes, what)
    if len(found) != 32:
        raise DamageError(f"{what} does not have 32 bytes")
    return found


def pair(value: object, what: str) -> list[Any]:
    found = typed(value, list, what)
    if len(found) < 2:
        raise DamageError(f"{what} is too short")
    return found


# ---- Keys


def derive(context: str, material: bytes) -> bytes:
    return blake3(material, derive_key_context=context).digest()


class Keys:
    """What follows from the master key."""

    def __init__(self, master: bytes) -> None:
        self.master = master
        self._private = X25519PrivateKey.from_private_bytes(derive("n2s format 1 x25519", master))
        self._public = self._private.public_key().public_bytes_raw()

    def root_secret(self, prelude: bytes) -> tuple[int, bytes]:
        """Return the offset of an object's first record and its root secret."""
        if len(prelude) < 8 or prelude[:6] != b"N2SOBJ":
            raise DamageError("does not begin as an object does")
        if prelude[6] != 1 or prelude[7] > 1:
            raise LookupError(f"has version {prelude[6]} and key mode {prelude[7]}, which this program does not know")
        if prelude[7] == 0:
            return 8, self.master
        ephemeral, wrapped = prelude[8:40], prelude[40:88]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            kek = derive("n2s format 1 object secret", shared + ephemeral + self._public)
            return 88, ChaCha20Poly1305(kek).decrypt(bytes(12), wrapped, prelude[:40])
        except (ValueError, InvalidTag) as error:
            raise DamageError("has a wrapped secret that does not open") from error


def open_key_object(data: bytes, passphrase: bytes) -> bytes | None:
    """Return the master key, or None when the passphrase is another."""
    clear = data[:-48]
    if len(data) < 98 or data[:6] != b"N2SKEY" or len(clear) != 50 + int.from_bytes(data[48:50], "little"):
        raise DamageError("does not have the form of a key object")
    if data[6] != 1 or data[7] != 1:
        raise DamageError(f"has version {data[6]} and KDF {data[7]}, which this program does not know")
    memory, iterations, lanes = (int.from_bytes(data[at : at + 4], "little") for at in (8, 12, 16))
    if memory > 4 << 20 or not 1 <= iterations <= 64 or not 1 <= lanes <= 64 or memory < 8 * lanes:
        raise DamageError("asks for KDF parameters outside the bounds of the format")
    try:
        kdf = Argon2id(salt=data[20:36], length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
        kek = kdf.derive(passphrase)
        return ChaCha20Poly1305(kek).decrypt(data[36:48], data[-48:], clear)
    except InvalidTag:
        return None
    except MemoryError as error:
        raise RefusedError(f"the passphrase needs {memory >> 10} MiB of memory to be checked") from error


def read_passphrase() -> bytes:
    if (phrase := os.environ.get("N2S_PASSPHRASE")) is not None:
        return os.fsencode(phrase)
    if name := os.environ.get("N2S_PASSPHRASE_FILE"):
        try:
            return Path(name).read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise RefusedError(f"the passphrase file {name} cannot be read: {error.strerror}") from error
    warnings.simplefilter("error", getpass.GetPassWarning)
    try:
        return getpass.getpass("Passphrase: ").encode("utf-8", "surrogateescape")
    except (EOFError, getpass.GetPassWarning) as error:
        raise RefusedError("there is nobody to ask for the passphrase: set N2S_PASSPHRASE") from error


def master_from_passphrase(store: Places, log: Log) -> bytes:
    names = [name.hex() for name in store.names("keys")]
    if not names:
        raise RefusedError(f"there are no key objects in {store}/keys; without one, give --key-file")
    whole: dict[str, bytes] = {}
    for name in names:
        try:
            with open(store.open("keys", bytes.fromhex(name)), "rb") as file:
                whole[name] = file.read(50 + 65535 + 48 + 1) or b""
        except OSError as error:
            log.damage(f"key object {name} cannot be read: {error.strerror}")
            continue
        if blake3(whole[name]).hexdigest() != name:
            log.damage(f"key object {name} is damaged: its name is not its BLAKE3")
            del whole[name]
    passphrase, tried = read_passphrase() if whole else b"", 0
    for name, data in whole.items():
        try:
            master = open_key_object(data, passphrase)
        except DamageError as error:
            log.damage(f"key object {name} is damaged or foreign: it {error}")
            continue
        if master is not None:
            return master
        tried += 1
    if tried:
        raise RefusedError(f"wrong passphrase: it opens none of the {tried} whole key objects")
    raise RefusedError(f"all {len(names)} key objects are damaged or foreign; give --key-file")


def master_from_file(path: Path, word_list: Path | None) -> bytes:
    """Return the key in a key file, in the lines of a key page, or with the list of BIP-39 in its words."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_PATH).decode("utf-8", "replace")
    except OSError as error:
        raise RefusedError(f"the key file {path} cannot be read: {error.strerror}") from error
    if found := re.search(r"n2s-key-1:([0-9a-fA-F]{64})(?![0-9a-fA-F])", text):
        return bytes.fromhex(found[1])
    parts = {}
    for at, digits in re.findall(r"(?m)^[ \t]*([1-4]):[ \t]*((?:[0-9a-fA-F]{4}[ \t-]*){5})[ \t\r]*$", text):
        line = bytes.fromhex(re.sub("[^0-9a-fA-F]", "", digits))
        if blake3(b"n2s key line 1" + bytes([int(at)]) + line[:8]).digest()[:2] == line[8:]:
            parts[at] = line[:8]
        else:
            print(f"recover: line {at} of {path} does not fit its checksum", file=sys.stderr)
    if len(parts) == 4:
        return b"".join(parts[at] for at in "1234")
    if word_list is not None:
        return master_from_words(text, path, word_list.read_text("ascii").split())
    raise RefusedError(
        f"{path} has no key: it should hold 'n2s-key-1:' and 64 hex digits, or the lines 1: to 4: of a key page;"
        " words alone need --word-list"
    )


def master_from_words(text: str, path: Path, known: list[str]) -> bytes:
    """Return the 32 bytes that 24 words of BIP-39 stand for: 11 bits each, the last 8 bits are a checksum."""
    numbered = {int(at): word for at, word in re.findall(r"(?<!\d)([1-9]|1\d|2[0-4])\.[ \t]*([A-Za-z]+)", text)}
    words = [numbered[at] for at in sorted(numbered)] if len(numbered) == 24 else re.findall("[A-Za-z]+", text)
    places = {word: place for place, word in enumerate(known)}
    if len(known) != 2048 or len(words) != 24 or not all(word.lower() in places for word in words):
        raise RefusedError(f"{path} does not hold 24 words of a list of 2048")
    bits = functools.reduce(lambda bits, word: bits << 11 | places[word.lower()], words, 0)
    key, checksum = (bits >> 8).to_bytes(32, "big"), bits & 0xFF
    if hashlib.sha256(key).digest()[0] != checksum:
        raise RefusedError(f"the words in {path} do not fit together: one is wrong, or two changed places")
    return key


# ---- Shards: several folders, each with whole copies or with one shard of an object


EXP = [1]
for _ in range(254):
    EXP.append(EXP[-1] << 1 ^ (0x11D if EXP[-1] & 0x80 else 0))
LOG = {value: power for power, value in enumerate(EXP)}


def times(one: int, other: int) -> int:
    return EXP[(LOG[one] + LOG[other]) % 255] if one and other else 0


@functools.lru_cache(256)
def table(factor: int) -> bytes:
    return bytes(times(factor, value) for value in range(256))


def vandermonde(index: int, m: int) -> list[int]:
    """Return a row of the matrix of section 7 before it is made systematic."""
    return [EXP[(index - 1) * column % 255] if index else int(not column) for column in range(m)]


def dot(row: list[int], column: list[int]) -> int:
    return functools.reduce(operator.xor, map(times, row, column))


def inverse(matrix: list[list[int]]) -> list[list[int]]:
    """Invert a matrix over GF(256) by elimination; those of section 7 always have an inverse."""
    size = len(matrix)
    rows = [[*row, *(int(at == column) for column in range(size))] for at, row in enumerate(matrix)]
    for at in range(size):
        pivot = next(one for one in range(at, size) if rows[one][at])
        rows[at], rows[pivot] = rows[pivot], rows[at]
        factor = EXP[-LOG[rows[at][at]] % 255]
        rows[at] = [times(factor, value) for value in rows[at]]
        for other in range(size):
            if other != at and rows[other][at]:
                factor = rows[other][at]
                rows[other] = [left ^ times(factor, right) for left, right in zip(rows[other], rows[at], strict=True)]
    return [row[size:] for row in rows]


def join_shards(shards: dict[int, bytes], m: int, size: int) -> bytes:
    """Return the object, given any m payloads by index."""
    chosen = sorted(shards)[:m]
    length = len(shards[chosen[0]])
    back = list(zip(*inverse([vandermonde(index, m) for index in chosen]), strict=True))
    pieces = []
    for piece in range(m):
        if piece in shards:
            pieces.append(shards[piece])
            continue
        total, row = 0, vandermonde(piece, m)
        for column, index in zip(back, chosen, strict=True):
            total ^= int.from_bytes(shards[index].translate(table(dot(row, list(column)))), "little")
        pieces.append(total.to_bytes(length, "little"))
    return b"".join(pieces)[:size]


def read_shard(data: bytes, name: bytes) -> tuple[int, int, int, int, bytes] | None:
    """Return M, N, size, index and payload of a shard of the object; None when it is damaged or none."""
    if len(data) < 92 or data[:6] != b"N2SSHD" or data[6] != 1 or data[24:56] != name:
        return None
    if zlib.crc32(data[:88]) != int.from_bytes(data[88:92], "little") or blake3(data[92:]).digest() != data[56:88]:
        return None
    return data[7], data[8], int.from_bytes(data[16:24], "little"), data[9], data[92:]


class Places:
    """The folder of a store, or those of its remotes."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    def __str__(self) -> str:
        return str(self.folders[0])

    def names(self, area: str) -> Iterator[bytes]:
        if len(self.folders) == 1:
            return object_names(self.folders[0], area)
        return iter(sorted({name for folder in self.folders for name in object_names(folder, area)}))

    def open(self, area: str, name: bytes) -> int:
        """Return a descriptor of an object: as it is if only one folder has it, else of what all of them give."""
        found = self._open_all(area, name)
        plain = [fd for fd in found if os.pread(fd, 6, 0) != b"N2SSHD"]
        content = None if found == plain[:1] else self._content(found, name)
        keep = plain[:1] if content is None else []
        for fd in found:
            if fd not in keep:
                os.close(fd)
        if content is not None:
            return self._temporary(content)
        if not keep:
            raise FileNotFoundError(errno.ENOENT, "too few shards")
        return keep[0]

    def _open_all(self, area: str, name: bytes) -> list[int]:
        """Return descriptors of whatever the folders have of an object; raise OSError when that is nothing."""
        text, found = name.hex(), []
        why: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        for folder in self.folders:
            try:
                fan = text[:2] if area in ("data", "meta") else ""
                found.append(os.open(folder / area / fan / text, OPEN_FLAGS))
            except OSError as error:
                why = why if isinstance(error, FileNotFoundError) else error
        if not found:
            raise why
        return found

    @staticmethod
    def _content(fds: list[int], name: bytes) -> bytes | None:
        """Return a whole copy, or what enough shards give."""
        shards: dict[tuple[int, int, int], dict[int, bytes]] = {}
        for fd in fds:
            with contextlib.suppress(OSError), open(fd, "rb", closefd=False) as file:
                data = file.read()
                if blake3(data).digest() == name:
                    return data
                if found := read_shard(data, name):
                    m, n, size, index, payload = found
                    known = shards.setdefault((m, n, size), {})
                    known[index] = payload
                    if len(known) >= m:
                        return join_shards(known, m, size)
        return None

    @staticmethod
    def _temporary(data: bytes) -> int:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            return os.dup(file.fileno())


# ---- Objects and records


def object_names(store: Path, area: str) -> Iterator[bytes]:
    """Yield the names of the objects in one area; other names are not part of the store."""
    folders = [store / area]
    if area in ("data", "meta"):
        folders = [store / area / f"{byte:02x}" for byte in range(256)]
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if re.fullmatch("[0-9a-f]{64}", entry.name))
            fan = "" if folder.name == area else folder.name
            yield from (bytes.fromhex(name) for name in names if name.startswith(fan))


@dataclass(frozen=True, slots=True)
class Record:
    """One opened record."""

    kind: int
    offset: int
    length: int
    raw_meta: bytes
    meta: dict[str, Any]
    codec: int
    stored: bytes

    def payload(self) -> bytes:
        """Return the payload, decompressed."""
        if self.codec == 0:
            return self.stored
        try:
            size = zstandard.frame_content_size(self.stored)
            if not 0 <= size <= MAX_BYTES:
                raise DamageError("has a payload of no stated size or above 64 MiB")
            unzip = zstandard.ZstdDecompressor()
            data = unzip.decompress(self.stored, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamageError("has a payload that does not decompress") from error
        if len(data) != size:
            raise DamageError("has a payload of another size than stated")
        return data


class ObjectFile:
    """One object of the store, read by ranges; `close` when done."""

    def __init__(self, area: str, name: bytes, fd: int) -> None:
        self.area, self.name, self.fd = area, name, fd
        self.size = os.fstat(fd).st_size
        self.first, self.record_key = 8, b""

    def __str__(self) -> str:
        return f"{self.area}/{self.name.hex()}"

    def close(self) -> None:
        os.close(self.fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to length bytes; fewer only at the end of the object."""
        parts, got = [], 0
        while got < length:
            try:
                part = os.pread(self.fd, length - got, offset + got)
            except OSError as error:
                raise DamageError(f"{self} at {offset}: cannot be read: {error.strerror}") from error
            if not part:
                break
            parts.append(part)
            got += len(part)
        return b"".join(parts)

    def hash_from(self, offset: int) -> bytes:
        hasher = blake3()
        while chunk := self.read(offset, 4 << 20):
            hasher.update(chunk)
            offset += len(chunk)
        return hasher.digest()

    def header(self, offset: int) -> tuple[bytes, int, int] | None:
        """Return header, kind and length of the record at offset, or None when no whole header is there."""
        head = self.read(offset, HEADER)
        if len(head) < HEADER or head[:4] != b"N2SR" or zlib.crc32(head[:44]) != int.from_bytes(head[44:], "little"):
            return None
        sealed = int.from_bytes(head[8:12], "little")
        return (head, head[5], HEADER + sealed) if 17 <= sealed <= MAX_BYTES else None

    def find_header(self, start: int) -> int:
        """Return the first offset from start on that has a whole header, else the size of the object."""
        while chunk := self.read(start, 1 << 20):
            at = chunk.find(b"N2SR")
            while at >= 0:
                if self.header(start + at):
                    return start + at
                at = chunk.find(b"N2SR", at + 1)
            start += len(chunk) - 3 if len(chunk) > 3 else len(chunk)  # a magic may straddle two chunks
        return self.size

    def record(self, offset: int, length: int | None = None) -> Record:
        """Open the record at offset; with length, only if it has that length."""
        where, found = f"{self} at {offset}", self.header(offset)
        if found is None:
            raise DamageError(f"{where}: no whole record header")
        head, kind, real_length = found
        if head[4] != 1:
            raise DamageError(f"{where}: record version {head[4]}, which this program does not know")
        if length not in (None, real_length):
            raise DamageError(f"{where}: a record of another length than the reference says")
        key = blake3(head[12:44], key=self.record_key).digest()
        try:
            sealed = self.read(offset + HEADER, real_length - HEADER)
            plain = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, head)
        except InvalidTag as error:
            cut = offset + real_length > self.size
            raise DamageError(f"{where}: the record is {'cut off' if cut else 'damaged'}") from error
        end = 5 + int.from_bytes(plain[1:5], "little")
        if len(plain) < 5 or end > len(plain) or plain[0] > 1:
            raise DamageError(f"{where}: the record has a codec or lengths that this program does not know")
        try:
            meta = typed(unpack(plain[5:end]), dict, "its metadata")
        except DamageError as error:
            raise DamageError(f"{where}: the record {error}") from error
        return Record(kind, offset, real_length, plain[5:end], meta, plain[0], plain[end:])


class Move:
    """Pieces (offset, length) of an object that stand one after the other in another, from start on."""

    def __init__(self, name: bytes, start: int, pieces: list[tuple[int, int]]) -> None:
        self.object, self.start, self.pieces = name, start, pieces
        self._starts = list(itertools.accumulate((size for _, size in pieces), initial=start))

    def new(self, offset: int, length: int) -> int | None:
        """Return the new offset of a record, or None when it was not copied."""
        index = bisect.bisect_right(self.pieces, (offset, 1 << 63)) - 1
        if index < 0 or offset + length > sum(self.pieces[index]):
            return None
        return self._starts[index] + offset - self.pieces[index][0]


def judged_moves(value: object, name: bytes, start: int) -> list[tuple[bytes, Move]]:
    """Return the earlier places of what an object has from start on, the oldest first."""
    found = []
    for item in typed(value, list, "a list of earlier places"):
        row = pair(item, "an earlier place")
        ends = [number(one, "the end of a piece", 1 << 62) for one in pair(row[1], "a list of pieces")]
        pieces = list(zip(ends[::2], ends[1::2], strict=False))
        if len(ends) % 2 or any(sum(one) > other[0] for one, other in itertools.pairwise(pieces)):
            raise DamageError("pieces of an object overlap")
        found.append((digest(row[0], "an earlier place"), Move(name, start, pieces)))
    if not found:
        raise DamageError("a record about moved records names none")
    return found


@dataclass(slots=True)
class Store:
    """The objects of a store; keeps a few of them open."""

    root: Places
    keys: Keys
    log: Log
    moves: dict[bytes, list[Move]] = field(default_factory=dict)
    origins: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    _open: OrderedDict[tuple[str, bytes], ObjectFile] = field(default_factory=OrderedDict)
    _told: set[bytes] = field(default_factory=set)

    def open(self, area: str, name: bytes) -> ObjectFile:
        """Return an object; it stays open until fifteen others were asked for."""
        if found := self._open.get((area, name)):
            self._open.move_to_end((area, name))
            return found
        text = name.hex()
        try:
            fd = self.root.open(area, name)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise DamageError(f"{area}/{text}: {'is missing' if missing else error.strerror}") from error
        found = ObjectFile(area, name, fd)
        try:
            self._unlock(found)
        except BaseException:
            found.close()
            raise
        self._open[area, name] = found
        if len(self._open) > 15:
            self._open.popitem(last=False)[1].close()
        return found

    def _unlock(self, found: ObjectFile) -> None:
        if not stat.S_ISREG(os.fstat(found.fd).st_mode):
            raise DamageError(f"{found}: is not a file")
        try:
            found.first, root = self.keys.root_secret(found.read(0, 88))
        except LookupError as error:
            raise DamageError(f"{found}: {error.args[0]}") from error
        except DamageError as error:
            root = self.keys.master  # eight flipped bytes need not cost a whole object: its records tell
            if found.name not in self._told:
                self._told.add(found.name)
                self.log.damage(f"{found}: {error}; its records are tried with the master key")
        found.record_key = derive("n2s format 1 record", root)

    def note_moves(self, name: bytes, found: list[tuple[bytes, Move]]) -> None:
        """Know where the records of an object were before; index -1 in them means the oldest place."""
        if name in self.origins:
            return
        self.origins[name] = found[0][1].start, found[0][0]
        for earlier, move in found:
            self.moves.setdefault(earlier, []).append(move)

    def origin(self, name: bytes, offset: int) -> bytes:
        """Return the object that a record was written in."""
        start, oldest = self.origins.get(name, (0, name))
        return oldest if offset >= start else name

    def record(self, ref: Ref) -> tuple[Record, bytes]:
        """Open the record of a reference, where it was or where it is now; and the object it was written in."""
        try:
            record = self.open("data", ref.object).record(ref.offset, ref.length)
            return record, self.origin(ref.object, ref.offset)
        except DamageError:
            for move in self.moves.get(ref.object, ()):
                if (at := move.new(ref.offset, ref.length)) is not None:
                    with contextlib.suppress(DamageError):
                        return self.open("data", move.object).record(at, ref.length), self.origin(move.object, at)
            raise

    def opens_anything(self) -> bool:
        """Tell whether the key opens the first record of any object; True for an empty store."""
        empty, silent = True, Store(self.root, self.keys, Log(silent=True))
        for area in ("changesets", "data"):
            for name in self.root.names(area):
                empty = False
                with contextlib.suppress(DamageError):
                    found = silent.open(area, name)
                    found.record(found.first)
                    return True
        return empty


# ---- Nodes and references


@dataclass(frozen=True, slots=True)
class Node:
    """One path of the tree, judged."""

    path: bytes
    type: int
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    xattrs: dict[bytes, bytes]
    target: bytes
    device: tuple[int, int]
    hash: bytes
    link: bytes  # equal for paths that are hard links of each other; empty for the others


def judged_path(value: object) -> bytes:
    path = typed(value, bytes, "a path")
    parts = path.split(b"/")
    if len(path) > MAX_PATH or b"\0" in path or (path and not {b"", b".", b".."}.isdisjoint(parts)):
        raise DamageError(f"the path '{show(path[:200])}' is not a safe one")
    return path


def judged_node(value: object) -> Node:
    """Return the node of a node map, or raise DamageError."""
    found = typed(value, dict, "a node map")
    path = judged_path(found.get("p"))
    what, get = f"node of {show(path[:4000])}: ", found.get
    kind = number(get("t"), f"{what}type", SOCKET, 1)
    xattrs = typed(get("x", {}), dict, f"{what}attributes")
    if any(type(item) is not bytes for both in xattrs.items() for item in both):
        raise DamageError(f"{what}attributes are not bytes")
    device = pair(get("d"), f"{what}device") if kind in (CHARACTER, BLOCK) else [0, 0]
    facts = [get(key) for key in "fihsmoug"]
    linked = type(get("n")) is int and type(get("i")) is int and kind != DIRECTORY
    return Node(
        path=path,
        type=kind,
        size=number(get("s"), f"{what}size", (1 << 63) - 1),
        mtime_ns=number(get("m"), f"{what}time", 1 << 95, -1 << 95),
        mode=number(get("o"), f"{what}mode", 0o7777),
        uid=number(get("u"), f"{what}owner", (1 << 32) - 2),  # -1 would mean: leave it
        gid=number(get("g"), f"{what}group", (1 << 32) - 2),
        xattrs=xattrs,
        target=typed(get("l"), bytes, f"{what}target") if kind == SYMLINK else b"",
        device=(number(device[0], f"{what}device", 1 << 32), number(device[1], f"{what}device", 1 << 32)),
        hash=digest(get("h"), f"{what}hash") if kind == REGULAR else b"",
        link=blake3(msgpack.packb([kind, *facts])).digest() if linked else b"",
    )


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a record lies: an object in data/, offset and length."""

    object: bytes
    offset: int
    length: int


def targets(meta: dict[str, Any]) -> list[bytes]:
    """Return the object names that a record points to."""
    found = meta.get("O")
    return [digest(name, "an object name") for name in found] if type(found) is list else []


def judged_ref(value: object, names: list[bytes], own: bytes) -> Ref:
    parts = typed(value, list, "a reference")
    if len(parts) < 3:
        raise DamageError("a reference is too short")
    index = number(parts[0], "the object of a reference", len(names) - 1, -1)
    offset = number(parts[1], "the offset of a reference", 1 << 62)
    length = number(parts[2], "the length of a reference", HEADER + MAX_BYTES, HEADER + 17)
    return Ref(own if index < 0 else names[index], offset, length)


def judged_refs(value: object, names: list[bytes], own: bytes) -> list[Ref]:
    return [judged_ref(item, names, own) for item in typed(value, list, "a list of references")]


# ---- The state, in a temporary file


@dataclass(frozen=True, slots=True)
class Age:
    """Which of two nodes of one path is the newer one, as far as records alone tell."""

    dataset: bytes = b""
    changeset: int = 0
    time_ns: int = 0
    object: bytes = b""
    offset: int = 0


class State:
    """Path -> node and references, for each dataset, in SQLite; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="n2s-recover-")
        self.db = sqlite3.connect(Path(self._folder.name) / "state")
        self.db.executescript("""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
            CREATE TABLE node (d, path, type, k, t, object, offset, map, refs, PRIMARY KEY (d, path)) WITHOUT ROWID;
            CREATE TABLE part (d, path, h, k, parts, part, t, object, offset, length, map,
                PRIMARY KEY (d, path, h, k, parts, part)) WITHOUT ROWID;
            CREATE TABLE dataset (d PRIMARY KEY, name, k);
            CREATE TABLE link (key PRIMARY KEY, path);
        """)

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()
        self._folder.cleanup()

    def put(self, node: Node, source: dict[str, Any], refs: list[Ref], age: Age) -> None:
        """Set a node, unless there is a newer one of that path."""
        slim = msgpack.packb({key: value for key, value in source.items() if key in NODE_KEYS})
        packed = msgpack.packb([[ref.object, ref.offset, ref.length] for ref in refs])
        self.db.execute(
            "INSERT INTO node VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET type=excluded.type, k=excluded.k, "
            "t=excluded.t, object=excluded.object, offset=excluded.offset, map=excluded.map, refs=excluded.refs "
            "WHERE (excluded.k, excluded.t, excluded.object, excluded.offset) >= (k, t, object, offset)",
            (age.dataset, node.path, node.type, age.changeset, age.time_ns, age.object, age.offset, slim, packed),
        )

    def put_part(self, node: Node, source: dict[str, Any], place: tuple[int, int], ref: Ref, age: Age) -> None:
        slim = msgpack.packb({key: value for key, value in source.items() if key in NODE_KEYS})
        self.db.execute(
            "INSERT INTO part VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET t=excluded.t, "
            "object=excluded.object, offset=excluded.offset, length=excluded.length WHERE excluded.t >= t",
            (
                *(age.dataset, node.path, node.hash, age.changeset, place[1], place[0], age.time_ns),
                *(ref.object, ref.offset, ref.length, slim),
            ),
        )

    def join_parts(self, log: Log) -> None:
        """Make nodes of the files that FILE records describe in several parts; incomplete ones are named."""
        groups = "SELECT d, path, h, k, parts, count(*), max(t), max(object), max(offset), map FROM part"
        for d, path, h, k, parts, count, t, name, offset, source in self.db.execute(f"{groups} GROUP BY 1,2,3,4,5"):
            if count < parts:
                log.damage(f"{show(path)}: only {count} of {parts} parts of its changeset {k} version were found")
                continue
            rest = self.db.execute(
                "SELECT object, offset, length FROM part WHERE (d, path, h, k, parts) = (?,?,?,?,?) ORDER BY part",
                (d, path, h, k, parts),
            )
            found = cast("dict[str, Any]", unpack(source))
            self.put(judged_node(found), found, [Ref(*row) for row in rest], Age(d, k, t, name, offset))

    def remove(self, dataset: bytes, path: bytes) -> None:
        self.db.execute("DELETE FROM node WHERE d = ? AND path = ?", (dataset, path))

    def clear(self) -> None:
        self.db.executescript("DELETE FROM node; DELETE FROM part; DELETE FROM dataset;")

    def nodes(self, dataset: bytes) -> Iterator[tuple[Node, list[Ref]]]:
        """Yield nodes and references; in the order of bytes a folder comes before what is in it."""
        for source, refs in self.db.execute("SELECT map, refs FROM node WHERE d = ? ORDER BY path", (dataset,)):
            yield judged_node(msgpack.unpackb(source)), [Ref(*ref) for ref in msgpack.unpackb(refs)]

    def folders(self, dataset: bytes) -> Iterator[Node]:
        """Yield the directories, what is inside before what it is in."""
        query = "SELECT map FROM node WHERE d = ? AND type = ? ORDER BY path DESC"
        for (source,) in self.db.execute(query, (dataset, DIRECTORY)):
            yield judged_node(msgpack.unpackb(source))


def chosen_dataset(known: dict[bytes, str], wanted: str | None) -> bytes:
    """Return the id of the dataset to restore, by name or id; the only one when none is wanted."""
    fits = [d for d, name in known.items() if wanted in (None, name, d.hex())]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(f"{show(name.encode('utf-8', 'replace'))} ({d.hex()})" for d, name in known.items())
    if wanted is not None and not fits:
        raise RefusedError(f"there is no dataset '{wanted}' in the store; there are: {names}")
    raise RefusedError(f"several datasets fit, name one (or its id) with --dataset: {names}")


# ---- Reading with changesets


@dataclass(frozen=True, slots=True)
class Head:
    """What of a changeset's head is kept in memory."""

    id: bytes
    object: bytes
    dataset: bytes
    name: str
    number: int
    time_ns: int
    parent: bytes | None
    checkpoint: bool

    def __str__(self) -> str:
        return f"changeset {self.number} ({self.id.hex()[:16]})"


def read_head(found: ObjectFile) -> tuple[Head, Record]:
    record = found.record(found.first)
    get = record.meta.get
    if record.kind != HEAD:
        raise DamageError(f"{found}: the first record is not a head")
    head = Head(
        id=derive("n2s format 1 changeset id", record.raw_meta),
        object=found.name,
        dataset=typed(get("d"), bytes, f"{found}: dataset id"),
        name=typed(get("N"), str, f"{found}: dataset name"),
        number=number(get("k"), f"{found}: number", 1 << 62),
        time_ns=number(get("t"), f"{found}: time", 1 << 62, -1 << 62),
        parent=None if get("P") is None else digest(get("P"), f"{found}: parent"),
        checkpoint=get("x") is not None,
    )
    return head, record


def swept_ids(found: ObjectFile) -> set[bytes]:
    """Return the changesets that a FORGET record says to be swept; those of key mode 1 do not count."""
    if found.read(7, 1) != b"\0":
        return set()
    listed = typed(found.record(found.first).meta.get("S", []), list, f"{found}: what was swept")
    return {digest(one, f"{found}: a changeset id") for one in listed}


def read_moves(store: Store) -> None:
    """Note what objects in changesets/ say about moved records; those of key mode 1 do not count."""
    for name in store.root.names("changesets"):
        with contextlib.suppress(DamageError):  # who reads heads names it
            found = store.open("changesets", name)
            header = found.header(found.first)
            if header is None or header[1] != MOVED or found.read(7, 1) != b"\0":
                continue
            try:
                for item in rows(found.record(found.first).payload()):
                    row = [*typed(item, list, f"{found}: a move"), None, None, None]
                    to, start = digest(row[0], f"{found}: a name"), number(row[1], f"{found}: a start", 1 << 62)
                    store.note_moves(to, judged_moves(row[2], to, start))
            except DamageError as error:
                store.log.damage(f"{error}; where records were moved to may not be known")


def read_heads(store: Store) -> tuple[dict[bytes, Head], set[bytes]]:
    """Return the heads by id, and the ids of changesets that were swept; other kinds of objects are skipped."""
    heads: dict[bytes, Head] = {}
    swept: set[bytes] = set()
    for name in store.root.names("changesets"):
        try:
            found = store.open("changesets", name)
            header = found.header(found.first)
            if header and header[1] > HEAD:
                swept |= swept_ids(found) if header[1] == FORGET else set()
                continue
            whole = found.hash_from(0) == name
            if not whole:
                store.log.damage(f"{found}: damaged, its name is not its BLAKE3")
            head, _ = read_head(found)
        except DamageError as error:
            store.log.damage(f"{error}; this changeset is left out (if it was the newest, an older state follows)")
            continue
        if whole or head.id not in heads:
            heads[head.id] = head
    return heads, swept


def chosen_tip(heads: dict[bytes, Head], dataset: str | None, prefix: str | None) -> Head:
    """Return the changeset to restore: the one asked for, or the newest of the dataset."""
    if prefix is not None:
        fits = [head for head in heads.values() if head.id.hex().startswith(prefix.lower())]
        fits = [head for head in fits if dataset in (None, head.name, head.dataset.hex())]
        if len(fits) != 1:
            raise RefusedError(f"{len(fits) or 'no'} changesets have an id that begins with {prefix}")
        return fits[0]
    ordered = sorted(heads.values(), key=lambda head: (head.number, head.time_ns, head.id))
    chosen = chosen_dataset({head.dataset: head.name for head in ordered}, dataset)
    ours = [head for head in ordered if head.dataset == chosen]
    parents = {head.parent for head in ours}
    return ([head for head in ours if head.id not in parents] or ours)[-1]


def apply_entry(state: State, dataset: bytes, item: object, names: list[bytes], own: bytes) -> None:
    row = pair(item, "an entry")
    operation = number(row[0], "the operation of an entry", REMOVE, WRITE)
    found = typed(row[1], dict, "a node map")
    if operation == REMOVE:
        state.remove(dataset, judged_path(found.get("p")))
        return
    node, refs = judged_node(found), []
    if node.type == REGULAR and node.size:
        direct, content = [*row, None, None, None, None][4:6]
        try:
            refs = judged_refs(direct if content is None else content, names, own)
        except DamageError as error:
            raise DamageError(f"{show(node.path)}: {error}") from error
    state.put(node, found, refs, Age(dataset))


def apply_entries(store: Store, state: State, dataset: bytes, found: ObjectFile, start: int) -> int:
    """Apply all ENTRIES records of an object from start on; return how many entries there were."""
    count, at = 0, start
    while at < found.size:
        header = found.header(at)
        if header is None:
            raise DamageError(f"{found} at {at}: no whole record header")
        if header[1] == ENTRIES:
            record = found.record(at)
            names = targets(record.meta)
            for item in rows(record.payload()):
                count += 1
                try:
                    apply_entry(state, dataset, item, names, found.name)
                except DamageError as error:
                    store.log.damage(f"{found} at {at}: an entry is left out: {error}")
        at += header[2]
    return count


def apply_objects(store: Store, state: State, dataset: bytes, listed: object) -> None:
    """Apply whole entries objects, each only if it is what its name and the head say."""
    for item in typed(listed, list, "the list of entries objects"):
        row = pair(item, "the list of entries objects")
        found = store.open("meta", digest(row[0], "the name of an entries object"))
        if found.hash_from(0) != found.name:
            raise DamageError(f"{found}: damaged, its name is not its BLAKE3")
        if apply_entries(store, state, dataset, found, found.first) != row[1]:
            raise DamageError(f"{found}: has another number of entries than its changeset says")


def apply_changeset(store: Store, state: State, head: Head) -> None:
    found = store.open("changesets", head.object)
    _, record = read_head(found)
    apply_objects(store, state, head.dataset, record.meta.get("e") or [])
    inline = record.meta.get("i")
    if inline is not None:
        found, start = store.open("changesets", head.object), record.offset + record.length
        if found.hash_from(start) != pair(inline, f"{found}: 'i'")[1]:
            raise DamageError(f"{found}: the entries after the head are damaged")
        if apply_entries(store, state, head.dataset, found, start) != inline[0]:
            raise DamageError(f"{found}: has another number of entries than its head says")


def build(store: Store, state: State, *, later: list[Head], from_checkpoint: bool) -> bool:
    """Build the state from the last head of later on; say what is wrong and return False if that fails."""
    state.clear()
    oldest, head = later[-1], later[-1]
    try:
        if from_checkpoint:
            _, record = read_head(store.open("changesets", oldest.object))
            apply_objects(store, state, oldest.dataset, record.meta.get("x"))
        for head in reversed(later[:-1] if from_checkpoint else later):
            apply_changeset(store, state, head)
    except DamageError as error:
        what = "the checkpoint of " if from_checkpoint and head is oldest else ""
        store.log.damage(f"{what}{head} cannot be applied: {error}")
        return False
    return True


def read_chain(store: Store, state: State, heads: dict[bytes, Head], tip: Head) -> bool:
    """Build the state after tip from the nearest start that is whole; False when there is none."""
    later: list[Head] = []
    seen: set[bytes] = set()
    head: Head | None = tip
    while head is not None:
        seen.add(head.id)
        later.append(head)
        if head.checkpoint and build(store, state, later=later, from_checkpoint=True):
            return True
        if head.parent is None:
            return build(store, state, later=later, from_checkpoint=False)
        parent = heads.get(head.parent)
        if parent is None or parent.id in seen:
            store.log.damage(f"the parent {head.parent.hex()[:16]} of {head} is missing or damaged")
            return False
        head = parent
    return False


# ---- Reading records alone


def scan(store: Store, found: ObjectFile) -> Iterator[Record]:
    """Yield the records that describe nodes, going on behind what is damaged."""
    at = found.first
    while at < found.size:
        header = found.header(at)
        if header is None:
            store.log.damage(f"{found} at {at}: no whole record header, what follows up to the next one is lost")
            at = found.find_header(at + 1)
            continue
        end, opened = at + header[2], False
        if header[1] in (PACK, BLOB, FILE, NODES, MOVED):
            try:
                yield found.record(at)
                opened = True
            except DamageError as error:
                store.log.damage(str(error))
        elif end > found.size:
            store.log.damage(f"{found} at {at}: the record is cut off")
        # When bytes are missing from a record, the next header stands before `end`.
        at = end if opened or end == found.size or found.header(end) else found.find_header(at + 1)


def add_node(state: State, record: Record, item: object, age: Age, origin: bytes) -> None:
    source, own = typed(item, dict, "a node map"), Ref(age.object, record.offset, record.length)
    if record.kind == NODES:
        refs = judged_refs(source.get("a", []), targets(record.meta), origin)
        state.put(judged_node(source), source, refs, age)
        return
    node, part = judged_node(source), source.get("k")
    if record.kind == BLOB or part is None:
        state.put(node, source, [own], age)
        return
    row = pair(part, f"{show(node.path)}: 'k'")
    parts = number(row[1], f"{show(node.path)}: number of parts", 1 << 31, 1)
    state.put_part(node, source, (number(row[0], "a part", parts - 1), parts), own, age)


def add_record(store: Store, state: State, record: Record, age: Age) -> None:
    """Take the nodes of a record into the state; one that is malformed costs only itself."""
    for item in rows(record.payload()) if record.kind == NODES else (record.meta,):
        try:
            add_node(state, record, item, age, store.origin(age.object, record.offset))
        except DamageError as error:
            store.log.damage(f"data/{age.object.hex()} at {record.offset}: a node is left out: {error}")


def pack_age(state: State, record: Record, name: bytes) -> Age:
    get = record.meta.get
    dataset, label = typed(get("d"), bytes, "dataset id"), typed(get("N"), str, "dataset name")
    k, t = number(get("k"), "number", 1 << 62), number(get("t"), "time", 1 << 62, -1 << 62)
    state.db.execute(
        "INSERT INTO dataset VALUES (?,?,?) ON CONFLICT DO UPDATE SET name=excluded.name, k=excluded.k "
        "WHERE excluded.k > k",
        (dataset, label, k),
    )
    return Age(dataset, k, t, name)


def read_records(store: Store, state: State, upto: int) -> None:
    """Build the state of all datasets from data/ alone, up to a number of changeset."""
    state.clear()
    for name in store.root.names("data"):
        age = Age(object=name)
        try:
            for record in scan(store, store.open("data", name)):
                try:
                    if record.kind == PACK:
                        age = pack_age(state, record, name)
                    elif record.kind == MOVED:
                        if store.open("data", name).read(7, 1) == b"\0":
                            moved = judged_moves(record.meta.get("M"), name, record.offset + record.length)
                            store.note_moves(name, moved)
                    elif age.changeset <= upto:
                        add_record(store, state, record, replace(age, offset=record.offset))
                except DamageError as error:
                    store.log.damage(f"data/{name.hex()} at {record.offset}: {error}")
        except DamageError as error:
            store.log.damage(str(error))
    state.join_parts(store.log)


def dataset_of_records(state: State, log: Log, wanted: str | None) -> bytes:
    """Choose among the datasets that records tell of; nodes of unknown dataset join the only one."""
    known = dict(state.db.execute("SELECT d, name FROM dataset"))
    chosen = chosen_dataset(known, wanted) if known else b""
    if known and len(known) == 1:
        state.db.execute(
            "INSERT OR IGNORE INTO node SELECT ?, path, type, k, t, object, offset, map, refs FROM node WHERE d = x''",
            (chosen,),
        )
    elif known:
        (lost,) = state.db.execute("SELECT count(*) FROM node WHERE d = x''").fetchone()
        if lost:
            log.note(f"{lost} nodes whose dataset is not known (damaged PACK) are left out")
    return chosen


# ---- Restoring


class Folders:
    """Directories below the target, reached one component after the other, never through a symlink."""

    FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, root: int) -> None:
        self.root = root
        self._path, self._fd = b"", os.dup(root)

    def enter(self, path: bytes, *, make: bool) -> int:
        """Return a descriptor of a directory, valid until the next call; make what is missing on the way."""
        if path == self._path:
            return self._fd
        inside = bool(self._path) and path.startswith(self._path + b"/")
        fd = os.dup(self._fd if inside else self.root)
        rest = path[len(self._path) + 1 :] if inside else path
        try:
            for name in rest.split(b"/") if rest else ():
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=fd)
                deeper = os.open(name, self.FLAGS, dir_fd=fd)
                os.close(fd)
                fd = deeper
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._path, self._fd = path, fd
        return fd


class Restorer:
    """Writes nodes below a target that was empty."""

    def __init__(self, store: Store, state: State, root: int, *, alone: bool) -> None:
        self.store, self.state, self.log = store, state, store.log
        self.folders = Folders(root)
        self.alone = alone  # stale paths are to be expected
        self.is_root = os.geteuid() == 0
        self.restored = self.stale = self.skipped_xattrs = 0

    def restore(self, dataset: bytes) -> None:
        for node, refs in self.state.nodes(dataset):
            if not node.path:
                if node.type != DIRECTORY:
                    self.log.damage("the root of the dataset is not a directory; its metadata is left out")
                continue
            self._guarded(node, refs)
        for node in self.state.folders(dataset):
            try:
                fd = self.folders.enter(node.path, make=False)
            except OSError:
                continue  # it was named when it could not be made
            self._attributes(node, fd, b"", fd)

    def _guarded(self, node: Node, refs: list[Ref]) -> None:
        try:
            self._place(node, refs)
            self.restored += 1
        except DamageError as error:
            self.log.damage(f"{show(node.path)}: not restored: {error}")
            self.log.failed += 1
        except OSError as error:
            if self.alone and error.errno in NOT_A_DIRECTORY:
                self.stale += 1  # deleted when its directory became something else
                return
            self.log.failure(f"{show(node.path)}: not restored: {error.strerror or error}")
        except (ValueError, OverflowError) as error:
            self.log.failure(f"{show(node.path)}: not restored: {error}")

    def _place(self, node: Node, refs: list[Ref]) -> None:
        above, _, name = node.path.rpartition(b"/")
        fd = self.folders.enter(above, make=True)
        if node.type == DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=fd)
            return
        temporary = b".n2s-recover-" + secrets.token_hex(8).encode()
        if node.link and self._linked(node, fd, name):
            return
        try:
            self._create(node, refs, fd, temporary)
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=fd)
            raise
        if node.link:
            self.state.db.execute("INSERT OR REPLACE INTO link VALUES (?,?)", (node.link, node.path))

    def _linked(self, node: Node, fd: int, name: bytes) -> bool:
        """Make a hard link to a path that was restored; False when there is none, or links cannot be had."""
        row = self.state.db.execute("SELECT path FROM link WHERE key = ?", (node.link,)).fetchone()
        if row is None:
            return False
        above, _, other = row[0].rpartition(b"/")
        here = os.dup(fd)
        try:
            there = self.folders.enter(above, make=False)
            os.link(other, name, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except OSError as error:
            self.log.note(f"{show(node.path)}: becomes a copy, not a hard link: {error.strerror}")
            return False
        finally:
            os.close(here)
            self.folders.enter(node.path.rpartition(b"/")[0], make=False)
        return True

    def _create(self, node: Node, refs: list[Ref], fd: int, name: bytes) -> None:
        if node.type == REGULAR:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            out = os.open(name, flags, 0o600, dir_fd=fd)
            try:
                self._write(node, refs, out)
                self._attributes(node, fd, name, out)
            finally:
                os.close(out)
            return
        if node.type == SYMLINK:
            os.symlink(node.target, name, dir_fd=fd)
        else:
            device = os.makedev(*node.device) if node.type in (CHARACTER, BLOCK) else 0
            os.mknod(name, NODE_TYPES[node.type] | 0o600, device, dir_fd=fd)
        self._attributes(node, fd, name, None)

    def _write(self, node: Node, refs: list[Ref], out: int) -> None:
        """Write the content and check it against the hash of the file; what no piece covers stays a hole."""
        hasher, at = blake3(max_threads=blake3.AUTO), 0
        os.ftruncate(out, node.size)
        for offset, data in self._pieces(refs) if node.size else ():
            if offset < at or offset + len(data) > node.size:
                raise DamageError("its pieces overlap or go beyond its end")
            hash_zeros(hasher, offset - at)
            hasher.update(data)
            at = offset + len(data)
            view = memoryview(data)
            while view:
                done = os.pwrite(out, view, at - len(view))
                view = view[done:]
        hash_zeros(hasher, node.size - at)
        if hasher.digest() != node.hash:
            raise DamageError("its content does not have the recorded hash")

    def _pieces(self, refs: list[Ref]) -> Iterator[tuple[int, bytes]]:
        if not refs:
            raise DamageError("there is no reference to its content")
        for ref in refs:
            record, origin = self.store.record(ref)
            if record.kind == BLOB and len(refs) == 1:
                yield 0, record.payload()
            elif record.kind == FILE:
                names = targets(record.meta)
                for item in rows(record.payload()):
                    yield self._segment(item, names, origin)
            else:
                raise DamageError(f"its content lies in a record of kind {record.kind}")

    def _segment(self, item: object, names: list[bytes], own: bytes) -> tuple[int, bytes]:
        row = typed(item, list, "a segment")
        if len(row) < 6:
            raise DamageError("a segment is too short")
        ref = judged_ref(row[3:6], names, own)
        record, _ = self.store.record(ref)
        data = record.payload()
        if record.kind != SEGMENT or len(data) != row[1] or blake3(data).digest() != row[2]:
            raise DamageError(f"the segment in data/{ref.object.hex()} at {ref.offset} is not the recorded one")
        return number(row[0], "the offset of a segment", 1 << 62), data

    def _attributes(self, node: Node, dir_fd: int, name: bytes, fd: int | None) -> None:
        """Set owner, attributes, mode and time; in this order, since each may change those after it.

        A change of owner clears setuid and file capabilities, an ACL changes the mode; the time comes last.
        """
        place: dict[str, Any] = {} if fd is not None else {"dir_fd": dir_fd, "follow_symlinks": False}
        spot: Any = name if fd is None else fd
        owned = self.is_root and self._try(node, "owner", lambda: os.chown(spot, node.uid, node.gid, **place))
        self._xattrs(node, f"/proc/self/fd/{dir_fd}/".encode() + name if fd is None else fd)
        mode = node.mode if owned else node.mode & ~0o6000
        if node.type != SYMLINK:
            where: dict[str, Any] = {} if fd is not None else {"dir_fd": dir_fd}
            self._try(node, "mode", lambda: os.chmod(spot, mode, **where))
        times = (node.mtime_ns, node.mtime_ns)
        self._try(node, "time", lambda: os.utime(spot, ns=times, **place))

    def _xattrs(self, node: Node, spot: Any) -> None:  # noqa: ANN401  a path or a descriptor
        for key, value in node.xattrs.items():
            if not self.is_root and key.startswith((b"security.", b"trusted.")):
                self.skipped_xattrs += 1
                continue
            follow = isinstance(spot, int)  # of a descriptor there is nothing to follow

            def put(key: bytes = key, value: bytes = value, *, follow: bool = follow) -> None:
                os.setxattr(spot, key, value, follow_symlinks=follow)

            self._try(node, f"attribute {show(key)}", put)

    def _try(self, node: Node, what: str, step: Any) -> bool:  # noqa: ANN401  any callable
        try:
            step()
        except (OSError, ValueError, OverflowError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.log.failure(f"{show(node.path)}: restored, but its {what} could not be set: {reason}")
            return False
        return True


def hash_zeros(hasher: blake3, count: int) -> None:
    while count > 0:
        hasher.update(ZEROS if count >= len(ZEROS) else bytes(count))
        count -= len(ZEROS)


def open_target(target: Path) -> int:
    """Make the target if need be and return its descriptor; it has to be empty."""
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(f"the target {target} cannot be used: {error.strerror}") from error
    if os.listdir(fd):
        raise RefusedError(f"the target {target} is not empty; give a new or an empty folder")
    with contextlib.suppress(OSError, AttributeError):  # children would inherit it
        os.removexattr(fd, "system.posix_acl_default")
    return fd


def list_nodes(state: State, dataset: bytes) -> None:
    for node, _ in state.nodes(dataset):
        seconds, ns = divmod(node.mtime_ns, 10**9)
        try:
            when = f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"
        except (ValueError, OverflowError, OSError):
            when = f"{node.mtime_ns}ns"
        print(f"{LETTERS[node.type]} {node.mode:04o} {node.size:>12} {when} {show(node.path)}")


# ---- The program


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recover.py", description="Restore a tree from a folder of n2s objects.")
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument("target", type=Path, metavar="TARGET", nargs="?", help="a new or empty folder")
    parser.add_argument("--also", type=Path, metavar="STORE", action="append", default=[], help="another remote of it")
    parser.add_argument("--list", action="store_true", help="print the tree instead of restoring it")
    parser.add_argument("--dataset", metavar="NAME", help="which dataset (name or id), if there are several")
    parser.add_argument("--changeset", metavar="ID", help="restore this one (beginning of its id), not the newest")
    parser.add_argument(
        "--key-file", "--words", type=Path, metavar="FILE", help="a key file or page instead of a passphrase"
    )
    parser.add_argument("--word-list", type=Path, metavar="FILE", help="the English list of BIP-39, for words alone")
    parser.add_argument("--records-alone", action="store_true", help="ignore changesets; deleted files come back")
    given = parser.parse_args()
    if given.target is None and not given.list:
        parser.error("TARGET is missing (or --list)")
    if given.changeset is not None and given.records_alone:
        parser.error("--changeset and --records-alone exclude each other")
    return given


def read_state(store: Store, state: State, given: argparse.Namespace) -> tuple[bytes, bool]:
    """Fill the state; return the dataset and whether it is from records alone."""
    wanted, upto = given.dataset, 1 << 62
    read_moves(store)
    heads, swept = ({}, set()) if given.records_alone else read_heads(store)
    if heads:
        tip = chosen_tip(heads, wanted, given.changeset)
        if tip.id in swept:
            store.log.note(f"{tip} was forgotten; what only it needed may have been removed")
        if read_chain(store, state, heads, tip):
            return tip.dataset, False
        wanted, upto = tip.dataset.hex(), upto if given.changeset is None else tip.number
        store.log.note(f"{tip} cannot be built whole")
    elif given.changeset is not None:
        raise RefusedError("there is no readable changeset in the store; try without --changeset")
    store.log.note("reading the records in data/ alone: files that were deleted will come back")
    read_records(store, state, upto)
    dataset = dataset_of_records(state, store.log, wanted)
    if next(state.nodes(dataset), None) is None:
        store.log.damage("there is no readable record in data/")
    return dataset, True


def run(given: argparse.Namespace, log: Log) -> int:
    for folder in (given.store, *given.also):
        if not folder.is_dir():
            raise RefusedError(f"the store {folder} is not a folder")
    places = Places([given.store, *given.also])
    if given.target is not None and not given.list and given.target.is_dir() and any(given.target.iterdir()):
        raise RefusedError(f"the target {given.target} is not empty; give a new or an empty folder")
    master = (
        master_from_file(given.key_file, given.word_list) if given.key_file else master_from_passphrase(places, log)
    )
    store = Store(places, Keys(master), log)
    if not store.opens_anything():
        raise RefusedError("the key opens nothing in this store: it belongs to another store, or all is damaged")
    with State() as state:
        dataset, alone = read_state(store, state, given)
        if given.list:
            list_nodes(state, dataset)
            return log.exit_code()
        restorer = Restorer(store, state, open_target(given.target), alone=alone)
        restorer.restore(dataset)
    if restorer.stale:
        log.note(f"{restorer.stale} old paths were left out: what was above them is no directory any more")
    if restorer.skipped_xattrs:
        log.note(f"{restorer.skipped_xattrs} attributes that only root may set were left out")
    if log.damaged and not alone:
        log.note("where content is missing, --records-alone may find an older version of it")
    log.note(f"{restorer.restored} paths restored, {log.failed} failures, {log.damaged} damages")
    return log.exit_code()


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(errors="backslashreplace")
    given, log = arguments(), Log()
    try:
        code = run(given, log)
        sys.stdout.flush()
    except RefusedError as error:
        log.note(str(error))
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (OSError, sqlite3.Error) as error:
        log.note(f"gave up: {error}")
        return 1
    except KeyboardInterrupt:
        log.note("interrupted")
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
