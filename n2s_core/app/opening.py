"""Opening of stores: with retries, and what they need started."""

from n2s_core.ports import Store
from n2s_core.stores import open_store
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import StoreSpec

ATTEMPTS = 4
BASE_S = 0.5


def opened(spec: StoreSpec) -> Store:
    """The store of a started spec; asks again while it is unavailable."""
    return RetryingStore(open_store(spec), attempts=ATTEMPTS, base_s=BASE_S)
