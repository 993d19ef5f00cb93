"""Objects that the store has and the catalogue has not: adopted, left alone, or quarantined."""

from dataclasses import dataclass, field

from n2s_core.faults import crash_point
from n2s_core.flows.orphans import Judge
from n2s_core.layout import Shelf, object_name, parse_name
from n2s_core.model import ObjectStat, Progress, Report
from n2s_core.orphans import Adopted, Judgement, Lot, OrphanCatalogue, Quarantined
from n2s_core.ports import Store

AT_ONCE = 64
AT_ONCE_BYTES = 64 << 20
MOST_NAMED = 1000


@dataclass(slots=True)
class Sorted:
    """What became of the orphans, or of a dry run, what would; numbers of objects.

    Of the quarantined and deleted ones the first MOST_NAMED are named.
    """

    adopted: int = 0
    adopted_bytes: int = 0
    contents: int = 0
    strangers: int = 0
    unjudged: int = 0
    quarantined: int = 0
    deleted: int = 0
    read: int = 0
    bytes: int = 0
    names: list[Quarantined] = field(default_factory=list)
    deleted_names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Reconcile:
    """Sorts orphans as they are told; `finish` writes down the last of them.

    With `adopts` False, which is when the catalogue is older than the store, nothing is adopted
    and nothing deleted. What is in quarantine since `delete_before_ns`, and is looked at again and
    still wrong, is deleted, unless something in it opens that may be another's.
    """

    catalogue: OrphanCatalogue
    store: Store
    judge: Judge
    report: Report
    adopts: bool
    dry_run: bool
    delete_before_ns: int | None = None
    now_ns: int = 0
    done: Sorted = field(default_factory=Sorted)
    _waiting: list[Adopted] = field(default_factory=list)
    _strangers: list[bytes] = field(default_factory=list)
    _waiting_bytes: int = 0
    _wrong: set[str] = field(default_factory=set)

    def look_at_unowned(self) -> None:
        """Those that a rebuild listed. Of what is disowned the listing of the store tells again."""
        for row in self.catalogue.unowned():
            name = object_name(Shelf.DATA, row.digest)
            if self.catalogue.is_left_alone(row.digest):
                self._stranger(row.digest, row.object_no)
            else:
                self._sort(name, Shelf.DATA, row.digest, row.size, row.object_no)
        self.remember()

    def look_at(self, found: ObjectStat) -> None:
        """An object that the catalogue does not have."""
        parsed = parse_name(found.name)
        assert parsed is not None
        shelf, digest = parsed
        if found.name in self._wrong:
            return
        if self.catalogue.is_left_alone(digest):
            self.done.strangers += 1
        else:
            self._sort(found.name, shelf, digest, found.size, None)

    def finish(self) -> Sorted:
        """Write down the rest, and forget quarantined ones that are gone or whole."""
        self.remember()
        if not self.dry_run:
            self.catalogue.release(None)
        return self.done

    def _sort(
        self, name: str, shelf: Shelf, digest: bytes, size: int, object_no: int | None
    ) -> None:
        found = self.judge.judge(name, shelf, digest, size)
        self.done.read += 1
        self.done.bytes += found.size
        self._waiting_bytes += found.size
        if found.lot is Lot.STRANGER:
            self._stranger(digest, object_no)
        elif found.lot in {Lot.WRONG, Lot.GONE} and not self._is_needed(object_no):
            if found.lot is Lot.WRONG or object_no is None:
                self.wrong(name, found)
            if object_no is not None and not self.dry_run:
                self.catalogue.disown(object_no)
        elif found.lot is Lot.OURS and self.adopts and self.catalogue.can_adopt(found.dataset_id):
            self.done.adopted += 1
            self.done.adopted_bytes += found.size
            self.done.contents += len(found.contents)
            self._waiting.append(Adopted(digest, found, object_no))
        else:
            self.done.unjudged += 1
        crash_point("orphan-judged")
        waiting = len(self._waiting) + len(self._strangers)
        if waiting >= AT_ONCE or self._waiting_bytes >= AT_ONCE_BYTES:
            self.remember()
        self.report(Progress("reading orphans", self.done.read, self.done.bytes))

    def _stranger(self, digest: bytes, object_no: int | None) -> None:
        self._strangers.append(digest)
        if object_no is None or self.dry_run:
            self.done.strangers += 1

    def _is_needed(self, object_no: int | None) -> bool:
        """What is needed, and damaged, is the matter of verify and repair."""
        return object_no is not None and self.catalogue.is_needed(object_no)

    def remember(self) -> None:
        """Write down what was found so far, so that it need not be read again."""
        if not self.dry_run:
            if self._waiting:
                self.catalogue.adopt(self._waiting)
                crash_point("orphans-adopted")
            if self._strangers:
                self.catalogue.note_strangers(self._strangers)
        self._waiting, self._strangers, self._waiting_bytes = [], [], 0

    # -- quarantine ------------------------------------------------------------------------------

    def wrong(self, name: str, found: Judgement) -> None:
        """It is not what its name says: quarantined, or deleted when it was that for long."""
        self._wrong.add(name)
        since_ns = self.catalogue.quarantined_since(name)
        if self._is_due(since_ns) and found.removable and self.adopts:
            self._delete(name)
            return
        if not self.dry_run:
            since_ns = self.catalogue.quarantine(name, found.size, found.why)
        self.done.quarantined += 1
        if len(self.done.names) < MOST_NAMED:
            since_ns = self.now_ns if since_ns is None else since_ns
            self.done.names.append(Quarantined(name, found.size, found.why, since_ns))

    def _is_due(self, since_ns: int | None) -> bool:
        if self.delete_before_ns is None or since_ns is None:
            return False
        return since_ns <= self.delete_before_ns

    def _delete(self, name: str) -> None:
        if not self.dry_run:
            self.store.delete(name)
            crash_point("quarantined-deleted")
            self.catalogue.release(name)
        self.done.deleted += 1
        if len(self.done.deleted_names) < MOST_NAMED:
            self.done.deleted_names.append(name)
