"""Opening of stores: with retries, counted, and with what their remotes owe."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

from n2s_core.config import Config, StoreTable
from n2s_core.model import Debt
from n2s_core.remotes import PREFIX
from n2s_core.stores import open_store
from n2s_core.stores.counting import Requests
from n2s_core.stores.fleet import SetStore
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import RcloneOptions, StoreSpec

ATTEMPTS = 4
BASE_S = 0.5


def spec_of(config: Config) -> StoreSpec:
    """The store of a configuration; not started yet."""
    return spec_from(config.store_url, config.store)


def spec_from(url: str, table: StoreTable) -> StoreSpec:
    """The store at an absolute URL, with what the table wishes of rclone; not started yet."""
    flags = tuple(sorted(table.flags.items()))
    options = RcloneOptions(table.bwlimit, table.storage_class, flags)
    return StoreSpec(url, rclone_options=options, timeout_s=table.timeout_s)


class OpenedStore(RetryingStore):
    """The store of a started spec; asks again while it is unavailable.

    `several` is what a store on several remotes can do beyond the port, None for any other.
    `on_debts` hears what remotes owe of an object before the put of it returns; without it that is
    kept until it is taken.
    """

    on_debts: Callable[[list[Debt]], None] | None = None

    def __init__(self, spec: StoreSpec) -> None:
        self._requests = Requests()
        bare = open_store(spec, self._requests)
        self.several = cast("SetStore", bare) if spec.url.startswith(PREFIX) else None
        super().__init__(bare, attempts=ATTEMPTS, base_s=BASE_S)

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`."""
        super().put(name, data, size)
        if self.on_debts is not None:
            debts = self.take_debts(name)
            if debts:
                self.on_debts(debts)

    def take_debts(self, name: str | None = None) -> list[Debt]:
        """What remotes owe, of one object or of all; each is given once."""
        return [] if self.several is None else self.several.fleet.take_debts(name)

    def take_requests(self) -> "Counter[str]":
        """What was asked of the store since this was called last."""
        return self._requests.take()


def opened(spec: StoreSpec) -> OpenedStore:
    """The store of a started spec; asks again while it is unavailable."""
    return OpenedStore(spec)
