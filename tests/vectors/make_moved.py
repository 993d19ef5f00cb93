"""Writes moved-1.json: run it once, then never again for version 1 of the format."""

import json
from pathlib import Path

from blake3 import blake3

from n2s_core import packs, sealing
from n2s_core.manifest import packb
from n2s_core.moves import Announcement, Move, Source, pack_sources

MASTER = bytes(range(32))
SOURCES = (
    Source(b"a" * 32, ((200, 80), (400, 20))),
    Source(b"b" * 32, ((300, 60), (500, 40))),
)


def copy() -> tuple[bytes, int]:
    """An object with copied records (not real ones), and where these begin."""
    pack = packs.Pack(sealing.master_prelude(), MASTER, level=0)
    meta = {"d": b"d" * 16, "N": "home", "k": 3, "t": 1_700_000_000_000_000_000}
    pack.add(sealing.Kind.PACK, packb(meta))
    offset, length = pack.add(sealing.Kind.MOVED, pack_sources(SOURCES))
    return b"".join(pack.finish().chunks) + b"." * SOURCES[0].size, offset + length


def announcement() -> Announcement:
    """What the store says of it in `changesets/`."""
    data, start = copy()
    move = Move(blake3(data).digest(), start, SOURCES)
    return Announcement(b"d" * 16, "home", 1_700_000_000_000_000_000, (move,))


def frozen() -> dict[str, str]:
    """Both objects."""
    pack = packs.Pack(sealing.master_prelude(), MASTER, level=0)
    pack.add(sealing.Kind.MOVED, *announcement().pack())
    return {
        "master_key": MASTER.hex(),
        "copy": copy()[0].hex(),
        "announcement": b"".join(pack.finish().chunks).hex(),
    }


if __name__ == "__main__":
    text = json.dumps(frozen(), indent=1)
    Path(__file__).with_name("moved-1.json").write_text(text + "\n", "ascii")
