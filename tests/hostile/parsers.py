"""Everything that reads what strangers wrote, as functions of bytes, and good bytes for each.

A parser takes any bytes: it returns, or raises one of the errors of n2s.
"""

import io
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgpack
import orjson
import xxhash
from blake3 import blake3

from n2s_core import config, credentials, keypage, keys
from n2s_core.app.key_page import page_text
from n2s_core.errors import N2sError
from n2s_core.flows.rebuild import HeadObject, lines
from n2s_core.manifest import Head, ObjectTable, Ref, entries, nodes, segments
from n2s_core.moves import Announcement, Move, Moves, Source, pack_sources, parse_sources
from n2s_core.packs import Gap, ObjectReader, scan
from n2s_core.remotes import RemoteSet
from n2s_core.rows import entry_of, node_of, numbered_content, row_of
from n2s_core.sealing import Kind, public_prelude, unpack_map, x25519_private
from n2s_core.stores.connections import json_object
from n2s_core.stores.shards import Coding, Header, encode, open_shard
from n2s_plugins.btrfs.names import Names
from n2s_plugins.btrfs.plugin import Base
from n2s_plugins.btrfs.stream import commands, crc32c
from n2s_plugins.dsg import manifest as dsg_manifest
from n2s_plugins.dsg import marks as dsg_marks
from n2s_plugins.dsg.config import repository_name
from n2s_plugins.dsg.nofeed import NoFeed
from n2s_plugins.watch import plugin as watch_plugin
from n2s_plugins.zfs.diff import hints
from n2s_plugins.zfs.snapshots import SnapshotMark
from n2s_plugins.zfs.stream import MAGIC, RECORD, Stream
from tests.hostile.forging import KEY, sealed, whole

FEW = keys.KdfCost(memory_kib=8, iterations=1, lanes=1)
DIGEST = blake3(b"").digest()


@dataclass(frozen=True)
class Parser:
    """`read` takes bytes; `good` are some that it understands, `refuses` is how it says no."""

    read: Callable[[bytes], object]
    good: tuple[bytes, ...]
    refuses: type[Exception] = N2sError


# -- the store ---------------------------------------------------------------------------------


def _read_object(data: bytes) -> None:
    """Every record of an object under the right key, and what each says."""
    for _, _, opened in ObjectReader(data, KEY).records(lambda _why: None):
        with suppress(N2sError):
            opened.meta  # noqa: B018 - reading it is the point
        if opened.kind == Kind.NODES:
            with suppress(N2sError):
                list(nodes(opened.payload))


def _scan(data: bytes) -> None:
    end = 0
    for found in scan(data, 0):
        offset, size = (found.offset, found.size) if isinstance(found, Gap) else (
            found[0], found[1].size)  # fmt: skip
        assert offset == end
        end += size
    assert end == len(data)


def _read_metadata(data: bytes) -> None:
    unpack_map(data)


def _read_entries(data: bytes) -> None:
    """Payload of ENTRIES: each entry becomes a row, and a row that was believed can be written."""
    for entry in entries({"O": [DIGEST, KEY]}, data):
        with suppress(N2sError):
            row = row_of(entry, 1, lambda _digest: 1)
            numbered_content(row)
            node_of(row)
            entry_of(row, ObjectTable(), lambda _number: DIGEST)
            assert all(-(1 << 63) <= field < 1 << 63 for field in row if isinstance(field, int)), (
                "a number that no database takes"
            )


def _read_table(data: bytes) -> None:
    """The list `O` of a record."""
    meta = unpack_map(data)
    list(entries(meta, b""))
    list(segments(meta, b"", None))


def _read_segments(data: bytes) -> None:
    list(segments({"O": [DIGEST]}, data, KEY))


def _read_nodes(data: bytes) -> None:
    list(nodes(data))


