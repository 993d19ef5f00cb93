"""Uploading of finished objects while the next one is being filled."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from n2s_core.faults import crash_point
from n2s_core.layout import Shelf, object_name
from n2s_core.packs import SealedObject
from n2s_core.ports import Store


@dataclass(slots=True)
class Uploads:
    """Puts objects into a store, `under_way` at a time; `finish` waits for all of them.

    A context manager; the first error of a put is raised by the next call.
    """

    store: Store
    under_way: int
    _pool: ThreadPoolExecutor | None = None
    _waiting: "list[Future[None]] | None" = None

    def __enter__(self) -> "Uploads":
        """Itself."""
        self._waiting = []
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is under way, whatever became of it."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def put(
        self, shelf: Shelf, sealed: SealedObject, confirmed: Callable[[], None] | None = None
    ) -> None:
        """Begin to store an object; `confirmed` runs in another thread once it is stored."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.under_way, "upload")
        assert self._waiting is not None
        if len(self._waiting) >= self.under_way:
            self._waiting.pop(0).result()
        self._waiting.append(self._pool.submit(self._put, shelf, sealed, confirmed))

    def _put(
        self, shelf: Shelf, sealed: SealedObject, confirmed: Callable[[], None] | None
    ) -> None:
        self.store.put(object_name(shelf, sealed.digest), sealed.chunks, sealed.size)
        crash_point("object-confirmed")
        if confirmed is not None:
            confirmed()

    def finish(self) -> None:
        """Wait until everything is confirmed. Raises the StoreError of the first that failed."""
        assert self._waiting is not None
        while self._waiting:
            self._waiting.pop(0).result()
