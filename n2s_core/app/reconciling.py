"""Building and running of a reconcile."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from blake3 import blake3

from n2s_core.app.answers import Json
from n2s_core.app.pruning import UnknownHead, unknown_heads
from n2s_core.app.verifying import ObjectsView, concern_json
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.orphans import Orphans
from n2s_core.clock import iso, now_ns
from n2s_core.errors import StoreError
from n2s_core.facts import Lease
from n2s_core.flows.orphans import Judge
from n2s_core.flows.reconcile import Reconcile, Sorted
from n2s_core.flows.verify import Findings, Verify, VerifyWish
from n2s_core.layout import parse_name
from n2s_core.model import Progress, Report
from n2s_core.orphans import Judgement, Lot


@dataclass(frozen=True, slots=True)
class ReconcileAnswer:
    """How store and catalogue differ, and what was done about it.

    `found` has the phantoms; `unknown` are names in `changesets/` that the catalogue should know.
    """

    found: Findings
    done: Sorted
    unknown: tuple[str, ...]
    dry_run: bool
    seconds: float

    @property
    def phantoms(self) -> dict[str, str]:
        """Objects that the store should have and has not, or not whole."""
        return {**self.found.missing, **self.found.damaged}

    @property
    def advice(self) -> str:
        """What to do about changesets that the catalogue does not know; empty without any."""
        if not self.unknown:
            return ""
        return (
            "The catalogue is older than the store, or cannot read what another one stored: nothing"
            " was adopted or deleted. 'n2s rebuild' reads the store again."
        )

    @property
    def exit_code(self) -> int:
        """3 when there are phantoms, quarantined objects, or changesets that nobody knows."""
        return 3 if self.phantoms or self.done.quarantined or self.unknown else 0

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        done = self.done
        return {
            "dry_run": self.dry_run,
            "objects": self.found.objects,
            "checked": self.found.checked,
            "phantoms": [
                {"object": name, "problem": why, **concern_json(self.found.concerns.of.get(name))}
                for name, why in self.phantoms.items()
            ],
            "affected_count": self.found.concerns.path_count,
            "adopted": done.adopted,
            "adopted_bytes": done.adopted_bytes,
            "contents": done.contents,
            "strangers": done.strangers,
            "unjudged": done.unjudged,
            "quarantined": [
                {
                    "object": one.name,
                    "size": one.size,
                    "problem": one.why,
                    "since": iso(one.since_ns),
                }
                for one in done.names
            ],
            "quarantined_count": done.quarantined,
            "deleted": done.deleted_names,
            "deleted_count": done.deleted,
            "unknown_changesets": list(self.unknown),
            "advice": self.advice,
            "read": self.found.read + done.read,
            "bytes": self.found.bytes + done.bytes,
            "seconds": round(self.seconds, 3),
        }


def reconcile(
    space: Workspace, *, grace_ns: int, delete: bool, dry_run: bool, report: Report
) -> ReconcileAnswer:
    """Run it. Raises N2sError, LeaseHeld while a push, a prune or a rebuild is running."""
    started_ns = now_ns()
    space.begin_unlock()
    with _alone(space, report, dry_run=dry_run) as (leases, report_and_renew):
        if not dry_run:
            space.check_store()
        unknown = list(unknown_heads(space))
        judge = Judge(
            space.store,
            space.master_key(),
            frozenset(one.dataset_id for one in space.catalogue.datasets()),
            space.config.store.share,
        )
        flow = Reconcile(
            catalogue=Orphans(space.catalogue.db, leases, now_ns=started_ns, grace_ns=grace_ns),
            store=space.store,
            judge=judge,
            report=report_and_renew,
            adopts=not unknown,
            dry_run=dry_run,
            delete_before_ns=started_ns - grace_ns if delete else None,
            now_ns=started_ns,
        )
        for one in unknown:
            _judge_head(flow, one)
        try:
            flow.look_at_unowned()
            found = Verify(
                ObjectsView(space.catalogue),
                space.store,
                space.master_key(),
                VerifyWish(),
                report_and_renew,
                on_orphan=flow.look_at,
            ).run()
        except StoreError:
            flow.remember()
            raise
        done = flow.finish()
    names = tuple(one.name for one in unknown)
    return ReconcileAnswer(found, done, names, dry_run, (now_ns() - started_ns) / 1e9)


def _judge_head(flow: Reconcile, one: UnknownHead) -> None:
    """A head, or a decision, whose bytes were altered; it is never deleted."""
    parsed = parse_name(one.name)
    assert parsed is not None
    if blake3(one.data).digest() != parsed[1]:
        why = "its bytes do not have the BLAKE3 that it is named by"
        flow.wrong(one.name, Judgement(Lot.WRONG, len(one.data), why))


@contextmanager
def _alone(
    space: Workspace, report: Report, *, dry_run: bool
) -> Iterator[tuple[list[Lease], Report]]:
    """While nobody pushes, prunes or rebuilds; a dry run changes nothing that they need."""
    if dry_run:
        yield [], report
        return
    catalogue = space.catalogue
    with ExitStack() as stack:
        catalogue.pruning.acquire()
        stack.callback(catalogue.pruning.release)
        held = []
        for dataset in catalogue.datasets():
            held.append(catalogue.leases.acquire(dataset.dataset_no))
            stack.callback(catalogue.leases.release, held[-1])

        def renewing(progress: Progress) -> None:
            catalogue.pruning.renew()
            for one in held:
                catalogue.leases.renew(one)
            report(progress)

        yield held, renewing
