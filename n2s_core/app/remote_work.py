"""What the pushing side knows of the batches that it gives away, without any of the transport."""

import itertools
import os
import threading
from dataclasses import dataclass, field

from n2s_core.app.opening import OpenedStore
from n2s_core.app.remote_terms import Terms, Work, pack_call
from n2s_core.app.witnessing import Difference, anchors, seen, spaced, unchanged
from n2s_core.app.workspace import Workspace
from n2s_core.config import shown_url
from n2s_core.errors import Missing
from n2s_core.jobs import Batch, SealSetting
from n2s_core.layout import Shelf, object_name
from n2s_core.model import ObjectRow
from n2s_core.reading import Directories
from n2s_core.relpath import show
from n2s_core.version import __version__


@dataclass(slots=True)
class RemoteWork:
    """Makes calls of batches, and judges what workers say of tree and store.

    Used from several threads, in which the catalogue is not touched. `below` is where the tree
    that is read lies below the root of the dataset.
    """

    terms: Terms
    setting: SealSetting
    store: OpenedStore
    where: str
    below: bytes
    _serial: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, space: Workspace, setting: SealSetting, below: bytes) -> "RemoteWork":
        """For one push. Asks the catalogue for the names of the key objects."""
        config = space.config
        terms = Terms(
            version=__version__,
            host=os.uname().nodename,
            dataset=config.dataset.name,
            dataset_id=config.dataset.id,
            store_id=space.catalogue.store_id.hex(),
            keys=tuple(sorted(space.key_names())),
        )
        return cls(terms, setting, space.store, shown_url(space.store_url), below)

    def greeting(self) -> bytes:
        """A call that asks only whether the worker accepts the terms."""
        return pack_call(self.terms, None)

    def new_key(self) -> str:
        """A name for one try of one batch; none is used twice."""
        return f"n2s-{os.urandom(8).hex()}-{next(self._serial)}"

    def call(self, key: str, batch: Batch) -> bytes:
        """The bytes that a worker gets, with witnesses of the tree as it is now."""
        setting = self.setting
        with Directories(setting.root) as source:
            paths = [item.path for item in batch.items if item.regular or item.link is None]
            witnesses = seen(source, [*anchors(setting.root), *spaced(paths)], most=len(paths) + 64)
        return pack_call(
            self.terms,
            Work(
                key=key,
                batch=batch,
                witnesses=witnesses,
                below=self.below,
                dataset=setting.dataset,
                number=setting.number,
                pack_size=setting.pack_size,
                level=setting.keyring.level,
                share=setting.share,
                frozen=setting.frozen,
                transfers=setting.transfers,
            ),
        )

    def another_tree(self, differences: list[Difference]) -> str:
        """Why a worker is of no use, if its view of these is wrong; empty if they changed here."""
        with Directories(self.setting.root) as source:
            found = next(unchanged(source, differences), None)
        if found is None:
            return ""
        return (
            f"it sees another tree below its root: of {show(found.witness.path)} it says that"
            f" {found.how}."
        )

    def lacks(self, objects: list[ObjectRow]) -> str:
        """Why a worker that says it stored these stores elsewhere; empty if all are here.

        Raises StoreError when the store cannot be asked.
        """
        for one in objects:
            name = object_name(Shelf(one.shelf), one.digest)
            try:
                size = self.store.stat(name).size
            except Missing:
                size = -1
            if size != one.size:
                return f"{name}, which it says that it stored, is not in {self.where}."
        return ""
