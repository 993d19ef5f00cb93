"""The end of a push: entries, checkpoint and head go to the store, then the catalogue follows."""

import os
from dataclasses import dataclass

from blake3 import blake3

from n2s_core.catalogue_port import PushCatalogue
from n2s_core.facts import Changeset
from n2s_core.faults import crash_point
from n2s_core.jobs import SealSetting
from n2s_core.layout import Shelf, object_name
from n2s_core.manifest import (
    BYTES_PER_RECORD,
    ENTRIES_PER_RECORD,
    Head,
    ObjectTable,
    changeset_id,
    packb,
)
from n2s_core.model import ObjectRow
from n2s_core.packs import Pack, SealedObject
from n2s_core.pending import PendingEntries
from n2s_core.ports import Store
from n2s_core.rows import entry_of
from n2s_core.sealing import Kind

ENTRIES_OBJECT_SIZE = 16 << 20
CHECKPOINT_AFTER = 16
CHANGESET_WEIGHT = 10_000


def checkpoint_is_due(catalogue: PushCatalogue, changeset: Changeset) -> bool:
    """Whether a full list of the tree is worth its price now.

    A rebuild reads the entries and heads since the last checkpoint; writing a checkpoint costs one
    entry per live path. It is due when the first has grown to the second, so that the cost of all
    checkpoints together stays proportional to the changes.
    """
    dataset = catalogue.dataset
    changesets = dataset.changesets_since_checkpoint + 1
    entries = dataset.entries_since_checkpoint
    entries += changeset.written + changeset.touched + changeset.removed
    live = dataset.live_files + changeset.files_delta
    return changesets >= CHECKPOINT_AFTER and entries + CHANGESET_WEIGHT * changesets >= live


@dataclass(slots=True)
class Commit:
    """Writes one changeset to the store and then into the catalogue.

    `alone`: the store lost changesets before this one, so it gets a checkpoint to begin with.
    """

    catalogue: PushCatalogue
    store: Store
    setting: SealSetting
    alone: bool = False

    def write(
        self, changeset: Changeset, *, mark: bytes | None, complete: bool, tags: frozenset[str]
    ) -> bytes:
        """From confirmed batches to a stored changeset; its id."""
        number = changeset.changeset_no
        listed, inline = self._entries(changeset)
        checkpoint = (
            self._checkpoint(changeset)
            if self.alone or checkpoint_is_due(self.catalogue, changeset)
            else None
        )
        head = Head(
            dataset_id=self.setting.dataset_id,
            dataset=self.setting.dataset,
            number=changeset.number,
            parent=changeset.parent_id,
            created_ns=changeset.created_ns,
            name=changeset.changeset_name,
            using=changeset.plugin,
            mark=mark,
            complete=complete,
            host=os.uname().nodename,
            root=self.setting.root,
            entries=listed,
            checkpoint=checkpoint,
            counts={
                "written": changeset.written,
                "touched": changeset.touched,
                "removed": changeset.removed,
                "unchanged": changeset.unchanged,
                "failed": changeset.failed,
                "bytes_read": changeset.bytes_read,
            },
            tags=tuple(sorted(tags)),
        )
        sealed, identity = seal_head(self.setting, head, inline)
        data = b"".join(sealed.chunks)
        changeset = self.catalogue.seal(
            changeset, changeset_id=identity, digest=sealed.digest, data=data
        )
        crash_point("head-sealed")
        assert number == changeset.changeset_no
        complete_sealed(self.catalogue, self.store, changeset, checkpoint=checkpoint is not None)
        return identity

    def _entries(
        self, changeset: Changeset
    ) -> tuple[list[tuple[bytes, int]], list[PendingEntries]]:
        """Objects with entries, in order, and the entries that go into the head behind them."""
        pending = self.catalogue.pending_entries(changeset.changeset_no)
        last = max((at for at, one in enumerate(pending) if one.digest), default=-1)
        listed = []
        for one in pending[: last + 1]:
            digest = one.digest
            if digest is None:
                assert one.meta is not None
                assert one.payload is not None
                pack = self.setting.keyring.begin()
                pack.add(Kind.ENTRIES, one.meta, one.payload)
                digest = self._put_entries(changeset, pack)
            listed.append((digest, one.entries))
        return listed, pending[last + 1 :]

    def _put_entries(self, changeset: Changeset, pack: Pack) -> bytes:
        sealed = pack.finish()
        self.store.put(object_name(Shelf.META, sealed.digest), sealed.chunks, sealed.size)
        row = ObjectRow(
            self.catalogue.take_object_nos(1), Shelf.META.value, sealed.digest, sealed.size
        )
        self.catalogue.record_objects(changeset.changeset_no, [row])
        crash_point("entries-stored")
        return sealed.digest

    def _checkpoint(self, changeset: Changeset) -> list[tuple[bytes, int]]:
        listed: list[tuple[bytes, int]] = []
        pack = self.setting.keyring.begin()
        in_pack = in_record = 0
        table, lines = ObjectTable(), list[bytes]()

        def flush() -> None:
            nonlocal table
            if lines:
                pack.add(
                    Kind.ENTRIES, packb({"n": len(lines), "O": table.digests}), b"".join(lines)
                )
            lines.clear()
            table = ObjectTable()

        for row in self.catalogue.state(changeset.changeset_no):
            lines.append(entry_of(row, table, self.catalogue.digest_of))
            in_pack += 1
            in_record += len(lines[-1])
            if len(lines) >= ENTRIES_PER_RECORD or in_record >= BYTES_PER_RECORD:
                flush()
                in_record = 0
                if pack.size >= ENTRIES_OBJECT_SIZE:
                    listed.append((self._put_entries(changeset, pack), in_pack))
                    pack, in_pack = self.setting.keyring.begin(), 0
        flush()
        if in_pack:
            listed.append((self._put_entries(changeset, pack), in_pack))
        return listed


def complete_sealed(
    catalogue: PushCatalogue, store: Store, changeset: Changeset, *, checkpoint: bool = False
) -> None:
    """Put a sealed head into the store and make it the state; also what is left after a crash."""
    assert changeset.head_bytes is not None
    assert changeset.head_digest is not None
    name = object_name(Shelf.CHANGESETS, changeset.head_digest)
    catalogue.require_lease()
    store.put(name, [changeset.head_bytes], len(changeset.head_bytes))
    crash_point("head-stored")
    catalogue.finish(changeset, checkpoint=checkpoint)
    crash_point("finished")


def seal_head(
    setting: SealSetting, head: Head, inline: list[PendingEntries]
) -> tuple[SealedObject, bytes]:
    """The object of a head with the entries that it carries itself, and the changeset id."""
    tail = setting.keyring.begin()
    for one in inline:
        assert one.meta is not None
        assert one.payload is not None
        tail.add(Kind.ENTRIES, one.meta, one.payload)
    if inline:
        digest = blake3(tail.body()).digest()
        head = head.with_inline(sum(one.entries for one in inline), digest)
    packed = head.pack()
    return tail.with_first(Kind.HEAD, packed).finish(), changeset_id(packed)
