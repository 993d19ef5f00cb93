"""Rebuilding of catalogues from a store."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from n2s_core.app import secrets
from n2s_core.app.answers import Json
from n2s_core.app.replaying import Replay
from n2s_core.app.settling import settle
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.rebuilding import Rebuilding
from n2s_core.clock import now_ns
from n2s_core.config import shown_url
from n2s_core.errors import (
    CatalogueBusy,
    CatalogueError,
    DamageError,
    KeyProblem,
    LeaseHeld,
)
from n2s_core.facts import Changeset, Dataset, Lease
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

    catalogue: Path
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

    Raises LeaseHeld while a push or another rebuild of the dataset or a prune is running, or when
    one began because this one stood still for too long, N2sError when nothing can be had; the old
    catalogue then stays as it is.
    """
    started_ns = now_ns()
    space.refuse_without_key()
    path = space.config.catalogue_path
    new = path.with_name(path.name + ".new")
    with alone(path), _Old(path, bytes.fromhex(space.config.dataset.id)) as old:
        store = space.store
        master, whole, damaged = _unlock(space, old.keys)
        problems = [f"The key object {name} is damaged." for name in damaged]
        old.finish_sealed(store, master)
        found = survey(store, master, report)
        _remove_database(new)

        def keep_lease(progress: Progress) -> None:
            old.renew()
            report(progress)

        with Catalogue.create(new, store_id=store_id(master), store_url=space.store_url) as made:
            for digest, data in whole:
                made.remember_key(digest, data)
            dataset_id = bytes.fromhex(space.config.dataset.id)
            mine = [line for line in found if line.dataset_id == dataset_id]
            if not mine and _has_records(store, master, dataset_id, keep_lease):
                lost = headless(dataset_id, space.config.dataset.name, [])
                lost.announcements = found[0].announcements if found else []
                mine = [lost]
            if not mine:
                made.add_dataset(dataset_id, space.config.dataset.name)
            problems += rebuild_into(made, store, master, mine, keep_lease)
            if space.config.store.share:
                Rebuilding(made, made.dataset(dataset_id)).share_contents()
            dataset, totals = made.dataset(dataset_id), made.queries.totals()
            changesets = len(made.queries.changesets(dataset.dataset_no))
            made.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        crash_point("rebuild-made")
        old.replace_by(new)
    return RebuildAnswer(
        catalogue=path,
        datasets=(dataset.name,),
        changesets=changesets,
        files=dataset.live_files,
        bytes=dataset.live_bytes,
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


@contextlib.contextmanager
def alone(catalogue: Path) -> Iterator[None]:
    """One rebuild at a time, also where there is no catalogue to hold a lease of.

    Raises LeaseHeld. The lock is on the folder, and ends with the process.
    """
    catalogue.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(catalogue.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"Another rebuild of {catalogue} is running. Wait for it, or stop it."
            raise LeaseHeld(message) from None
        yield
    finally:
        os.close(folder)


class _Old:
    """The catalogue that is to be replaced, as far as it can be read; holds its lease.

    The lease is not given back: who opens the old file in the last moment must not push into it.
    """

    def __init__(self, path: Path, dataset_id: bytes) -> None:
        self.keys: list[tuple[bytes, bytes]] = []
        self._path = path
        self._dataset_id = dataset_id
        self._catalogue: Catalogue | None = None
        self._lease: Lease | None = None
        self._sealed: Changeset | None = None
        self._store_id = b""

    def __enter__(self) -> "_Old":
        """Raises LeaseHeld, CatalogueBusy."""
        try:
            self._read()
        except (LeaseHeld, CatalogueBusy):
            self.__exit__(None)
            raise
        except CatalogueError:  # it is missing or damaged: what could be read of it is there
            return self
        return self

    def _read(self) -> None:
        self._catalogue = Catalogue(self._path)
        self.keys = self._catalogue.key_objects()
        dataset = self._catalogue.dataset(self._dataset_id)
        self._acquire(dataset)
        self._store_id = self._catalogue.store_id
        self._sealed = self._catalogue.pushes.pending(dataset.dataset_no)

    def _acquire(self, dataset: Dataset) -> None:
        assert self._catalogue is not None
        self._catalogue.pruning.acquire()
        try:
            self._lease = self._catalogue.leases.acquire(dataset.dataset_no)
        except LeaseHeld:
            self._catalogue.pruning.release()
            raise

    def finish_sealed(self, store: Store, master_key: bytes) -> None:
        """Store the head that a push which did not finish had fixed.

        Its process may only stand still, and would store it later beside the heads that follow.
        """
        sealed = self._sealed
        if sealed is None or sealed.head_bytes is None or self._store_id != store_id(master_key):
            return
        assert sealed.head_digest is not None
        name = object_name(Shelf.CHANGESETS, sealed.head_digest)
        store.put(name, [sealed.head_bytes], len(sealed.head_bytes))

    def replace_by(self, new: Path) -> None:
        """Put the new file in its place. Raises LeaseHeld when it was pushed into meanwhile."""
        if self._catalogue is None or self._lease is None:
            _install(new, self._path)
            return
        self._catalogue.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._catalogue.db.transaction():  # nobody can take the lease in the last moment
            self._catalogue.leases.guard(self._lease)
            _install(new, self._path)

    def renew(self) -> None:
        """Prolong the lease when it is time."""
        if self._catalogue is not None and self._lease is not None:
            with contextlib.suppress(CatalogueError):
                self._catalogue.leases.renew(self._lease)
                self._catalogue.pruning.renew()

    def __exit__(self, kind: object, *_: object) -> None:
        """Close it; after a failure it stays in use, so the lease goes back."""
        if self._catalogue is None:
            return
        if kind is not None and self._lease is not None:
            with contextlib.suppress(CatalogueError):
                self._catalogue.leases.release(self._lease)
                self._catalogue.pruning.release()
        self._catalogue.close()


def _remove_database(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _install(new: Path, path: Path) -> None:
    """Put the new file in the place of the old one.

    The write-ahead log of the old one goes first: it would be taken for one of the new file.
    """
    fd = os.open(new, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for ending in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


__all__ = ["HeadObject", "RebuildAnswer", "rebuild", "rebuild_into", "survey"]
