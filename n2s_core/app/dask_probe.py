"""What `doctor` can see of a scheduler and its workers."""

from collections.abc import Mapping
from typing import Any

from distributed import Client

from n2s_core.app.dask_parts import exposure, security_of
from n2s_core.app.remote_terms import PLUGIN
from n2s_core.version import __version__
from n2s_core.workers import WorkersTable

REACH_S = 10.0


def workers_at(table: WorkersTable) -> Mapping[str, Mapping[str, Any]]:
    """What the scheduler says of its workers, by address. Raises OSError."""
    client: Any = Client(  # type: ignore[no-untyped-call]
        table.scheduler, timeout=REACH_S, security=security_of(table), set_as_default=False
    )
    with client:
        found: Mapping[str, Mapping[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        return found


def judged_workers(table: WorkersTable, dataset_id: str) -> tuple[bool, str]:
    """Whether all is well, and sentences about scheduler and workers. Raises OSError."""
    there = workers_at(table)
    ours: list[str] = []
    strange: list[str] = []
    for about in there.values():
        facts = about.get(PLUGIN)
        if facts is None or facts["dataset_id"] != dataset_id:
            continue
        text = (
            f"{about['name']} on {facts['host']} (n2s {facts['version']}, {about['nthreads']}"
            f" process(es), root {facts['root']})"
        )
        (ours if facts["version"] == __version__ else strange).append(text)
    said = [f"{table.scheduler} answers."]
    said.append(f"Workers: {', '.join(ours)}." if ours else "It has no worker of this dataset.")
    if strange:
        said.append(f"Of another version, which a push refuses: {', '.join(strange)}.")
    warning = exposure(table.scheduler)
    if warning:
        said.append(warning)
    return bool(ours) and not strange and not warning, " ".join(said)