def _read_moves(data: bytes) -> None:
    """Payload of MOVED: where every piece went is a number that a database takes."""
    gone = [DIGEST]
    moves = Moves(exists=lambda name: name not in gone)
    for move in Announcement.parse({"d": b"d", "N": "n", "t": 1}, data).moves:
        moves.add(move)
        for source in move.sources:
            gone[0] = source.digest
            for offset, length in source.pieces:
                place = moves.place(Ref(source.digest, offset, length))
                assert 0 <= place.offset < 1 << 63


def _read_sources(data: bytes) -> None:
    parse_sources(unpack_map(data).get("M"))


def _read_head(data: bytes) -> None:
    head = Head.parse(unpack_map(data))
    head.pack()
    lines([HeadObject(DIGEST, DIGEST, 1, head)], [])


def _read_key_object(data: bytes) -> None:
    """As it is; and with costs that a test can pay, so that what follows them is read too."""
    keys.describe(data)
    cheap = data[:8] + struct.pack("<III", FEW.memory_kib, FEW.iterations, FEW.lanes) + data[20:]
    keys.unwrap(cheap, "a passphrase")


def _read_shard(data: bytes) -> None:
    Header.parse(data)
    open_shard(data, _SHARD_NAME)


_SHARD_NAME = f"data/{DIGEST.hex()[:2]}/{DIGEST.hex()}"
_NODE = {
    "p": b"a/b", "t": 1, "s": 3, "m": 5, "o": 0o644, "u": 1, "g": 2, "U": "ada", "G": "staff",
    "h": DIGEST, "b": DIGEST, "n": 2, "i": 7, "f": b"a", "x": {b"user.a": b"1"},
}  # fmt: skip
_ENTRY = [1, _NODE, 5, 7, [[0, 8, 100]], [[1, 8, 100]]]
_LARGE = [1, {**_NODE, "q": 2}, 5, 7, [[0, 8, 100], [1, 8, 100]], None]
_LINK = [2, {**_NODE, "t": 3, "l": b"somewhere"}, 5, 7, [[0, 8, 100]], None]
_DEVICE = [1, {**_NODE, "t": 5, "d": [1, 3]}, 5, 7, [[0, 8, 100]], None]
_HEAD = {
    "d": bytes(16), "N": "name", "k": 3, "P": DIGEST, "t": 5, "n": "", "u": "find", "M": b"mark",
    "C": True, "H": "host", "R": b"/root", "e": [[DIGEST, 7], [KEY, 8]], "i": [4, DIGEST],
    "S": {"written": 3}, "x": [[DIGEST, 9]],
}  # fmt: skip


def _entries_payload() -> bytes:
    packed = [msgpack.packb(one) for one in (_ENTRY, _LARGE, _LINK, _DEVICE)]
    return b"".join([*packed, msgpack.packb([3, {"p": b"gone"}])])


def _segments_payload() -> bytes:
    two = ([0, 10, DIGEST, 0, 8, 100], [10, 10, KEY, -1, 8, 100])
    return b"".join(msgpack.packb(one) for one in two)


def _objects() -> tuple[bytes, ...]:
    head = sealed(Kind.HEAD, _HEAD)
    listed = sealed(Kind.ENTRIES, {"n": 5, "O": [DIGEST, KEY]}, _entries_payload())
    pack = sealed(Kind.PACK, {"d": bytes(16), "N": "name", "k": 1, "t": 5})
    blob = sealed(Kind.BLOB, _NODE, b"abc")
    file = sealed(Kind.FILE, {**_NODE, "O": [DIGEST], "k": [0, 1]}, _segments_payload())
    more = sealed(Kind.NODES, {"n": 1, "O": []}, msgpack.packb(_NODE))
    prelude, secret = public_prelude(x25519_private(KEY).public_key().public_bytes_raw())
    return (
        whole(head, listed),
        whole(pack, blob, file, more),
        prelude + sealed(Kind.BLOB, _NODE, b"abc", key=secret),
    )


# -- configuration -----------------------------------------------------------------------------


