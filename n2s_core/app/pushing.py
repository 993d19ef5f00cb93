"""Building and running of a push."""

import contextlib
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from blake3 import blake3

from n2s_core.app.comparing_call import ComparingCall
from n2s_core.app.delivering import deliver
from n2s_core.app.pool import WorkerPool
from n2s_core.app.sealing_call import SealingCall
from n2s_core.app.setback import setback_of
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.leases import kept_lease
from n2s_core.catalogue.session import PushSession
from n2s_core.clock import now_ns
from n2s_core.config import Config
from n2s_core.errors import LeaseHeld, UsageError
from n2s_core.excludes import Excludes
from n2s_core.flows.dispatch import Workers
from n2s_core.flows.push import Outcome, Push, Wish
from n2s_core.flows.spread import Spread
from n2s_core.jobs import SealSetting
from n2s_core.model import Change, Discovery, Mark, Report, Source
from n2s_core.plugins import Host
from n2s_core.ports import Discoverer, Executor
from n2s_core.relpath import ancestors, parse
from n2s_core.verdicts import check_tags
from n2s_core.walking import Walk
from n2s_core.workers import DASK

MOST_WORKERS = 8
PATHS = "paths"
EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class PushOrder:
    """What the caller asks for; `paths` are as the user wrote them, `options` those of `-o`."""

    changeset_name: str = ""
    using: str | None = None
    options: Mapping[str, str] | None = None
    exclude: tuple[str, ...] = ()
    paths: Iterable[bytes] | None = None
    full: bool = False
    dry_run: bool = False
    allow_mass_removal: bool = False
    tags: tuple[str, ...] = ()


def worker_count(config: Config) -> int:
    """As configured, else one per processor that this process may use."""
    return config.workers.count or min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def push(space: Workspace, order: PushOrder, report: Report) -> tuple[Outcome, str, float]:
    """Run it; outcome, the plugin that was used, seconds. Raises N2sError."""
    started_ns = now_ns()
    if not os.path.isdir(space.root):
        message = f"The root {os.fsdecode(space.root)} is not there; is it mounted?"
        raise UsageError(message)
    check_tags(order.tags)
    space.begin_keyring()
    using = order.using or space.config.dataset.using
    paths = None if order.paths is None else [parse(path, root=space.root) for path in order.paths]
    lease = None if order.dry_run else space.catalogue.leases.acquire(space.dataset.dataset_no)
    with ExitStack() as stack:
        if lease is not None:
            stack.callback(_release, space, lease)
            stack.enter_context(kept_lease(space.config.catalogue_address, lease))
        discoverer = Host().discoverer(using) if paths is None else None
        theirs = tuple(getattr(discoverer, "excludes", ()))
        excludes = space.excludes(order.exclude + theirs)
        session = PushSession(space.catalogue, space.dataset, lease)
        wish = Wish(
            changeset_name=order.changeset_name,
            using=using if paths is None else PATHS,
            paths=paths,
            full=order.full,
            dry_run=order.dry_run,
            allow_mass_removal=order.allow_mass_removal,
            shares=space.config.store.share,
            tags=frozenset(order.tags),
        )
        crew = _Crew(space, stack)
        flow = Push(
            catalogue=session,
            store=lambda: space.store,
            setting=crew.setting,
            workers=crew.workers,
            discover=lambda since: _discovery(
                space,
                order,
                discoverer,
                excludes=excludes,
                flow=flow,
                session=session,
                since=since,
            ),
            excludes=excludes,
            report=report,
            wish=wish,
            spread=crew.spread(session.dataset.dataset_no, excludes),
            was_set_back=lambda: bool(crew.setback),
        )
        outcome = replace(flow.run(), setback=crew.setback, notes=tuple(crew.notes))
        space.check_keyring()
    if not order.dry_run:
        deliver(space)
        outcome = _settled(space, outcome, report)
    return outcome, wish.using, (now_ns() - started_ns) / 1e9


def _settled(space: Workspace, outcome: Outcome, report: Report) -> Outcome:
    """After a push remotes that are back get what they owe; requests and debts are counted."""
    if space.is_on_several_remotes and (outcome.changeset_id or space.catalogue.debts.count()):
        from n2s_core.app.paying import Paying, is_enough_after_a_push  # noqa: PLC0415 - rarely
        from n2s_core.app.storing import note_remotes  # noqa: PLC0415

        several = space.store.several
        assert several is not None
        debts = space.catalogue.debts
        paid = Paying(several, debts, report, is_enough_after_a_push).run()
        note_remotes(space, several.fleet)
        outcome = replace(outcome, debts=paid.left)
    return replace(outcome, requests=outcome.requests + space.take_requests())


