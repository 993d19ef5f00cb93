"""Writes forget-1.json: run it once, then never again for version 1 of the format."""

import json
from pathlib import Path

from n2s_core import packs, sealing
from n2s_core.verdicts import Verdict

MASTER = bytes(range(32))
VERDICT = Verdict(
    dataset_id=b"d" * 16,
    dataset="home",
    made_ns=1_700_000_000_000_000_000,
    forgotten=(b"a" * 32, b"b" * 32),
    brought_back=(b"c" * 32,),
    swept=(b"a" * 32,),
    pinned=(b"e" * 32,),
    unpinned=(b"f" * 32,),
    tags={b"e" * 32: ("thesis", "väg"), b"f" * 32: ()},
)


def frozen() -> dict[str, str]:
    """The verdict as the metadata of its record, and as a whole object."""
    pack = packs.Pack(sealing.master_prelude(), MASTER, level=0)
    pack.add(sealing.Kind.FORGET, VERDICT.pack())
    sealed = pack.finish()
    return {
        "master_key": MASTER.hex(),
        "meta": VERDICT.pack().hex(),
        "object": b"".join(sealed.chunks).hex(),
        "blake3": sealed.digest.hex(),
    }


if __name__ == "__main__":
    text = json.dumps(frozen(), indent=1)
    Path(__file__).with_name("forget-1.json").write_text(text + "\n", "ascii")
