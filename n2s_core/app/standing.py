"""`status`: how a dataset and its store stand."""

import threading

from n2s_core.app.answers import PathLike
from n2s_core.app.api import workspace
from n2s_core.app.listings import ChangesetAnswer, StatusAnswer, StoreState
from n2s_core.app.opening import spec_of
from n2s_core.app.setback import Newest, newest_of
from n2s_core.app.upkeep import upkeep
from n2s_core.config import shown_url
from n2s_core.layout import Shelf
from n2s_core.model import Failure
from n2s_core.stores import open_store, start
from n2s_core.stores.spec import StoreSpec

REACH_S = 10.0


def status(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    changeset_id: str | None = None,
) -> StatusAnswer:
    """What is stored, confirmed, pending and failed; files and bytes are those of the changeset."""
    with workspace(root, config) as space:
        dataset, queries = space.dataset, space.catalogue.queries
        stored = queries.changesets(dataset.dataset_no)
        files, size = dataset.live_files, dataset.live_bytes
        shown = stored[0] if stored else None
        if changeset_id is not None:
            shown = queries.changeset(dataset, changeset_id)
            files, size = queries.tree_size(dataset, shown.changeset_no)
        totals = queries.totals()
        failures = queries.failures(dataset.dataset_no)
        audited, audit_misses = space.catalogue.audits.counts(dataset.dataset_no)
        return StatusAnswer(
            dataset=dataset.name,
            root=space.root,
            store=_reach(spec_of(space.config), newest_of(space)),
            changeset=None if shown is None else ChangesetAnswer.of(shown),
            changesets=len(stored),
            files=files,
            bytes=size,
            objects=totals.objects,
            stored_bytes=totals.stored_bytes,
            pending=queries.count_pending(dataset.dataset_no),
            failures=tuple(Failure(path, error) for path, error, _, _ in failures),
            last_push_ns=stored[0].stored_ns if stored else None,
            last_verify_ns=dataset.last_verify_ns,
            audited=audited,
            audit_misses=audit_misses,
            upkeep=upkeep(space.config, queries.stored_by_shelf()),
        )


def _reach(wanted: StoreSpec, newest: Newest | None) -> StoreState:
    """Whether the store answers within REACH_S seconds."""
    found: list[str | None] = []
    setback: list[str] = []

    def ask() -> None:
        try:
            with start(wanted) as spec:
                store = open_store(spec)
                try:
                    next(iter(store.list(Shelf.KEYS.value)), None)
                    setback.append(newest.setback(store) if newest else "")
                finally:
                    store.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store cannot be reached
            found.append(str(error))
        else:
            found.append(None)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_S)
    error = found[0] if found else f"The store does not answer within {REACH_S:.0f} s."
    said = setback[0] if setback else ""
    return StoreState(shown_url(wanted.url), error is None, error, said)
