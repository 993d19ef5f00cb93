"""The calls of a store, for tests that expect the same of all of them."""

from collections.abc import Callable

from n2s_core.ports import Store
from tests.contracts.store import CONTENT, FOLDER, NAME


def put(store: Store) -> None:
    """Put the object of the contract."""
    store.put(NAME, [CONTENT], len(CONTENT))


def every_call(store: Store) -> list[Callable[[], object]]:
    """Each on the object of the contract, or on its folder."""
    return [
        lambda: put(store),
        lambda: store.get(NAME),
        lambda: store.get(NAME, 5, 5),
        lambda: store.stat(NAME),
        lambda: list(store.list(FOLDER)),
        lambda: store.delete(NAME),
    ]
