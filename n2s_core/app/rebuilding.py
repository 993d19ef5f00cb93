"""Rebuilding of catalogues from a store."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from n2s_core.app import secrets
from n2s_core.app.answers import Json
from n2s_core.app.replacing import Place, alone, place_of
from n2s_core.app.replaying import Replay
from n2s_core.app.settling import settle
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.rebuilding import Rebuilding
from n2s_core.catalogue_address import CatalogueAddress
from n2s_core.clock import now_ns
from n2s_core.config import shown_url
from n2s_core.errors import (
    CatalogueBusy,
    CatalogueError,
    DamageError,
    KeyProblem,
    LeaseHeld,
    Unfit,
)
from n2s_core.facts import Changeset, Lease
from n2s_core.faults import crash_point
from n2s_core.flows.rebuild import EntryReader, HeadObject, Line, lines, read_heads
from n2s_core.flows.records import Records
from n2s_core.keypage import read_key
from n2s_core.keys import store_id
from n2s_core.layout import FOLDERS, Shelf, object_name, parse_name
from n2s_core.model import Progress, Report
from n2s_core.moves import Moves, StoredAnnouncement
from n2s_core.ports import Store
from n2s_core.verdicts import StoredVerdict


def survey(store: Store, master_key: bytes, report: Report) -> list[Line]:
    """The lines of changesets in a store, one for each dataset.

    Of a store without any changeset that can be read, but with data, what the records alone say:
    lines without changesets.
    """
    problems: list[str] = []
    heads = []
    verdicts: list[StoredVerdict] = []
    announced: list[StoredAnnouncement] = []
    for head in read_heads(store, master_key, problems.append, verdicts.append, announced.append):
        heads.append(head)
        report(Progress("reading changesets", len(heads), 0))
    found = lines(heads, problems)
    for line in found:
        line.verdicts = [one for one in verdicts if one.verdict.dataset_id == line.dataset_id]
    if not found:
        names = Records(store, master_key, problems.append, report).datasets()
        found = [headless(dataset_id, name, problems) for dataset_id, name in names.items()]
    for line in found:
        line.announcements = announced
    if problems and not found:
        raise DamageError(" ".join(problems))
    return found


def headless(dataset_id: bytes, name: str, problems: Iterable[str]) -> Line:
    """A dataset of which no changeset can be read."""
    lost = (
        f"No changeset of dataset {name!r} can be read. Its tree was taken from the records alone:"
        " files that were removed are back, and what was stored last is taken for what is right."
    )
    return Line(dataset_id, name, [], problems=[*problems, lost])


def _listed(store: Store, report: Report) -> Iterator[tuple[str, bytes, int]]:
    count = 0
    for shelf in (Shelf.DATA, Shelf.META):
        for folder in FOLDERS:
            for found in store.list(f"{shelf.value}/{folder}"):
                parsed = parse_name(found.name)
                if parsed is not None:
                    count += 1
                    yield shelf.value, parsed[1], found.size
            report(Progress("listing objects", count, 0))
    for found in store.list(Shelf.CHANGESETS.value):
        parsed = parse_name(found.name)
        if parsed is not None:
            yield Shelf.CHANGESETS.value, parsed[1], found.size


def rebuild_into(
    catalogue: Catalogue, store: Store, master_key: bytes, found: list[Line], report: Report
) -> list[str]:
    """Fill a catalogue; what could not be read, in sentences."""
    problems: list[str] = []
    moves = Moves()
    records = Records(store, master_key, problems.append, report, moves)
    first = True
    for line in found:
        problems.extend(one for one in line.problems if one not in problems)
        dataset = next(
            (one for one in catalogue.datasets() if one.dataset_id == line.dataset_id), None
        ) or catalogue.add_dataset(line.dataset_id, line.name)
        into = Rebuilding(catalogue, dataset)
        if first:
            into.add_objects(_listed(store, report))
            first = False
            moves.exists = into.has
            for announced in line.announcements:
                for move in announced.announcement.moves:
                    moves.add(move)
        reader = EntryReader(store, master_key, problems.append, report, moves)
        replay = Replay(line, into, reader, records, problems)
        replay.run()
        for one in line.chain:
            _note_origin(catalogue, one)
        problems += settle(catalogue, dataset, line, replay.unread)
    problems += [
        f"{object_name(Shelf(lost.shelf), lost.digest)}, which files need, is missing or empty;"
        " 'n2s verify' names the files."
        for lost in catalogue.queries.objects_without_bytes()
    ]
    return problems


def _note_origin(catalogue: Catalogue, one: HeadObject) -> None:
    """So that a verify can say which changeset a damaged list of entries belongs to."""
    lists = [digest for digest, _ in [*one.head.entries, *(one.head.checkpoint or [])]]
    catalogue.queries.note_changeset(one.identity, [one.digest, *lists])


# -- the command -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RebuildAnswer:
    """What a rebuild could have. `problems` are sentences about what is missing or damaged."""

    catalogue: CatalogueAddress
    datasets: tuple[str, ...]
    changesets: int
    files: int
    bytes: int
    objects: int
    stored_bytes: int
    problems: tuple[str, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """3 when something was missing or damaged."""
        return 3 if self.problems else 0

    def to_json(self) -> Json:
        """The fields by name."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["catalogue"] = str(self.catalogue)
        found["datasets"] = list(self.datasets)
        found["problems"] = list(self.problems)
        found["seconds"] = round(self.seconds, 3)
        return found