def _in_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def parse(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_bytes(data)
            return read(path)

    return parse


def _read_set(data: bytes) -> None:
    RemoteSet.from_url("set:" + data.decode("utf-8", "surrogateescape"))


_CONFIG = b"""
[dataset]
id = "00112233445566778899aabbccddeeff"
name = "n"
exclude = ["*.o"]
options = {key = "value"}
[store]
url = "file:/nowhere"
pack_size = "16M"
compression = 3
[key]
key_file = "~/key"
"""
_SET = json.dumps(
    {
        "mode": "erasure", "minimal_shards": 1, "expected_shards": 2,
        "remotes": [{"name": "a", "url": "file:/a"}, {"name": "b", "url": "file:/b"}],
    }
).encode()  # fmt: skip
_CREDENTIAL = credentials.PushCredential(KEY[:16], KEY).text().encode()
_SET_FILE = b"""
mode = "mirror"
remotes = [{name = "a", url = "file:/a"}, {name = "b", url = "file:/b"}]
"""


# -- plugins -----------------------------------------------------------------------------------


def _read_send_stream(data: bytes) -> None:
    names = Names()
    for said in commands(io.BytesIO(data)):
        names.take(said)
    list(names.changes())


def _read_repaired_send_stream(data: bytes) -> None:
    """With right checksums, as a stream has them whoever wrote it."""
    _read_send_stream(_with_checksums(data))


def _with_checksums(data: bytes) -> bytes:
    made, at = bytearray(data), 17
    while at + 10 <= len(made):
        size, number, _ = struct.unpack_from("<IHI", made, at)
        body = bytes(made[at + 10 : at + 10 + size])
        struct.pack_into("<I", made, at + 6, crc32c(struct.pack("<IHI", size, number, 0) + body))
        at += 10 + size
    return bytes(made)


def _send_stream() -> bytes:
    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("<HH", number, len(value)) + value

    def command(number: int, *attributes: bytes) -> bytes:
        body = b"".join(attributes)
        return struct.pack("<IHI", len(body), number, 0) + body

    return _with_checksums(
        b"btrfs-stream\0" + struct.pack("<I", 1)
        + command(2, attribute(15, b"new"), attribute(1, bytes(16)))
        + command(3, attribute(15, b"o257-1-0")) + command(8, attribute(15, b"a/o258-1-0"))
        + command(9, attribute(15, b"o257-1-0"), attribute(16, b"a/b"))
        + command(10, attribute(15, b"a/c"), attribute(17, b"a/b"))
        + command(11, attribute(15, b"a/c")) + command(21)
    )  # fmt: skip


def _read_zfs_stream(data: bytes) -> None:
    stream = Stream(lambda _found: None, base=1, new=2)
    for at in range(0, len(data), 1000):
        stream.take(data[at : at + 1000])
    stream.end()


def _zfs_stream() -> bytes:
    def of(kind: int, size: int, body: bytes) -> bytes:
        return (struct.pack("<II", kind, size) + body).ljust(RECORD, b"\0")

    begin = of(0, 0, struct.pack("<QQQIIQQ", MAGIC, 1, 0, 2, 0, 2, 1))
    bonus = struct.pack("<IH", 0x2F505A, 1 << 10).ljust(8, b"\0")
    bonus += bytes(40) + struct.pack("<QQ", 34, 0) + bytes(64) + struct.pack("<Q", 1)
    thing = of(1, 0, struct.pack("<QIIII4BI", 7, 19, 44, 0, len(bonus), 0, 0, 0, 0, len(bonus)))
    write = of(3, 0, struct.pack("<QII QQQ", 7, 19, 0, 0, 8, 2)) + bytes(8)
    return begin + thing + bonus + write + of(5, 0, b"")


def _read_diff(data: bytes) -> None:
    list(hints(io.BytesIO(data), b"/tank"))


_DIFF = (
    b"1700000000.000000001\tM\t/\t/tank/\n"
    b"1700000000.000000001\tR\t/\t/tank/old\t/tank/new\\0040name\n"
    b"1700000000.000000001\tM\tF\t/tank/a\t(+1)\n"
    b"1700000000.000000001\t-\tF\t/tank/(on_delete_queue)\n"
)


def _read_manifest(data: bytes) -> None:
    dsg_manifest.parse(data, name="m")


def _manifest() -> bytes:
    listed = {"a/b": {"type": "file", "path": "a/b", "hash": "0", "filesize": 1, "mtime": "x"}}
    hasher = xxhash.xxh3_64()
    for entry in listed.values():
        hasher.update(orjson.dumps(entry))
    about = {"entries_hash": hasher.hexdigest(), "snapshot_hash": "0", "snapshot_id": "s1"}
    return orjson.dumps({"entries": listed, "metadata": about})


def _read_dsg_config(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".dsgconfig.yml").write_bytes(data)
        return repository_name(folder.encode())


def _zfs_mark(data: bytes) -> None:
    found = SnapshotMark.decode(data)
    if found is not None:
        found.encode()


def _dsg_mark(data: bytes) -> None:
    dsg_marks.from_mark(data).as_mark()


_SOURCES = (Source(DIGEST, ((100, 60), (200, 40))), Source(KEY, ((300, 100),)))

PARSERS = {
    "object": Parser(_read_object, _objects()),
    "scan": Parser(_scan, _objects()),
    "metadata": Parser(_read_metadata, (msgpack.packb(_NODE), msgpack.packb(_HEAD))),
    "table": Parser(_read_table, (msgpack.packb({"n": 1, "O": [DIGEST, KEY]}),)),
    "entries": Parser(_read_entries, (_entries_payload(),)),
    "segments": Parser(_read_segments, (_segments_payload(),)),
    "nodes": Parser(_read_nodes, (msgpack.packb(_NODE) * 2,)),
    "moves": Parser(_read_moves, (Move(KEY, 8, _SOURCES).pack() * 2,)),
    "sources": Parser(_read_sources, (pack_sources(_SOURCES),)),
    "head": Parser(_read_head, (msgpack.packb(_HEAD),)),
    "key-object": Parser(
        _read_key_object, (keys.wrap(KEY, "a passphrase", created_ns=1, cost=FEW),)
    ),
    "key-file": Parser(
        _in_file(keypage.read_key),
        (keypage.key_file_text(KEY).encode(), page_text(KEY, "a store").encode()),
    ),
    "push-credential": Parser(_in_file(credentials.read_credential), (_CREDENTIAL,)),
    "shard": Parser(
        _read_shard,
        tuple(head + payload for head, payload in encode(_SHARD_NAME, b"abcde", Coding(2, 3, 5))),
    ),
    "config": Parser(_in_file(config.read), (_CONFIG,)),
    "set-url": Parser(_read_set, (_SET,)),
    "set-file": Parser(
        _in_file(lambda path: config.absolute_url(f"set:{path}", path.parent)), (_SET_FILE,)
    ),
    "btrfs-stream": Parser(_read_send_stream, (_send_stream(),)),
    "btrfs-stream-repaired": Parser(_read_repaired_send_stream, (_send_stream(),)),
    "btrfs-mark": Parser(Base.unpack, (Base("u", b"/p").pack(),)),
    "zfs-stream": Parser(_read_zfs_stream, (_zfs_stream(),)),
    "zfs-diff": Parser(_read_diff, (_DIFF,)),
    "zfs-mark": Parser(_zfs_mark, (SnapshotMark("d", "g", frozenset({b"\xff"})).encode(),)),
    "dsg-manifest": Parser(_read_manifest, (_manifest(),), NoFeed),
    "dsg-config": Parser(_read_dsg_config, (b"project:\n  name: n\n  ssh: {host: h}\n",), NoFeed),
    "dsg-mark": Parser(_dsg_mark, (dsg_marks.Seen("r", "h", 5).as_mark(),), NoFeed),
    "watch-mark": Parser(watch_plugin._unpack, (b'["session", 5]',)),
    "remote-answer": Parser(json_object, (b'{"list": [{"Name": "a", "Size": 3}]}',)),
}


def understood() -> Iterator[tuple[str, bytes]]:
    """Each good example, by the name of its parser."""
    for name, parser in PARSERS.items():
        for good in parser.good:
            yield name, good
