"""Comparing a store with the catalogue, and reading it back."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from blake3 import blake3

from n2s_core.clock import now_ns
from n2s_core.errors import DamageError, FormatError, Missing, Unavailable
from n2s_core.faults import crash_point
from n2s_core.flows.affected import Concerns, concerns
from n2s_core.layout import FANNED_OUT, FOLDERS, Shelf, object_name, parse_name
from n2s_core.model import Affected, ObjectRow, ObjectStat, Progress, Remembered, Report
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.relpath import RelPath

REMEMBER_EVERY = 64
REMEMBER_BYTES = 64 << 20
MISSING, DAMAGED = "missing", "damaged"
OPENED, HASHED = "opened", "hashed"
PERCENT = 100


class ObjectCatalogue(Protocol):
    """The objects that the store should have, and what is remembered of them."""

    def key_objects(self) -> list[tuple[bytes, bytes]]:
        """Digest and bytes of the key objects."""

    def in_folder(self, shelf: str, first: int | None) -> list[Remembered]:
        """Those of a shelf whose BLAKE3 begins with a byte, or all of them."""

    def oldest(self, before_ns: int) -> Iterator[ObjectRow]:
        """Those that were not read since `before_ns`, oldest first."""

    def damaged(self) -> set[int]:
        """Those that are known to be missing or damaged."""

    def note_sized(self, shelf: str, first: int | None, time_ns: int) -> None:
        """Those of a folder that are not known to be wrong were listed with their sizes."""

    def note_verified(self, object_nos: list[int], time_ns: int, how: str) -> None:
        """Remember that these were read and found whole."""

    def note_damages(self, found: list[tuple[int, str, str]]) -> None:
        """These (number, kind, why) are missing or damaged: their content is not to be used."""

    def note_losses(self, object_nos: set[int]) -> None:
        """What is in these objects is to be stored again by the next push."""

    def settle(self) -> None:
        """What is in objects that are whole after all need not be stored again."""

    def affected(self, object_nos: set[int]) -> Iterator[Affected]:
        """Versions that need one of these objects, by path."""

    def changeset_ids(self) -> dict[int, bytes]:
        """The changesets, oldest first."""


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """How much to read: 0 percent compares names and sizes only.

    `older_than_ns`: only objects that were not read since then. `most_bytes`: stop to read before
    it is more than that, though not before one object was read.
    """

    percent: float = 0.0
    older_than_ns: int | None = None
    most_bytes: int | None = None


@dataclass(slots=True)
class Findings:
    """What a verify found. `missing` and `damaged` are names of objects with what is wrong.

    `read` counts the objects whose bytes were read, `unread` those that `older_than_ns` allows
    and that are left. `concerns` says whom the missing and damaged objects concern.
    """

    objects: int = 0
    checked: int = 0
    read: int = 0
    unread: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    concerns: Concerns = field(default_factory=Concerns)
    orphans: int = 0

    @property
    def affected_paths(self) -> list[RelPath]:
        """Paths of any version that need one of the objects, the first of them."""
        return self.concerns.paths


@dataclass(slots=True)
class Verify:
    """One verify. `master_key` None: hashes are compared, records are not opened.

    What was known to be missing or damaged is read again, whatever the wish says. What was found
    is remembered as it goes on, so that one that is killed need not begin anew. `on_orphan` hears
    of each object in `data/` and `meta/` that the catalogue does not have.
    """

    catalogue: ObjectCatalogue
    store: Store
    master_key: bytes | None
    wish: VerifyWish
    report: Report
    on_orphan: Callable[[ObjectStat], None] = lambda _: None
    _found: Findings = field(default_factory=Findings)
    _known: set[int] = field(default_factory=set)
    _bad: dict[int, str] = field(default_factory=dict)
    _new: list[tuple[int, str, str]] = field(default_factory=list)
    _well: list[int] = field(default_factory=list)
    _unnoted_bytes: int = 0
    _healed: bool = False
    _due: int = 0
    _doubtful: set[int] = field(default_factory=set)

    def run(self) -> Findings:
        """Do it. Raises StoreError when the store cannot be reached; damage is in the answer."""
        self._known = self.catalogue.damaged()
        try:
            self._keys()
            began_ns = now_ns()
            for shelf in (Shelf.DATA, Shelf.META, Shelf.CHANGESETS):
                for first in range(len(FOLDERS)) if shelf in FANNED_OUT else (None,):
                    self._folder(shelf, first)
            self._read_oldest(began_ns)
        finally:
            self._remember()
            if self._healed:
                self.catalogue.settle()
            if self._bad:
                self.catalogue.note_losses(set(self._bad))
        self._found.concerns = concerns(self.catalogue, self._bad)
        return self._found

    # -- keys ----------------------------------------------------------------------------------

    def _keys(self) -> None:
        """Key objects are small and everything hangs on them: always read."""
        for digest, data in self.catalogue.key_objects():
            name = object_name(Shelf.KEYS, digest)
            self._found.objects += 1
            try:
                found = self.store.get(name)
            except Missing:
                self._found.missing[name] = "the key object is not in the store"
                continue
            self._found.checked += 1
            self._found.bytes += len(found)
            if found != data:
                self._found.damaged[name] = "the key object is not what was written"
        self._other_keys()

    def _other_keys(self) -> None:
        """Key objects that were added elsewhere, of which only the name is known."""
        known = {digest for digest, _ in self.catalogue.key_objects()}
        for stat in self.store.list(Shelf.KEYS.value):
            parsed = parse_name(stat.name)
            if parsed is None or parsed[1] in known:
                continue
            self._found.objects += 1
            self._found.checked += 1
            data = self.store.get(stat.name)
            self._found.bytes += len(data)
            if blake3(data).digest() != parsed[1]:
                self._found.damaged[stat.name] = "the key object is not what was written"

    # -- names and sizes -----------------------------------------------------------------------

    def _folder(self, shelf: Shelf, first: int | None) -> None:
        """Compare one folder of the store with what the catalogue knows of it."""
        before_ns = self.wish.older_than_ns
        rows = self.catalogue.in_folder(shelf.value, first)
        if not rows and (before_ns is not None or shelf not in FANNED_OUT):
            return
        folder = shelf.value if first is None else f"{shelf.value}/{FOLDERS[first]}"
        listed = {one.name: one.size for one in self.store.list(folder)}
        names = set()
        for row, verified_ns in rows:
            name = object_name(shelf, row.digest)
            names.add(name)
            known = row.object_no in self._known
            if before_ns is not None and (verified_ns or 0) >= before_ns and not known:
                continue
            self._found.objects += 1
            self._compare(name, row, listed.get(name))
        if shelf in FANNED_OUT and before_ns is None:
            for name in sorted(listed.keys() - names):
                if parse_name(name) is not None:
                    self._found.orphans += 1
                    self.on_orphan(ObjectStat(name, listed[name]))
        self._remember()
        if before_ns is None:
            self.catalogue.note_sized(shelf.value, first, now_ns())
        self.report(Progress("verifying", self._found.checked, self._found.bytes))

    def _compare(self, name: str, row: ObjectRow, size: int | None) -> None:
        if size is None:
            self._not_listed(name, row)
            return
        self._found.checked += 1
        if not size:
            self._blame(name, row, DAMAGED, "it is empty")
        elif row.size and self._asked_size(name, size, row.size) != row.size:
            self._blame(name, row, DAMAGED, f"it has {size} bytes instead of {row.size}")
        elif row.object_no in self._known:
            self._examine(name, row)
        else:
            self._due += 1

    def _asked_size(self, name: str, listed: int, right: int) -> int:
        """The size that is listed, or where that is wrong the one that the object has by itself.

        A listing of several remotes may have that of a shard.
        """
        if listed == right:
            return listed
        try:
            return self.store.stat(name).size
        except (Missing, Unavailable):
            return listed

    def _not_listed(self, name: str, row: ObjectRow) -> None:
        """It is lost when the store says so; a remote that is away may have it."""
        try:
            self.store.stat(name)
        except Unavailable as error:
            self._found.missing[name] = str(error)
            self._doubtful.add(row.object_no)
        except Missing:
            self._blame(name, row, MISSING, "it is not in the store")
        else:
            self._found.checked += 1
            self._doubtful.add(row.object_no)
            self._examine(name, row)

    # -- reading -------------------------------------------------------------------------------

    def _read_oldest(self, began_ns: int) -> None:
        """Read the share that is wished, those first that were read longest ago."""
        before_ns = began_ns
        if self.wish.older_than_ns is not None:
            before_ns = min(before_ns, self.wish.older_than_ns)
        wanted = math.ceil(self._due * self.wish.percent / PERCENT)
        self._found.unread = self._due
        began_bytes = self._found.bytes
        rest = iter(self.catalogue.oldest(before_ns)) if wanted else iter(())
        for row in rest:
            if row.object_no in self._bad or row.object_no in self._doubtful:
                continue
            taken = self._found.bytes - began_bytes
            too_much = self.wish.most_bytes is not None and taken + row.size > self.wish.most_bytes
            if not wanted or (too_much and taken):
                return
            wanted -= 1
            self._found.unread -= 1
            self._examine(object_name(Shelf(row.shelf), row.digest), row)
            self.report(Progress("verifying", self._found.checked, self._found.bytes))

    def _examine(self, name: str, row: ObjectRow) -> None:
        try:
            self._read(name, row)
        except Missing:
            self._blame(name, row, MISSING, "it is listed but cannot be read")
        except DamageError as error:
            self._blame(name, row, DAMAGED, str(error))
        else:
            self._healed |= row.object_no in self._known
            self._well.append(row.object_no)
        crash_point("object-verified")
        if (
            len(self._well) + len(self._new) >= REMEMBER_EVERY
            or self._unnoted_bytes >= REMEMBER_BYTES
        ):
            self._remember()

    def _read(self, name: str, row: ObjectRow) -> None:
        data = self.store.get(name)
        self._found.read += 1
        self._found.bytes += len(data)
        self._unnoted_bytes += len(data)
        if blake3(data).digest() != row.digest:
            message = "its bytes do not have the BLAKE3 that it is named by"
            raise DamageError(message)
        if self.master_key is None:
            return
        problems: list[str] = []
        for _ in ObjectReader(data, self.master_key).records(problems.append):
            pass
        if problems:
            raise FormatError(problems[0])

    # -- remembering ---------------------------------------------------------------------------

    def _blame(self, name: str, row: ObjectRow, kind: str, why: str) -> None:
        (self._found.missing if kind == MISSING else self._found.damaged)[name] = why
        self._bad[row.object_no] = name
        self._new.append((row.object_no, kind, why))

    def _remember(self) -> None:
        if self._well:
            how = HASHED if self.master_key is None else OPENED
            self.catalogue.note_verified(self._well, now_ns(), how)
        if self._new:
            self.catalogue.note_damages(self._new)
        self._well, self._new, self._unnoted_bytes = [], [], 0
