"""Building and running of `n2s worker`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from n2s_core.app.answers import PathLike
from n2s_core.app.api import workspace
from n2s_core.app.dask_parts import require_dask
from n2s_core.app.pushing import worker_count
from n2s_core.app.serving import Serving
from n2s_core.errors import UsageError

Say = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """What the command line says instead of the configuration; None: as that says."""

    scheduler: str | None = None
    root: bytes | None = None
    name: str | None = None
    processes: int | None = None


def work(order: WorkerOrder, say: Say, *, config: PathLike | None = None) -> None:
    """Serve until a signal ends it. Raises N2sError.

    `say(event, sentence)` hears what happens: waiting, ready, lost, refused, accepted, stopping,
    warning.
    """
    require_dask()
    from n2s_core.app.dask_worker import DaskServing  # noqa: PLC0415 - imports distributed

    with workspace(None, config) as space:
        table = space.config.workers
        if order.scheduler is not None:
            table = replace(table, scheduler=order.scheduler)
        if not table.scheduler:
            message = (
                "Which scheduler? Name it with --scheduler tcp://HOST:8786, or as scheduler under"
                " [workers] in the configuration."
            )
            raise UsageError(message)
        problem = table.problem()
        if problem:
            raise UsageError(problem)
        root = space.root if order.root is None else order.root
        processes = order.processes or worker_count(space.config)
        with Serving(space, root=root, processes=processes, say=say) as serving:
            DaskServing(serving, table.scheduler, table, order.name, say).run()
