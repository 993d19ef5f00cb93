"""The call that a worker gets: seal one batch with everything that it takes."""

from dataclasses import dataclass
from pathlib import Path

from n2s_core.app import worker
from n2s_core.app.comparing_call import catalogue_to_read
from n2s_core.app.opening import opened
from n2s_core.flows.seal import seal_batch
from n2s_core.jobs import Batch, BatchResult, FindContent, SealSetting
from n2s_core.ports import Store
from n2s_core.stores.spec import StoreSpec

_stores: dict[StoreSpec, Store] = {}


@dataclass(frozen=True, slots=True)
class SealingCall:
    """Seals a batch in whichever process it is called. Opened stores are kept for the next call."""

    setting: SealSetting
    spec: StoreSpec
    catalogue: Path

    def __call__(self, batch: Batch) -> BatchResult:
        """Raises StoreError when the store does not take it."""
        store = _stores.get(self.spec)
        if store is None:
            store = _stores[self.spec] = opened(self.spec)
        return seal_batch(batch, self.setting, store, emit=worker.tell, find_content=self._find())

    def _find(self) -> FindContent | None:
        """Confirmed contents, asked in the catalogue; only for stores that share."""
        if not self.setting.share:
            return None
        return catalogue_to_read(self.catalogue).pushes.find_content
