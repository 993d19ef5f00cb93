"""The protocols between the rooms: who offers what to whom."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from n2s_core.model import Discovery, Mark, ObjectStat, Source
from n2s_core.relpath import RelPath

if TYPE_CHECKING:
    from concurrent.futures import Future


@runtime_checkable
class Discoverer(Protocol):
    """A plugin that yields the paths that changed since a mark.

    It may have an attribute `excludes`, a tuple of gitignore patterns: what is never stored.
    """

    name: str

    def check(self, source: Source) -> None:
        """Raise DiscoveryError when the plugin cannot work here: why, and what to do."""

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """What changed since the mark `since` (None: everything is new)."""


class Recording(Protocol):
    """Changes are being recorded, for a discoverer to name them.

    `trouble` is a sentence for the user while they cannot be recorded without a gap; every
    discovery is a walk then.
    """

    trouble: str | None

    def wait(self, timeout_s: float) -> bool:
        """Until something changes, or has changed since the last call; False when nothing does.

        A gap counts as a change, and so does a trouble. Raises DiscoveryError when the recording
        has ended.
        """

    def doubt(self, why: str) -> None:
        """Make the next discovery walk because of `why`, half a sentence."""


@runtime_checkable
class Watcher(Protocol):
    """What a discoverer may offer besides: it hears of changes as they happen."""

    name: str

    def watch(
        self, source: Source, *, ignores: Callable[[RelPath], bool]
    ) -> AbstractContextManager[Recording]:
        """Record changes as long as the context lasts; they are complete from its beginning on.

        `ignores(path)` says of a path that is no directory that it is not stored. Raises
        DiscoveryError: why it cannot work here, and what to do.
        """


class Store(Protocol):
    """Where objects go. Names are those of docs/format.md, section 1.

    Promises of every implementation, stated by tests/contracts/store.py:
    an object is seen whole or not at all; putting the same name again is no error and the object
    is whole afterwards; a stream that is not `size` bytes long raises StoreError and becomes no
    object; an object that is not there raises Missing; Refused will never succeed; Unavailable
    may later. Safe for use from several threads.
    """

    url: str

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`; when it returns the store has confirmed their size."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes from `offset` on, `length` of them or up to the end.

        A range that ends behind the object is cut there. Raises Missing.
        """

    def stat(self, name: str) -> ObjectStat:
        """Size of an object. Raises Missing."""

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in the folder `prefix` ("keys", "data/ab") in any order.

        A folder that is not there has none. Only names of the layout are listed, so temporary
        files are not.
        """

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""

    def close(self) -> None:
        """Free what the store holds; nothing may be called afterwards."""


@runtime_checkable
class Addressed(Protocol):
    """What a store may offer besides: where the state that it has now can be read."""

    def address(self) -> str | None:
        """A URL that `recover` takes, or None. Raises StoreError."""


@runtime_checkable
class Metered(Protocol):
    """What a store may offer besides: it asks its server more than it is asked itself.

    `heads` says how many questions about the object come with a call of each method.
    """

    heads: Mapping[str, int]


@runtime_checkable
class Roomy(Protocol):
    """What a store may offer besides: how much it can still take."""

    def free_bytes(self) -> int | None:
        """As it is now; None when the store cannot tell. Raises StoreError."""


class Executor(Protocol):
    """The part of `concurrent.futures.Executor` that the flows use."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Run `fn(*args)` somewhere."""
