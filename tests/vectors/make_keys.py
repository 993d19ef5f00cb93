"""Writes keys-1.json: the master key outside of a store, as docs/format.md, section 2, has it."""

import json
from pathlib import Path

from n2s_core import keypage, sealing
from n2s_core.credentials import PushCredential
from n2s_core.keys import store_id

MASTER = bytes(range(32))


def main() -> None:
    """Write the file beside this one; run it once for a format version."""
    public = sealing.x25519_private(MASTER).public_key().public_bytes_raw()
    vectors = {
        "master_key": MASTER.hex(),
        "key_file": keypage.key_file_text(MASTER),
        "lines": keypage.key_lines(MASTER),
        "words": keypage.key_words(MASTER),
        "push_credential": PushCredential(store_id(MASTER), public).text(),
    }
    text = json.dumps(vectors, indent=1)
    Path(__file__).with_name("keys-1.json").write_text(text + "\n", "ascii")


if __name__ == "__main__":
    main()