def _release(space: Workspace, lease: object) -> None:
    with contextlib.suppress(LeaseHeld):
        space.catalogue.leases.release(lease)  # type: ignore[arg-type]


@contextlib.contextmanager
def _discovery(
    space: Workspace,
    order: PushOrder,
    discoverer: Discoverer | None,
    *,
    excludes: Excludes,
    flow: Push,
    session: PushSession,
    since: Mark | None,
) -> Iterator[Discovery]:
    """What the plugin says; nobody is asked when the user names the paths."""
    if discoverer is None:
        nothing: Iterator[Change] = iter(())
        yield Discovery(space.root, None, complete=False, changes=nothing)
        return
    own = discoverer.name == space.config.dataset.using
    configured = space.config.dataset.options if own else {}
    source = Source(
        root=space.root,
        dataset=space.config.dataset.name,
        walk=lambda root: Walk(root, excludes, flow.note_failure),
        report=flow.note_failure,
        options={**configured, **(order.options or {})},
        leaves_out=lambda path: any(
            excludes.leaves_out(one, directory=True) for one in (*ancestors(path)[1:], path)
        ),
        dry_run=order.dry_run,
        names_of=lambda inode: session.directories_of(inode) + session.names_of(inode),
        search=session.search,
    )
    discoverer.check(source)
    rules = _rules(source, excludes)
    theirs = since[len(rules) :] if since and since.startswith(rules) else None
    with discoverer.discover(source, theirs) as found:
        ruled_out = since is not None and theirs is None
        yield replace(
            found,
            until=None if found.until is None else rules + found.until,
            fallback=found.fallback or (_NEW_RULES if ruled_out else None),
        )


_NEW_RULES = "What the dataset leaves out, or where it lies, is not what it was."


def _rules(source: Source, excludes: Excludes) -> bytes:
    """Stands in front of a mark: a feed is no answer to what other rules would have stored."""
    said = repr(
        (
            source.root,
            excludes.patterns,
            excludes.markers,
            excludes.caches,
            excludes.one_filesystem,
            sorted(excludes.hidden),
        )
    )
    return blake3(said.encode()).digest()[:8]


class _Crew:
    """Settings and workers of one push, made when first needed."""

    def __init__(self, space: Workspace, stack: ExitStack) -> None:
        self._space = space
        self._stack = stack
        self._told: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._pool: WorkerPool | None = None
        self.setback = ""
        self.notes: list[str] = []

    def setting(self, number: int, root: bytes) -> SealSetting:
        """What is the same for all batches; waits for the key."""
        config = self._space.config
        return SealSetting(
            root=root,
            dataset_id=bytes.fromhex(config.dataset.id),
            dataset=config.dataset.name,
            number=number,
            keyring=self._space.keyring(),
            pack_size=config.store.pack_size,
            share=config.store.share,
            frozen=root != self._space.root,
            transfers=config.store.transfers,
            readers=config.workers.readers_per_device,
        )

    def workers(self, setting: SealSetting) -> Workers:
        """Those who seal."""
        space = self._space
        space.check_store()
        self.setback = setback_of(space, space.store)
        call = SealingCall(setting, space.spec, space.config.catalogue_address)
        if space.config.workers.executor == DASK:
            from n2s_core.app.dask_crew import DaskCrew  # noqa: PLC0415 - for few

            width = worker_count(space.config)
            crew = DaskCrew(space, self._stack, self._told, self.notes, self._executor, width)  # type: ignore[arg-type]
            found = crew.workers(setting, call)
            if found is not None:
                return found
        return Workers(
            seal=call,
            executor=self._executor,
            remote_seal=call,
            width=lambda: worker_count(space.config),
            told=self._told,  # type: ignore[arg-type]
        )

    def spread(self, dataset_no: int, excludes: Excludes) -> Callable[[bytes], Spread] | None:
        """Those who compare, when there is more than one."""
        width = worker_count(self._space.config)
        address = self._space.config.catalogue_address
        if width == 1:
            return None
        return lambda root: Spread(
            ComparingCall(address, dataset_no, root, excludes), self._executor, width
        )

    def _executor(self) -> Executor:
        if self._pool is None:
            self._pool = WorkerPool(worker_count(self._space.config), self._told)
            self._stack.callback(self._pool.shutdown, cancel_futures=True)
        return self._pool
