"""Writes format-1.json: run it once for a format version, then never again for that version.

Everything in it follows from fixed inputs, except the key object and the object of key mode 1,
whose random parts are written down with them.
"""

import json
from pathlib import Path
from typing import Any

from blake3 import blake3

from n2s_core import keys, manifest, packs, sealing
from n2s_core.hashing import blob_id, content_hash
from n2s_core.model import Op

MASTER = bytes(range(32))
PATH = b"docs/caf\xe9 \xc3\xa9.txt"
CONTENT = b"hello n2s\n" * 40


def node() -> dict[str, Any]:
    """The node map of the example file."""
    digest = content_hash(CONTENT)
    return {
        "p": PATH, "t": 1, "s": len(CONTENT), "m": -1_500_000_001, "o": 0o4755, "u": 1000,
        "g": 100, "U": "ada", "G": "users", "x": {b"user.k": b"\x00v"}, "h": digest,
        "b": blob_id(PATH, digest),
    }  # fmt: skip


def records() -> list[dict[str, str | int]]:
    """Sealed records of every kind."""
    sealer = sealing.Sealer(MASTER, level=0)
    pack_digest = blake3(b"an object").digest()
    table = manifest.ObjectTable()
    segment = manifest.SegmentRef(0, 400, content_hash(CONTENT), manifest.Ref(pack_digest, 8, 500))
    lines = manifest.pack_segments(table, [segment])
    entries = manifest.ObjectTable()
    entry = manifest.pack_entry(
        entries, Op.WRITE, manifest.packb(node()), ctime_ns=5, inode=7,
        own=[manifest.Ref(pack_digest, 8, 500)], content=None,
    )  # fmt: skip
    head = manifest.Head(
        b"d" * 16, "home", 2, b"p" * 32, 1_700_000_000_000_000_000, "first", "find", None,
        True, "host", b"/home/ada", [(pack_digest, 1)], (1, b"i" * 32), None, {"written": 1},
    )  # fmt: skip
    inputs: list[tuple[sealing.Kind, bytes, bytes]] = [
        (sealing.Kind.PACK, manifest.packb({"d": b"d" * 16, "N": "home", "k": 2, "t": 9}), b""),
        (sealing.Kind.BLOB, manifest.packb(node()), CONTENT),
        (
            sealing.Kind.SEGMENT,
            manifest.packb({"p": PATH, "b": node()["b"], "h": node()["h"]}),
            CONTENT,
        ),
        (sealing.Kind.FILE, manifest.packb({**node(), "q": 1, "O": table.digests}), lines),
        (sealing.Kind.NODES, manifest.packb({"n": 1, "O": []}), manifest.packb(node())),
        (
            sealing.Kind.ENTRIES,
            manifest.packb({"n": 1, "O": entries.digests}),
            entry + manifest.pack_removal(b"gone"),
        ),
        (sealing.Kind.HEAD, head.pack(), b""),
    ]
    found: list[dict[str, str | int]] = []
    for kind, meta, payload in inputs:
        header, sealed = sealer.seal(kind, meta, payload)
        found.append(
            {
                "kind": int(kind),
                "meta": meta.hex(),
                "payload": payload.hex(),
                "record": (header + sealed).hex(),
            }
        )
    return found


def main() -> None:
    """Write the file beside this one."""
    private = sealing.x25519_private(MASTER)
    public = private.public_key().public_bytes_raw()
    prelude, secret = sealing.public_prelude(public)
    pack = packs.Pack(prelude, secret)
    pack.add(sealing.Kind.BLOB, manifest.packb(node()), CONTENT)
    sealed_object = pack.finish()
    cost = keys.KdfCost(memory_kib=64, iterations=1, lanes=1)
    vectors = {
        "master_key": MASTER.hex(),
        "store_id": keys.store_id(MASTER).hex(),
        "x25519_private": private.private_bytes_raw().hex(),
        "x25519_public": public.hex(),
        "k_siv": blake3(MASTER, derive_key_context="n2s format 1 siv").hexdigest(),
        "k_rec": blake3(MASTER, derive_key_context="n2s format 1 record").hexdigest(),
        "path": PATH.hex(),
        "content": CONTENT.hex(),
        "file_hash": node()["h"].hex(),
        "blob_id": node()["b"].hex(),
        "records": records(),
        "changeset_id": manifest.changeset_id(bytes.fromhex(str(records()[-1]["meta"]))).hex(),
        "key_object": {
            "passphrase": "correct horse \u00e9",
            "bytes": keys.wrap(
                MASTER, "correct horse \u00e9", created_ns=1, label="x", cost=cost
            ).hex(),
        },
        "object_mode_1": {
            "bytes": b"".join(sealed_object.chunks).hex(),
            "blake3": sealed_object.digest.hex(),
            "payload": CONTENT.hex(),
        },
    }
    text = json.dumps(vectors, indent=1)
    Path(__file__).with_name("format-1.json").write_text(text + "\n", "ascii")


if __name__ == "__main__":
    main()
