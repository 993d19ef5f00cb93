"""What is said and remembered of objects that the store has and no changeset names."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from n2s_core.model import ObjectRow


class Lot(Enum):
    """What becomes of an orphan."""

    OURS = "whole, and of a dataset of this catalogue"
    STRANGER = "surely of another dataset, or a list that nobody names"
    UNJUDGED = "whole, and nothing that this key or this version can judge"
    WRONG = "not what its name says"
    GONE = "not there any more, or listed and not readable"


@dataclass(frozen=True, slots=True)
class Shared:
    """A content in an object: BLAKE3 of it, kind of record, offset and length of the record."""

    digest: bytes
    kind: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an orphan is; `why` is half a sentence about what is wrong.

    `removable`: of a WRONG one, that no other dataset can have use for what is left of it.
    """

    lot: Lot
    size: int
    why: str = ""
    removable: bool = False
    dataset_id: bytes = b""
    packed_ns: int = 0
    contents: tuple[Shared, ...] = ()


class Adopted(NamedTuple):
    """An orphan of ours; `object_no` when the catalogue has it without knowing whose it is."""

    digest: bytes
    judgement: Judgement
    object_no: int | None


class Quarantined(NamedTuple):
    """An object that is not what its name says, and since when that is known (ns)."""

    name: str
    size: int
    why: str
    since_ns: int


class OrphanCatalogue(Protocol):
    """What is remembered of orphans. Every write raises LeaseHeld when another took over."""

    def unowned(self) -> Iterator[ObjectRow]:
        """Data objects of which a rebuild found no version that needs them."""

    def is_left_alone(self, digest: bytes) -> bool:
        """Whether it is known to be another's, or somebody is at work on it."""

    def is_needed(self, object_no: int) -> bool:
        """Whether any version needs an unowned object after all; looks at all of them."""

    def can_adopt(self, dataset_id: bytes) -> bool:
        """Whether a dataset has a changeset, to which an object can belong."""

    def adopt(self, found: list[Adopted]) -> None:
        """These are ours from now on, were read and are whole; a prune may remove them."""

    def note_strangers(self, digests: list[bytes]) -> None:
        """These are another's: they need not be read again, and are no objects of this one."""

    def disown(self, object_no: int) -> None:
        """An unowned object that nobody needs is no object of this catalogue."""

    def quarantine(self, name: str, size: int, why: str) -> int:
        """Remember it; since when it is known (ns)."""

    def quarantined_since(self, name: str) -> int | None:
        """Since when it is known (ns), if it is."""

    def release(self, name: str | None) -> None:
        """Forget one that is gone, or without a name all that were not seen by this flow."""
