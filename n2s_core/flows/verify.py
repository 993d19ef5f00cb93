"""Comparing a store with the catalogue, and reading it back."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from blake3 import blake3

from n2s_core.clock import now_ns
from n2s_core.errors import DamageError, FormatError, Missing, Unavailable
from n2s_core.layout import FOLDERS, Shelf, object_name, parse_name
from n2s_core.model import ObjectRow, Progress, Report
from n2s_core.packs import ObjectReader
from n2s_core.ports import Store
from n2s_core.relpath import RelPath

REMEMBER_EVERY = 200
MOST_PATHS = 100_000


class ObjectCatalogue(Protocol):
    """The objects that the store should have."""

    def objects(self, *, verified_before_ns: int | None) -> Iterator[ObjectRow]:
        """Oldest verification first."""

    def key_objects(self) -> list[tuple[bytes, bytes]]:
        """Digest and bytes of the key objects."""

    def note_verified(self, object_nos: list[int], time_ns: int) -> None:
        """Remember that these were read and found whole."""

    def note_losses(self, object_nos: set[int]) -> None:
        """What is in these objects is to be stored again by the next push."""

    def paths_of(self, object_nos: set[int]) -> Iterator[bytes]:
        """Paths of any version that need one of these objects."""


@dataclass(frozen=True, slots=True)
class VerifyWish:
    """How much to read: 0 percent compares names and sizes only."""

    percent: float = 0.0
    older_than_ns: int | None = None


@dataclass(slots=True)
class Findings:
    """What a verify found. `missing` and `damaged` are names of objects with what is wrong."""

    objects: int = 0
    checked: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    affected_paths: list[RelPath] = field(default_factory=list)
    orphans: int = 0


@dataclass(slots=True)
class Verify:
    """One verify. `master_key` None: hashes are compared, records are not opened."""

    catalogue: ObjectCatalogue
    store: Store
    master_key: bytes | None
    wish: VerifyWish
    report: Report
    chance: Callable[[], float] = random.random
    _found: Findings = field(default_factory=Findings)
    _bad: set[int] = field(default_factory=set)
    _well: list[int] = field(default_factory=list)
    _listed: dict[str, dict[bytes, int]] = field(default_factory=dict)

    def run(self) -> Findings:
        """Do it. Raises StoreError when the store cannot be reached; damage is in the answer."""
        self._keys()
        known: dict[str, set[bytes]] = {}
        for row in self.catalogue.objects(verified_before_ns=self.wish.older_than_ns):
            self._found.objects += 1
            self._object(row)
            folder = _folder(row)
            if folder in self._listed:
                known.setdefault(folder, set()).add(row.digest)
            self.report(Progress("verifying", self._found.checked, self._found.bytes))
        if self.wish.older_than_ns is None:
            self._count_orphans(known)
        self._remember()
        if self._bad:
            self.catalogue.note_losses(self._bad)
            paths = self.catalogue.paths_of(self._bad)
            self._found.affected_paths = [
                path for path, _ in zip(paths, range(MOST_PATHS), strict=False)
            ]
        return self._found

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

    def _sizes(self, folder: str) -> dict[bytes, int]:
        """Sizes of the objects in a folder of the store, by BLAKE3; listed once."""
        found = self._listed.get(folder)
        if found is None:
            found = self._listed[folder] = {}
            for stat in self.store.list(folder):
                parsed = parse_name(stat.name)
                if parsed is not None:
                    found[parsed[1]] = stat.size
        return found

    def _object(self, row: ObjectRow) -> None:
        name = object_name(Shelf(row.shelf), row.digest)
        size = self._sizes(_folder(row)).get(row.digest)
        if size is None:
            self._not_listed(name, row)
            return
        self._found.checked += 1
        if not size:
            self._found.damaged[name] = "it is empty"
            self._bad.add(row.object_no)
            return
        if row.size and size != row.size:
            size = self._asked_size(name, size)
        if row.size and size != row.size:
            self._found.damaged[name] = f"it has {size} bytes instead of {row.size}"
            self._bad.add(row.object_no)
            return
        if self.wish.percent <= 0 or self.chance() * 100 >= self.wish.percent:
            return
        try:
            self._read(name, row)
        except Missing:
            self._found.missing[name] = "it is listed but cannot be read"
            self._bad.add(row.object_no)
        except DamageError as error:
            self._found.damaged[name] = str(error)
            self._bad.add(row.object_no)
        else:
            self._well.append(row.object_no)
            if len(self._well) >= REMEMBER_EVERY:
                self._remember()

    def _asked_size(self, name: str, listed: int) -> int:
        """The size by itself: a listing of remotes may have that of a shard."""
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
        except Missing:
            self._found.missing[name] = "it is not in the store"
            self._bad.add(row.object_no)

    def _read(self, name: str, row: ObjectRow) -> None:
        data = self.store.get(name)
        self._found.bytes += len(data)
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

    def _remember(self) -> None:
        if self._well:
            self.catalogue.note_verified(self._well, now_ns())
            self._well = []

    def _count_orphans(self, known: dict[str, set[bytes]]) -> None:
        """Objects that the catalogue does not know: harmless leftovers, or another's."""
        for shelf in (Shelf.DATA, Shelf.META):
            for number in FOLDERS:
                folder = f"{shelf.value}/{number}"
                self._found.orphans += len(self._sizes(folder).keys() - known.get(folder, set()))


def _folder(row: ObjectRow) -> str:
    return object_name(Shelf(row.shelf), row.digest).rpartition("/")[0]
