"""Building and running of a repair."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from n2s_core.app import storing
from n2s_core.app.answers import Json, path_json, traffic_json
from n2s_core.app.storing import StoreAnswer
from n2s_core.app.traffic import Traffic
from n2s_core.app.verifying import WHOLE, ObjectsView, concern_json
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.hurt import Hurt
from n2s_core.clock import now_ns
from n2s_core.errors import Missing, UsageError
from n2s_core.flows.affected import Concerns, concerns
from n2s_core.flows.repair import Healing, Repair
from n2s_core.flows.verify import Findings, Verify, VerifyWish
from n2s_core.layout import Shelf, object_name
from n2s_core.model import Progress, Report
from n2s_core.reading import Directories


@dataclass(frozen=True, slots=True)
class RepairAnswer:
    """What a repair found and did; of a dry run, what it would do.

    `unhealed` says of each object that stays missing or damaged why, `concerns` whom that hits.
    `remotes`, of a store that has several: how they stood, and how they stand now.
    """

    found: Findings
    healed: dict[str, str]
    unhealed: dict[str, str]
    concerns: Concerns
    relinked: int
    bytes: int
    remotes: tuple[StoreAnswer, ...]
    dry_run: bool
    seconds: float
    traffic: Traffic | None = None

    @property
    def exit_code(self) -> int:
        """3 when anything stays missing or damaged, 1 when a remote did not answer."""
        if self.unhealed or (self.dry_run and self.healed):
            return 3
        return self.remotes[-1].exit_code if self.remotes else 0

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "dry_run": self.dry_run,
            "objects": self.found.objects,
            "checked": self.found.checked,
            "read": self.found.read,
            "healed": [{"object": name, "problem": why} for name, why in self.healed.items()],
            "unhealed": [
                {"object": name, "problem": why, **concern_json(self.concerns.of.get(name))}
                for name, why in self.unhealed.items()
            ],
            "relinked": self.relinked,
            "bytes": self.bytes,
            "affected": [path_json(path) for path in self.concerns.paths],
            "affected_count": self.concerns.path_count,
            "copies_written": sum(one.paid.objects for one in self.remotes),
            "seconds": round(self.seconds, 3),
            **traffic_json(self.traffic),
        }


def repair(space: Workspace, *, percent: float, dry_run: bool, report: Report) -> RepairAnswer:
    """Run it. Raises N2sError, LeaseHeld while a push of the dataset is running."""
    if not 0 <= percent <= WHOLE:
        message = f"--data takes a percentage from 0 to 100, not {percent:g}."
        raise UsageError(message)
    started_ns = now_ns()
    space.begin_unlock()
    with _alone(space, report, dry_run=dry_run) as report_and_renew:
        return _repair(space, started_ns, percent, report_and_renew, dry_run=dry_run)


@contextmanager
def _alone(space: Workspace, report: Report, *, dry_run: bool) -> Iterator[Report]:
    """While no push of the dataset runs; a dry run changes nothing that a push needs."""
    if dry_run:
        yield report
        return
    leases = space.catalogue.leases
    lease = leases.acquire(space.dataset.dataset_no)

    def renewing(progress: Progress) -> None:
        leases.renew(lease)
        report(progress)

    try:
        yield renewing
    finally:
        leases.release(lease)


def _repair(
    space: Workspace, started_ns: int, percent: float, report: Report, *, dry_run: bool
) -> RepairAnswer:
    catalogue, master_key = space.catalogue, space.master_key()
    remotes: tuple[StoreAnswer, ...] = ()
    if not dry_run:
        space.check_store()
    if space.is_on_several_remotes:
        run = storing.verify if dry_run else storing.repair
        remotes = (run(space, None, percent, report),)
    view = ObjectsView(catalogue)
    found = Verify(view, space.store, master_key, VerifyWish(percent), report).run()
    healing = Healing()
    damages = list(catalogue.damages.all())
    if damages:
        with Directories(space.root) as source:
            healing = Repair(
                hurt=Hurt(catalogue.db, space.dataset.dataset_no),
                noted=view,
                store=space.store,
                source=source,
                master_key=master_key,
                level=space.config.store.compression,
                dry_run=dry_run,
                report=report,
            ).run(damages)
    _keys(space, found, healing, dry_run=dry_run)
    for name, why in {**found.missing, **found.damaged}.items():
        if name not in healing.healed:
            healing.unhealed.setdefault(name, why)
    if not dry_run:
        view.settle()
    if remotes and healing.healed and not dry_run:
        remotes += (storing.sync(space, None, report),)
    left = {
        one.row.object_no: name
        for one in damages
        if (name := object_name(Shelf(one.row.shelf), one.row.digest)) in healing.unhealed
    }
    return RepairAnswer(
        found=found,
        healed=healing.healed,
        unhealed=healing.unhealed,
        concerns=concerns(view, left),
        relinked=healing.relinked,
        bytes=healing.bytes,
        remotes=remotes,
        dry_run=dry_run,
        seconds=(now_ns() - started_ns) / 1e9,
        traffic=space.traffic(),
    )


def _keys(space: Workspace, found: Findings, healing: Healing, *, dry_run: bool) -> None:
    """Key objects of which the catalogue has a copy."""
    wrong = {**found.missing, **found.damaged}
    for digest, data in space.catalogue.key_objects():
        name = object_name(Shelf.KEYS, digest)
        if name not in wrong:
            continue
        if not dry_run:
            space.store.put(name, [data], len(data))
            if not _is_there(space, name, data):
                healing.unhealed[name] = "the store does not give back what it was given"
                continue
        healing.healed[name] = wrong[name]


def _is_there(space: Workspace, name: str, data: bytes) -> bool:
    try:
        return space.store.get(name) == data
    except Missing:
        return False