def rebuild(space: Workspace, report: Report) -> RebuildAnswer:
    """Make the catalogue of a dataset anew and put it in the place of the old one, if there is one.

    The datasets are those of the old one and this one; others of the store may have a catalogue of
    their own, whose objects are not to be known here. Raises LeaseHeld while a push or another
    rebuild of one of them or a prune is running, or when one began because this one stood still
    for too long, N2sError when nothing can be had; the old catalogue then stays as it is.
    """
    started_ns = now_ns()
    space.refuse_without_key()
    address = space.config.catalogue_address
    place = place_of(address)
    own = bytes.fromhex(space.config.dataset.id), space.config.dataset.name
    with place.alone(), _Old(address) as old:
        store = space.store
        master, whole, damaged = _unlock(space, old.keys)
        problems = [f"The key object {name} is damaged." for name in damaged]
        old.finish_sealed(store, master)
        found = survey(store, master, report)
        wanted = dict([own]) | old.datasets

        def keep_lease(progress: Progress) -> None:
            old.renew()
            made.pruning.renew()
            report(progress)

        made = Catalogue.create(place.new, store_id=store_id(master), store_url=space.store_url)
        with made:
            place.begin(made)
            for digest, data in whole:
                made.remember_key(digest, data)
            mine = [line for line in found if line.dataset_id in wanted]
            there = {line.dataset_id for line in mine}
            for dataset_id in wanted.keys() - there:
                if _has_records(store, master, dataset_id, keep_lease):
                    lost = headless(dataset_id, wanted[dataset_id], [])
                    lost.announcements = found[0].announcements if found else []
                    mine.append(lost)
                else:
                    made.add_dataset(dataset_id, wanted[dataset_id])
            problems += rebuild_into(made, store, master, mine, keep_lease)
            if space.config.store.share:
                Rebuilding(made, made.dataset(own[0])).share_contents()
            datasets, totals = made.datasets(), made.queries.totals()
            changesets = sum(len(made.queries.changesets(one.dataset_no)) for one in datasets)
            made.db.settle()
        crash_point("rebuild-made")
        old.replace_by(place)
    return RebuildAnswer(
        catalogue=address,
        datasets=tuple(one.name for one in datasets),
        changesets=changesets,
        files=sum(one.live_files for one in datasets),
        bytes=sum(one.live_bytes for one in datasets),
        objects=totals.objects,
        stored_bytes=totals.stored_bytes,
        problems=tuple(problems),
        seconds=(now_ns() - started_ns) / 1e9,
    )


