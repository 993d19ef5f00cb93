"""A store that is older than what the catalogue remembers of it."""

from dataclasses import dataclass

from n2s_core.app.workspace import Workspace
from n2s_core.errors import Missing
from n2s_core.layout import Shelf, object_name
from n2s_core.ports import Store


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest changeset that the catalogue says is stored; `digest` is that of its head."""

    identity: bytes
    number: int
    digest: bytes

    def setback(self, store: Store) -> str:
        """A sentence when the store lacks it; "" when all is well. Raises StoreError.

        One request, no listing: a store that was set back to any earlier state lacks this object.
        """
        try:
            store.stat(object_name(Shelf.CHANGESETS, self.digest))
        except Missing:
            return (
                f"The store does not have changeset {self.identity.hex()[:16]} (number"
                f" {self.number}), the newest that was stored in it: it was set back to an older"
                " state, or lost objects. Run 'n2s verify' and then 'n2s push', which stores again"
                " what the source still has."
            )
        return ""


def newest_of(space: Workspace) -> Newest | None:
    """The newest changeset of the dataset, None when nothing was stored. Raises CatalogueError."""
    head = space.catalogue.pushes.head(space.dataset)
    if head is None or head.head_digest is None:
        return None
    return Newest(head.changeset_id or b"", head.number, head.head_digest)


def setback_of(space: Workspace, store: Store) -> str:
    """As `Newest.setback`."""
    newest = newest_of(space)
    return newest.setback(store) if newest is not None else ""
