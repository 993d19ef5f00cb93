"""What the process that pushes and a worker on another machine say to each other.

A call has a head, which every version can read, and a body, which is opened when the head says
that both mean the same store and dataset. No key, passphrase or credential of a store is in it:
a worker has its own configuration.
"""

import pickle
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgpack

from n2s_core.app.witnessing import Difference, Witness
from n2s_core.errors import N2sError
from n2s_core.jobs import Batch, BatchResult

PLUGIN = "n2s"
TOPIC = "n2s-segments"


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose work it is. `keys` are names of key objects that the store has; ids in hexadecimal."""

    version: str
    host: str
    dataset: str
    dataset_id: str
    store_id: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """One batch, and what of the setting of a push a worker does not know by itself.

    The tree lies `below` the root of the dataset (a snapshot may), "" for the root itself; `key`
    is told with each of the segments.
    """

    key: str
    batch: Batch
    witnesses: list[Witness]
    below: bytes
    dataset: str
    number: int
    pack_size: int
    level: int
    share: bool
    frozen: bool
    transfers: int


class Kind(StrEnum):
    """What became of a call."""

    READY = "ready"
    SEALED = "sealed"
    REFUSED = "refused"
    ANOTHER_TREE = "another tree"
    DIED = "died"
    FAILED = "failed"


class Answer(NamedTuple):
    """`value`: the BatchResult, the differences of the tree, the N2sError, or a sentence."""

    kind: Kind
    value: BatchResult | list[Difference] | N2sError | str


def pack_call(terms: Terms, work: Work | None) -> bytes:
    """The bytes of a call; without `work` the worker only says whether it accepts the terms."""
    head = {name: getattr(terms, name) for name in Terms.__slots__}
    body = None if work is None else pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
    packed: bytes = msgpack.packb([head, body])
    return packed


def unpack_call(call: bytes) -> tuple[Terms, bytes | None]:
    """Terms and body; what another version says besides is left out, what it lacks is empty."""
    head, body = msgpack.unpackb(call)[:2]
    known: dict[str, Any] = {name: head.get(name, "") for name in Terms.__slots__}
    known["keys"] = tuple(head.get("keys", ()))
    return Terms(**known), body


def open_work(body: bytes) -> Work:
    """What `pack_call` was given, by the same version of n2s."""
    work: Work = pickle.loads(body)  # noqa: S301 - who reaches the scheduler may run code anyway
    return work


def pack_answer(answer: Answer) -> bytes:
    """The bytes of an answer."""
    return pickle.dumps(tuple(answer), pickle.HIGHEST_PROTOCOL)


def open_answer(packed: bytes) -> Answer:
    """What `pack_answer` was given."""
    return Answer(*pickle.loads(packed))  # noqa: S301 - see open_work


def pack_told(key: str, told: object) -> bytes:
    """Segments that are stored while their batch goes on."""
    return pickle.dumps((key, told), pickle.HIGHEST_PROTOCOL)


def open_told(packed: bytes) -> tuple[str, Any]:
    """What `pack_told` was given."""
    key, told = pickle.loads(packed)  # noqa: S301 - see open_work
    return key, told
