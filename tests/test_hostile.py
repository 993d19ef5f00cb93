"""A store that somebody else may have written: nothing outside of the target is touched."""

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.flows.commit import seal_head
from n2s_core.flows.rebuild import HeadObject, lines
from n2s_core.hashing import blob_id
from n2s_core.jobs import SealSetting
from n2s_core.layout import Shelf, object_name
from n2s_core.manifest import Head, ObjectTable, Ref, pack_entry, packb
from n2s_core.model import Op
from n2s_core.packs import Keyring, SealedObject
from n2s_core.pending import PendingEntries
from n2s_core.sealing import Kind, Opener, Sealer
from tests.conftest import Dataset, MakeDataset
from tests.trees import describe

FILE, DIRECTORY, SYMLINK = 1, 2, 3
Node = dict[str, Any]


class Forger:
    """Writes a changeset by hand, with a key that opens and whatever entries it likes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._keyring = Keyring(dataset.master_key())
        with dataset.space() as space:
            self._id, self._name = space.dataset.dataset_id, space.dataset.name

    def _put(self, shelf: Shelf, sealed: SealedObject) -> None:
        path = self._dataset.store / object_name(shelf, sealed.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(sealed.chunks))

    def write(self, nodes: list[tuple[Node, bytes]]) -> None:
        """A first changeset with these nodes and contents."""
        pack = self._keyring.begin()
        pack.add(Kind.PACK, packb({"d": self._id, "N": self._name, "k": 1, "t": 1}))
        places = []
        for node, content in nodes:
            if node["t"] == FILE:
                digest = blake3(content).digest()
                path = node["p"] if isinstance(node["p"], bytes) else b""
                node |= {"h": digest, "b": blob_id(path, digest), "s": len(content)}
                places.append(pack.add(Kind.BLOB, packb(node), content))
            else:
                places.append(pack.add(Kind.NODES, packb({"n": 1, "O": []}), packb(node)))
        sealed = pack.finish()
        self._put(Shelf.DATA, sealed)
        table = ObjectTable()
        lines = [
            pack_entry(table, Op.WRITE, packb(node), ctime_ns=1, inode=1,
                       own=[Ref(sealed.digest, *place)], content=None)
            for (node, _), place in zip(nodes, places, strict=True)
        ]  # fmt: skip
        inline = PendingEntries(
            1, None, len(lines), packb({"n": len(lines), "O": table.digests}), b"".join(lines)
        )
        setting = SealSetting(b"/", self._id, self._name, 1, self._keyring, 0)
        self._put(Shelf.CHANGESETS, seal_head(setting, self.head(1, None), [inline])[0])

    def head(self, number: int, parent: bytes | None) -> Head:
        return Head(self._id, self._name, number, parent, 1, "", "find", None, True, "h", b"/", [])


def node(path: bytes, kind: int, **more: object) -> Node:
    mode = 0o755 if kind == DIRECTORY else 0o644
    return {"p": path, "t": kind, "s": 0, "m": 5, "o": mode, "u": 0, "g": 0, **more}


@pytest.fixture
def outside(dataset: Dataset) -> Path:
    folder = dataset.base / "outside"
    folder.mkdir()
    (folder / "own").write_bytes(b"untouched")
    return folder


def try_everything(dataset: Dataset, target: Path | None = None) -> list[Path]:
    """Rebuild and pull, and recover in both ways; what came of it does not matter here."""
    targets = []
    dataset.forget_catalogue()
    try:
        dataset.rebuild()
    except DamageError:
        pass
    else:
        if dataset.changesets():
            targets.append(dataset.try_pull(target=target)[0])
    targets.append(dataset.try_recover()[0])
    targets.append(dataset.try_recover("--records-alone")[0])
    return targets


@pytest.mark.parametrize(
    "path",
    [b"../outside/x", b"a/../../outside/x", b"/OUTSIDE/x", b"a//../x", b"./x", b"a/.", b"a/", b"/",
     b"..", b"a\0b", b"//x"],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_tree_is_never_made(
    dataset: Dataset, outside: Path, path: bytes
) -> None:
    path = path.replace(b"/OUTSIDE", os.fsencode(outside))
    before = describe(outside)
    Forger(dataset).write(
        [
            (node(b"", DIRECTORY), b""),
            (node(b"good", FILE), b"good"),
            (node(path, FILE), b"evil"),
            (node(path + b"/d", DIRECTORY), b""),
        ]
    )
    base = set(os.listdir(dataset.base))
    for target in try_everything(dataset):
        assert set(os.listdir(target)) <= {"good", "a"}
        for found in target.rglob("*"):
            assert found.name == "good" or found.is_dir()
    assert describe(outside) == before
    assert {name for name in os.listdir(dataset.base) if name.partition("-")[0] not in (
        "pull", "recover")} <= base  # fmt: skip


@pytest.mark.parametrize("kind", [FILE, SYMLINK, DIRECTORY])
def test_nothing_is_made_behind_a_symlink_of_the_store(
    dataset: Dataset, outside: Path, kind: int
) -> None:
    before = describe(outside)
    link = node(b"d", SYMLINK, l=os.fsencode(outside))
    below = [node(b"d/own", kind, **({"l": b"evil"} if kind == SYMLINK else {}))]
    below += [node(b"d/new", FILE), node(b"d/sub", DIRECTORY), node(b"d/sub/x", FILE)]
    Forger(dataset).write(
        [(node(b"", DIRECTORY), b""), (link, b""), *((one, b"evil") for one in below)]
    )
    try_everything(dataset)
    assert describe(outside) == before


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_made_behind_a_symlink_of_the_target(
    dataset: Dataset, outside: Path, force: bool
) -> None:
    (dataset.root / "d").mkdir()
    (dataset.root / "d" / "own").write_bytes(b"from the store")
    (dataset.root / "own").write_bytes(b"from the store")
    (dataset.root / "s").symlink_to("somewhere")
    os.mkfifo(dataset.root / "f")
    dataset.push()
    target = dataset.new_folder("target")
    (target / "d").symlink_to(outside)
    for name in ("own", "s", "f"):
        (target / name).symlink_to(outside / "own")
    before = describe(outside)
    _, result = dataset.try_pull(target=target, force=force)
    assert describe(outside) == before
    if force:
        assert result.failures == []
        dataset.assert_restores(target)
    else:
        assert {b"d", b"d/own", b"own", b"s", b"f"} == {one.path for one in result.failures}


def test_delete_does_not_follow_a_symlink_of_the_target(dataset: Dataset, outside: Path) -> None:
    (dataset.root / "d").mkdir()
    dataset.push()
    target = dataset.new_folder("target")
    (target / "d").symlink_to(outside)
    (target / "e").symlink_to(outside)
    before = describe(outside)
    dataset.try_pull(target=target, force=True, delete=True)
    assert describe(outside) == before
    dataset.assert_restores(target)


def test_a_hard_link_to_a_symlink_does_not_reach_its_target(
    dataset: Dataset, outside: Path
) -> None:
    """Two names of one inode, of which the store says that one is a file."""
    before = describe(outside)
    link = node(b"a", SYMLINK, l=os.fsencode(outside / "own"), n=2, i=7)
    Forger(dataset).write(
        [(node(b"", DIRECTORY), b""), (link, b""), (node(b"b", FILE, n=2, i=7), b"evil")]
    )
    try_everything(dataset)
    assert describe(outside) == before


def test_a_device_is_made_as_a_device_or_not_at_all(dataset: Dataset) -> None:
    device = node(b"null", 5, d=[1, 3])
    Forger(dataset).write([(node(b"", DIRECTORY), b""), (device, b"")])
    for target in try_everything(dataset):
        for path in target.iterdir():
            assert stat.S_ISCHR(path.lstat().st_mode)


@pytest.mark.parametrize(
    "wrong",
    [
        {"t": 99}, {"t": "file"}, {"o": 1 << 40}, {"m": (1 << 64) - 1}, {"u": -5}, {"x": 7},
        {"l": 7}, {"s": -1}, {"s": 1 << 63}, {"n": 1 << 63}, {"g": 1 << 32}, {"i": "one"},
        {"p": "text"}, {"p": 7}, {"n": "two"}, {"d": [1]}, {"x": {b"user.a": 7}},
        {"x": {b"no-namespace": b""}}, {"U": 5}, {"g": None},
    ],
)  # fmt: skip
def test_a_node_that_lies_about_its_types_is_told_and_harms_no_other(
    dataset: Dataset, wrong: Node
) -> None:
    for kind in (FILE, SYMLINK):
        bad = node(b"bad", kind, **({"l": b"x"} if kind == SYMLINK else {})) | wrong
        good = node(b"a good one", FILE)
        Forger(dataset).write([(node(b"", DIRECTORY), b""), (good, b"good"), (bad, b"bad")])
        dataset.forget_catalogue()
        problems = dataset.rebuild().problems
        target, result = dataset.try_pull()
        if "p" in wrong or "t" in wrong:
            assert problems, "the record that holds it is not believed at all"
        else:
            assert (target / "a good one").read_bytes() == b"good"
        assert result.files <= 2
        assert dataset.try_recover()[1].returncode in (0, 1, 3)
        for path in (dataset.store / "changesets").iterdir():
            path.unlink()


def bomb(size_said: int | None, size: int) -> bytes:
    parameters = zstandard.ZstdCompressor(write_content_size=size_said is not None)
    packed = parameters.compress(bytes(size))
    if size_said is None or size_said == size:
        return packed
    lying = bytearray(packed)
    field = packed.index(struct.pack("<I", size))
    lying[field : field + 4] = struct.pack("<I", size_said)
    return bytes(lying)


@pytest.mark.parametrize(
    ("said", "size"), [(None, 100 << 20), (100 << 20, 100 << 20), (0xFFFFFFF0, 100 << 20),
                       (1 << 20, 100 << 20), (60 << 20, 1 << 20)]
)  # fmt: skip
def test_a_bomb_does_not_go_off(said: int | None, size: int) -> None:
    key = bytes(32)
    header, sealed = Sealer(key, level=0).seal(Kind.BLOB, packb({}), bomb(said, size))
    plain = bytearray(Opener(key).authenticate(header, sealed))
    plain[0] = 1
    record = seal_plain(key, bytes(plain))
    with pytest.raises(DamageError):
        Opener(key).open(record)


def seal_plain(key: bytes, plain: bytes) -> bytes:
    """A record around any plaintext; no writer of n2s makes such ones."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

    start = struct.pack("<4sBBHI", b"N2SR", 1, Kind.BLOB, 0, len(plain) + 16)
    siv = blake3(
        start + plain, key=blake3(key, derive_key_context="n2s format 1 siv").digest()
    ).digest()
    header = start + siv
    header += struct.pack("<I", zlib.crc32(header))
    record_key = blake3(key, derive_key_context="n2s format 1 record").digest()
    secret = blake3(siv, key=record_key).digest()
    return header + ChaCha20Poly1305(secret).encrypt(bytes(12), plain, header)


def test_a_record_that_says_that_it_is_huge_is_damage_and_no_memory() -> None:
    start = struct.pack("<4sBBHI", b"N2SR", 1, Kind.BLOB, 0, 0xFFFFFFFF) + bytes(32)
    record = start + struct.pack("<I", zlib.crc32(start)) + bytes(64)
    with pytest.raises(DamageError):
        Opener(bytes(32)).open(record)


def test_metadata_longer_than_the_record_is_damage() -> None:
    with pytest.raises(DamageError):
        Opener(bytes(32)).open(seal_plain(bytes(32), struct.pack("<BI", 0, 0xFFFFFFF0) + b"x"))


def test_changesets_that_are_their_own_parents_end(make_dataset: MakeDataset) -> None:
    forger = Forger(make_dataset())
    one, two = bytes(32), b"1" * 32
    loop = [
        HeadObject(one, one, 1, forger.head(1, two)),
        HeadObject(two, two, 1, forger.head(2, one)),
    ]
    (line,) = lines(loop, [])
    assert line.problems
    alone = HeadObject(one, one, 1, forger.head(1, one))
    (line,) = lines([alone], [])
    assert line.problems
