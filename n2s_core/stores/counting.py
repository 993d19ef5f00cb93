"""A store around a store that counts what is asked of it: requests are what clouds charge for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from threading import Lock

from n2s_core.model import ObjectStat
from n2s_core.ports import Addressed, Roomy, Store

SENT, RECEIVED = "bytes_sent", "bytes_received"


class Requests:
    """Counts of several stores together. Safe for threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, what: str, count: int = 1) -> None:
        """Count some more."""
        with self._lock:
            self._counts[what] += count

    def take(self) -> "Counter[str]":
        """What was counted since this was asked last: calls by method, and bytes."""
        with self._lock:
            found, self._counts = self._counts, Counter()
        return found


class CountingStore:
    """Does what `inner` does, and counts. Owns `inner`."""

    def __init__(self, inner: Store, requests: Requests) -> None:
        self.url = inner.url
        self._inner = inner
        self._requests = requests

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`."""
        self._requests.add("put")
        self._inner.put(name, data, size)
        self._requests.add(SENT, size)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range."""
        self._requests.add("get")
        found = self._inner.get(name, offset, length)
        self._requests.add(RECEIVED, len(found))
        return found

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        self._requests.add("stat")
        return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder."""
        self._requests.add("list")
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._requests.add("delete")
        self._inner.delete(name)

    def address(self) -> str | None:
        """Where the state of the store inside can be read; None when it has no such place."""
        return self._inner.address() if isinstance(self._inner, Addressed) else None

    def free_bytes(self) -> int | None:
        """What the store inside can still take; None when it cannot tell."""
        if not isinstance(self._inner, Roomy):
            return None
        self._requests.add("about")
        return self._inner.free_bytes()

    def close(self) -> None:
        """Close the store inside."""
        self._inner.close()
