"""The call that a worker gets: seal one batch with everything that it takes."""

from dataclasses import dataclass

from n2s_core.app import worker
from n2s_core.app.opening import OpenedStore, opened
from n2s_core.catalogue_address import CatalogueAddress
from n2s_core.flows.seal import seal_batch
from n2s_core.jobs import Batch, BatchResult, Emit, FindContent, SealSetting, StoredSegments
from n2s_core.layout import Shelf, object_name
from n2s_core.stores.spec import StoreSpec

_stores: dict[StoreSpec, OpenedStore] = {}


@dataclass(frozen=True, slots=True)
class _Telling:
    """Tells of segments that are stored, and what remotes owe of the object that holds them."""

    tell: Emit
    store: OpenedStore

    def __call__(self, told: StoredSegments) -> None:
        """Those debts are not in the result of the batch any more."""
        name = object_name(Shelf(told.stored.shelf), told.stored.digest)
        self.tell(told._replace(debts=tuple(self.store.take_debts(name))))


@dataclass(frozen=True, slots=True)
class SealingCall:
    """Seals a batch in whichever process it is called. Opened stores are kept for the next call."""

    setting: SealSetting
    spec: StoreSpec
    catalogue: CatalogueAddress

    def __call__(self, batch: Batch) -> BatchResult:
        """Raises StoreError when the store does not take it."""
        store = _stores.get(self.spec)
        if store is None:
            store = _stores[self.spec] = opened(self.spec)
        store.take_debts()  # of a batch that failed: nobody was told of its objects
        emit = None if worker.tell is None else _Telling(worker.tell, store)
        result = seal_batch(batch, self.setting, store, emit=emit, find_content=self._find())
        result.debts.extend(store.take_debts())
        result.requests.update(store.take_requests())
        return result

    def _find(self) -> FindContent | None:
        """Confirmed contents, asked in the catalogue; only for stores that share."""
        if not self.setting.share:
            return None
        from n2s_core.app.comparing_call import catalogue_to_read  # noqa: PLC0415 - for few

        return catalogue_to_read(self.catalogue).pushes.find_content
