"""Promise: the bytes of format 1 never change."""

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from n2s_core import keys, manifest, packs, sealing
from n2s_core.errors import DamageError
from n2s_core.hashing import blob_id, content_hash

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "format-1.json").read_text("ascii")
)
MASTER = bytes.fromhex(VECTORS["master_key"])


def test_identities_are_those_of_the_page() -> None:
    path, content = bytes.fromhex(VECTORS["path"]), bytes.fromhex(VECTORS["content"])
    assert content_hash(content).hex() == VECTORS["file_hash"]
    assert blob_id(path, content_hash(content)).hex() == VECTORS["blob_id"]


def test_the_first_n2s_named_the_same_blob_the_same_way() -> None:
    digest = content_hash(b"hello n2s\n")
    assert digest.hex() == "017d7b4ed33db30d95cbb17be40cbdfd268eb7c76e762fe3ddcb5f53c18a0812"
    expected = "c6139dc186bbb7a9d1595e94801dbe903816acb5c960f722ab3bf9e9f6e09da3"
    assert blob_id(b"docs/file.txt", digest).hex() == expected


def test_keys_are_derived_as_the_page_says() -> None:
    assert keys.store_id(MASTER).hex() == VECTORS["store_id"]
    private = sealing.x25519_private(MASTER)
    assert private.private_bytes_raw().hex() == VECTORS["x25519_private"]
    assert private.public_key().public_bytes_raw().hex() == VECTORS["x25519_public"]


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda one: f"kind-{one['kind']}")
def test_the_same_input_seals_to_the_frozen_bytes(vector: dict[str, Any]) -> None:
    sealer = sealing.Sealer(MASTER, level=0)
    kind, meta, payload = vector["kind"], vector["meta"], vector["payload"]
    header, sealed = sealer.seal(kind, bytes.fromhex(meta), bytes.fromhex(payload))
    assert (header + sealed).hex() == vector["record"]


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda one: f"kind-{one['kind']}")
def test_frozen_records_open(vector: dict[str, Any]) -> None:
    opened = sealing.Opener(MASTER).open(bytes.fromhex(vector["record"]))
    assert opened.kind == vector["kind"]
    assert opened.meta_bytes.hex() == vector["meta"]
    assert opened.payload.hex() == vector["payload"]


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda one: f"kind-{one['kind']}")
def test_any_flipped_bit_of_a_record_is_noticed(vector: dict[str, Any]) -> None:
    opener = sealing.Opener(MASTER)
    whole = bytes.fromhex(vector["record"])
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(DamageError):
            opener.open(bytes(broken))


def test_the_frozen_key_object_opens_with_its_passphrase_only() -> None:
    data = bytes.fromhex(VECTORS["key_object"]["bytes"])
    assert keys.unwrap(data, VECTORS["key_object"]["passphrase"]) == MASTER
    assert keys.unwrap(data, "another") is None


def test_the_frozen_object_for_the_public_key_opens() -> None:
    data = bytes.fromhex(VECTORS["object_mode_1"]["bytes"])
    assert blake3(data).hexdigest() == VECTORS["object_mode_1"]["blake3"]
    problems: list[str] = []
    (found,) = packs.ObjectReader(data, MASTER).records(problems.append)
    assert found[2].payload.hex() == VECTORS["object_mode_1"]["payload"]
    assert not problems


def test_the_changeset_id_is_a_hash_of_the_head() -> None:
    packed = bytes.fromhex(VECTORS["records"][-1]["meta"])
    assert manifest.changeset_id(packed).hex() == VECTORS["changeset_id"]
    assert manifest.changeset_id(packed + b"\x00").hex() != VECTORS["changeset_id"]


def test_the_worked_example_of_the_page_is_true() -> None:
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")
    example = page.partition("## 7.")[2]
    blocks = [block for block in example.split("\n\n") if block.startswith("    ")]
    node, _, header, sealed = ("".join(block.split()) for block in blocks)
    opened = sealing.Opener(bytes(range(32))).open(bytes.fromhex(header + sealed))
    assert opened.meta_bytes.hex() == node
    assert opened.payload == b"hello n2s\n"
    assert opened.meta["p"] == b"docs/file.txt"