def _has_records(store: Store, master_key: bytes, dataset_id: bytes, report: Report) -> bool:
    """Whether the store has data of a dataset of which no changeset can be read."""
    return bool(Records(store, master_key, lambda _: None, report).of(dataset_id))


def _unlock(
    space: Workspace, kept: list[tuple[bytes, bytes]]
) -> tuple[bytes, list[tuple[bytes, bytes]], list[str]]:
    """Master key, whole key objects, names of damaged ones; the old catalogue's copies help out."""
    whole, damaged = secrets.key_objects(space.store)
    if space.config.key.key_file:
        return read_key(Path(space.config.key.key_file).expanduser()), whole, damaged
    secret = secrets.passphrase(space.config.key)
    where = f"the store {shown_url(space.store_url)}"
    try:
        return secrets.unlock(whole, damaged, secret, where=where), whole, damaged
    except KeyProblem:
        if whole or not kept:
            raise
        return secrets.unlock(kept, [], secret, where=where), kept, damaged


class _Old:
    """The catalogue that is to be replaced, as far as it can be read; holds its leases.

    They are not given back: who opens the old one in the last moment must not push into it.
    """

    def __init__(self, address: CatalogueAddress) -> None:
        self.keys: list[tuple[bytes, bytes]] = []
        self.datasets: dict[bytes, str] = {}
        self._address = address
        self._catalogue: Catalogue | None = None
        self._leases: list[Lease] = []
        self._sealed: list[Changeset] = []
        self._store_id = b""
        self._is_whole = False

    def __enter__(self) -> "_Old":
        """Raises LeaseHeld, CatalogueBusy, Unfit."""
        try:
            self._read()
        except (LeaseHeld, CatalogueBusy, Unfit) as error:
            self.__exit__(type(error))
            raise
        except CatalogueError:  # it is missing or damaged: what could be read of it is there
            return self
        return self

    def _read(self) -> None:
        self._catalogue = Catalogue(self._address)
        self.keys = self._catalogue.key_objects()
        datasets = self._catalogue.datasets()
        self._catalogue.pruning.acquire()
        for one in datasets:
            self._leases.append(self._catalogue.leases.acquire(one.dataset_no))
        self.datasets = {one.dataset_id: one.name for one in datasets}
        self._store_id = self._catalogue.store_id
        pending = [self._catalogue.pushes.pending(one.dataset_no) for one in datasets]
        self._sealed = [one for one in pending if one is not None]
        self._is_whole = True

    def finish_sealed(self, store: Store, master_key: bytes) -> None:
        """Store the heads that pushes which did not finish had fixed.

        Their processes may only stand still, and would store them later beside those that follow.
        """
        if self._store_id != store_id(master_key):
            return
        for sealed in self._sealed:
            if sealed.head_bytes is not None:
                assert sealed.head_digest is not None
                name = object_name(Shelf.CHANGESETS, sealed.head_digest)
                store.put(name, [sealed.head_bytes], len(sealed.head_bytes))

    def replace_by(self, place: Place) -> None:
        """Put the new one in its place. Raises LeaseHeld when it was pushed into meanwhile."""
        place.replace(self._catalogue if self._is_whole else None, self._guard)

    def _guard(self) -> None:
        assert self._catalogue is not None
        for lease in self._leases:
            self._catalogue.leases.guard(lease)

    def renew(self) -> None:
        """Prolong the leases when it is time."""
        if self._catalogue is not None:
            with contextlib.suppress(CatalogueError):
                for lease in self._leases:
                    self._catalogue.leases.renew(lease)
                self._catalogue.pruning.renew()

    def __exit__(self, kind: object, *_: object) -> None:
        """Close it; after a failure it stays in use, so the leases go back."""
        if self._catalogue is None:
            return
        if kind is not None:
            with contextlib.suppress(CatalogueError):
                for lease in self._leases:
                    self._catalogue.leases.release(lease)
                self._catalogue.pruning.release()
        self._catalogue.close()


__all__ = ["HeadObject", "RebuildAnswer", "alone", "rebuild", "rebuild_into", "survey"]
