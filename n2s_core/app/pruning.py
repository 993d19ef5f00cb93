"""Building and running of a prune."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from n2s_core.app.answers import Json, traffic_json
from n2s_core.app.delivering import deliver
from n2s_core.app.retaining import Known, give
from n2s_core.app.traffic import DIGITS, Traffic
from n2s_core.app.upkeep import early_removal, minimums_ns
from n2s_core.app.workspace import Workspace
from n2s_core.clock import now_ns
from n2s_core.errors import CatalogueError
from n2s_core.facts import Dataset
from n2s_core.faults import crash_point
from n2s_core.flows.prune import Prune, Pruned
from n2s_core.flows.rebuild import dataset_of
from n2s_core.flows.repack import Repack, RepackWish
from n2s_core.layout import Shelf, parse_name
from n2s_core.manifest import BYTES_PER_RECORD
from n2s_core.model import Report
from n2s_core.moves import Announcement, Move
from n2s_core.packs import Keyring
from n2s_core.sealing import Kind
from n2s_core.uses import Copied

NEVER = RepackWish()


@dataclass(frozen=True, slots=True)
class PruneAnswer:
    """What a prune did, or of a dry run would do; `grace_ns` is the time it waits."""

    done: Pruned
    grace_ns: int
    dry_run: bool
    seconds: float
    traffic: Traffic | None = None
    early_cost: float | None = None

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "changesets": self.done.swept,
            "versions": self.done.versions,
            "objects_removed": self.done.removed.objects,
            "bytes_removed": self.done.removed.bytes,
            "objects_waiting": self.done.waiting.objects,
            "bytes_waiting": self.done.waiting.bytes,
            "repacked_objects": self.done.repacked.copies.objects,
            "repacked_bytes": self.done.repacked.copies.bytes,
            "unused_bytes": self.done.repacked.unused,
            "fixed_objects": self.done.repacked.fixed.objects,
            "fixed_bytes": self.done.repacked.fixed.bytes,
            "early_cost": None if self.early_cost is None else round(self.early_cost, DIGITS),
            "grace_seconds": self.grace_ns // 1_000_000_000,
            "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3),
            **traffic_json(self.traffic),
        }


def prune(
    space: Workspace, *, grace_ns: int, dry_run: bool, report: Report, wish: RepackWish = NEVER
) -> PruneAnswer:
    """Run it for every dataset of the catalogue.

    Raises LeaseHeld while another prune or a rebuild is running, StoreError; the next prune then
    goes on with what is left.
    """
    started_ns = now_ns()
    pruning = space.catalogue.pruning
    flow = Prune(
        catalogue=pruning,
        store=space.store,
        sweep=lambda before_ns: _sweep(space, before_ns),
        repack=Repack(
            catalogue=pruning,
            repacking=pruning.repacking,
            store=space.store,
            master_key=space.master_key,
            tell=lambda: _tell(space),
            wish=wish,
            report=report,
        ),
        report=report,
        grace_ns=grace_ns,
        minimums_ns=minimums_ns(space.config),
    )
    if dry_run:
        done = flow.rehearse(started_ns)
    else:
        space.begin_unlock()
        pruning.acquire()
        try:
            space.check_store()
            space.master_key()
            deliver(space)
            _refuse_strangers(space)
            done = flow.run(started_ns)
        finally:
            pruning.release()
    seconds, early = (now_ns() - started_ns) / 1e9, early_removal(space.config, done.early)
    return PruneAnswer(done, grace_ns, dry_run, seconds, space.traffic(), early)


def _refuse_strangers(space: Workspace) -> None:
    """Raises CatalogueError when another catalogue pushed these datasets, or decided about them.

    What its changesets need is not known here.
    """
    for one in unknown_heads(space):
        what = "is about the same dataset" if one.is_read else "cannot be read"
        message = (
            f"The store has {one.name}, which this catalogue does not know and which {what}:"
            " nothing is removed, because that may need it. 'n2s rebuild' reads the store again."
        )
        raise CatalogueError(message)


class UnknownHead(NamedTuple):
    """An object in `changesets/` that the catalogue should know.

    When it `is_read` it is about a dataset of the catalogue; otherwise nobody can tell.
    """

    name: str
    is_read: bool
    data: bytes


def unknown_heads(space: Workspace) -> Iterator[UnknownHead]:
    """What may be about these datasets; what is surely another's is remembered as that.

    The store is listed before the catalogue is asked, so a push that runs is known.
    """
    ours = {one.dataset_id for one in space.catalogue.datasets()}
    for found in list(space.store.list(Shelf.CHANGESETS.value)):
        parsed = parse_name(found.name)
        if parsed is None or space.catalogue.pruning.is_known(parsed[1]):
            continue
        data = space.store.get(found.name)
        dataset_id = dataset_of(data, space.master_key())
        if dataset_id is not None and dataset_id not in ours:
            space.catalogue.pruning.note_stranger(parsed[1])
            continue
        yield UnknownHead(found.name, dataset_id is not None, data)


def _sweep(space: Workspace, before_ns: int) -> int:
    """Declare swept what was marked up to a time; the store knows when this returns."""
    return sum(_sweep_one(space, dataset, before_ns) for dataset in space.catalogue.datasets())


def _sweep_one(space: Workspace, dataset: Dataset, before_ns: int) -> int:
    due: list[bytes] = []

    def decide(_rows: Known, _made_ns: int) -> dict[str, Iterable[bytes]]:
        due[:] = space.catalogue.pruning.due(dataset.dataset_no, before_ns)
        return {"swept": due}

    give(space, dataset, decide)
    return len(due)


def _tell(space: Workspace) -> None:
    """Say in the store where the records are that were copied; it knows when this returns."""
    for dataset in space.catalogue.datasets():
        untold: list[Copied] = []
        for one in space.catalogue.pruning.repacking.untold(dataset.dataset_no):
            if untold and sum(len(each.move) for each in untold) >= BYTES_PER_RECORD:
                _tell_of(space, dataset, untold)
                untold = []
            untold.append(one)
        if untold:
            _tell_of(space, dataset, untold)
    deliver(space)


def _tell_of(space: Workspace, dataset: Dataset, untold: list[Copied]) -> None:
    moves = tuple(Move.parse(one.move) for one in untold)

    def seal(made_ns: int) -> tuple[bytes, bytes]:
        meta, payload = Announcement(dataset.dataset_id, dataset.name, made_ns, moves).pack()
        pack = Keyring(space.master_key()).begin()
        pack.add(Kind.MOVED, meta, payload)
        sealed = pack.finish()
        return sealed.digest, b"".join(sealed.chunks)

    space.catalogue.pruning.repacking.announce(dataset.dataset_no, untold, seal)
    crash_point("repack-announced")
