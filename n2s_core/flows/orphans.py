"""What an object is that the store has and the catalogue has not."""

from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from n2s_core.errors import DamageError, Missing
from n2s_core.layout import Shelf
from n2s_core.model import LIVE
from n2s_core.orphans import Judgement, Lot, Shared
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.sealing import OBJECT_MAGIC, Kind, Opened

BEGINNING = 4096
"""Bytes of an object in which its PACK record is looked for first."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Reads orphans. `ours` are the ids of the catalogue's datasets."""

    store: Store
    master_key: bytes
    ours: frozenset[bytes]
    share: bool

    def judge(self, name: str, shelf: Shelf, digest: bytes, size: int) -> Judgement:
        """Read it, as far as is needed to judge it. Raises StoreError when the store is away."""
        try:
            if shelf is Shelf.DATA and self._is_of_another(self.store.get(name, 0, BEGINNING)):
                return Judgement(Lot.STRANGER, size)
            data = self.store.get(name)
        except Missing as error:
            return Judgement(Lot.GONE, size, f"it is listed but cannot be read: {error}")
        except DamageError as error:
            return Judgement(Lot.WRONG, size, str(error))
        if blake3(data).digest() != digest:
            why = "its bytes do not have the BLAKE3 that it is named by"
            return Judgement(Lot.WRONG, len(data), why, removable=self.is_removable(data))
        if not data.startswith(OBJECT_MAGIC):
            return Judgement(Lot.WRONG, len(data), "it is no object of n2s", removable=True)
        return self._judge_whole(data, shelf)

    def is_removable(self, data: bytes) -> bool:
        """Whether no other dataset can have use for these damaged bytes."""
        opened = self._opened(data)
        first = next(opened, None)
        return first is None or self._dataset_id(first[2]) in self.ours

    def _is_of_another(self, beginning: bytes) -> bool:
        first = next(self._opened(beginning), None)
        dataset_id = b"" if first is None else self._dataset_id(first[2])
        return bool(dataset_id) and dataset_id not in self.ours

    def _opened(self, data: bytes) -> Iterator[tuple[int, int, Opened]]:
        """The records that open; none when the object cannot be opened at all."""
        try:
            reader = ObjectReader(data, self.master_key)
        except DamageError:
            return
        yield from reader.records(lambda _: None)

    def _dataset_id(self, record: Opened) -> bytes:
        """The dataset that a PACK record names; nothing when it is none."""
        if record.kind != Kind.PACK:
            return b""
        try:
            found = record.meta.get("d")
        except DamageError:
            return b""
        return found if isinstance(found, bytes) else b""

    def _judge_whole(self, data: bytes, shelf: Shelf) -> Judgement:
        """Its bytes are those that were written; whatever cannot be read is left alone."""
        problems: list[str] = []
        contents: list[Shared] = []
        dataset_id, packed_ns = b"", 0
        try:
            for offset, length, record in ObjectReader(data, self.master_key).records(
                problems.append
            ):
                if not dataset_id and record.kind == Kind.PACK:
                    dataset_id, packed_ns = self._dataset_id(record), record.meta.get("t", 0)
                elif self.share and (digest := _content_of(record)):
                    contents.append(Shared(digest, record.kind, offset, length))
        except DamageError as error:
            problems.append(str(error))
        if problems:
            return Judgement(Lot.UNJUDGED, len(data), problems[0])
        if shelf is not Shelf.DATA or (dataset_id and dataset_id not in self.ours):
            return Judgement(Lot.STRANGER, len(data))
        if not dataset_id or not isinstance(packed_ns, int) or not 0 <= packed_ns < LIVE:
            return Judgement(Lot.UNJUDGED, len(data), "it does not say whose it is")
        return Judgement(
            Lot.OURS,
            len(data),
            dataset_id=dataset_id,
            packed_ns=packed_ns,
            contents=tuple(contents),
        )


def _content_of(record: Opened) -> bytes:
    """The BLAKE3 of the content in a record, when it is what the record says; else nothing."""
    if record.kind not in {Kind.BLOB, Kind.SEGMENT} or not record.payload:
        return b""
    said = record.meta.get("h")
    return blake3(record.payload).digest() if said == blake3(record.payload).digest() else b""
