"""Push credentials: with one a machine can add to a store, and read nothing of it.

A credential is the public key of the store as one line of text (docs/format.md, section 2). It
is not secret: whoever has it can seal for the store, which helps only those who may write to it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from n2s_core.errors import KeyProblem

PREFIX = "n2s-push-1:"
LARGEST = 4096
_SHAPE = re.compile(rf"({PREFIX}([0-9a-f]{{32}}):([0-9a-f]{{64}})):([0-9a-f]{{8}})\s*")


@dataclass(frozen=True, slots=True)
class PushCredential:
    """Which store, and its X25519 public key."""

    store_id: bytes
    store_public: bytes

    def text(self) -> str:
        """One line without its end."""
        said = f"{PREFIX}{self.store_id.hex()}:{self.store_public.hex()}"
        return f"{said}:{_checksum(said)}"


def _checksum(said: str) -> str:
    return blake3(said.encode("ascii")).hexdigest()[:8]


def parse_credential(text: str) -> PushCredential:
    """The credential in a line of text. Raises KeyProblem."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        message = f"This is no push credential; one begins with '{PREFIX}' and is one line."
        raise KeyProblem(message)
    said, store, public, checksum = found.groups()
    if _checksum(said) != checksum:
        message = "The push credential was altered: it does not fit its checksum."
        raise KeyProblem(message)
    return PushCredential(bytes.fromhex(store), bytes.fromhex(public))


def read_credential(path: Path) -> PushCredential:
    """The credential in a file. Raises KeyProblem."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST)
    except OSError as error:
        message = f"The push credential {path} cannot be read: {error.strerror}."
        raise KeyProblem(message) from error
    return parse_credential(data.decode("ascii", "replace"))
