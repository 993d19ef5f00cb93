"""Verdicts that the store does not have yet get there."""

from n2s_core.app.workspace import Workspace
from n2s_core.faults import crash_point
from n2s_core.layout import Shelf, object_name


def deliver(space: Workspace) -> None:
    """Give the store what it does not have of the verdicts. Raises StoreError."""
    unsent = space.catalogue.verdicts.unsent()
    if unsent:
        space.check_store()
    for number, digest, data in unsent:
        space.store.put(object_name(Shelf.CHANGESETS, digest), [data], len(data))
        crash_point("verdict-stored")
        space.catalogue.verdicts.sent(number, digest, len(data))
