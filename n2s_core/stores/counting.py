"""A store around a store that counts what is asked of it: requests are what clouds charge for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

from n2s_core.model import ObjectStat
from n2s_core.ports import Addressed, Metered, Roomy, Store

SENT, RECEIVED = "bytes_sent", "bytes_received"
_BETWEEN = "/"
LIST_PAGE = 1000
"""So many objects an object store names in one answer."""


def by_remote(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The counts of each remote by kind; of a store that is one place under an empty name.

    What was counted of a remote is among the sums of all too.
    """
    found: dict[str, dict[str, int]] = {}
    for word, count in counts.items():
        remote, between, kind = word.rpartition(_BETWEEN)
        if between:
            found.setdefault(remote, {})[kind] = count
    if not found:
        return {"": dict(counts)} if counts else {}
    return found


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
        """What was counted since this was asked last: requests by kind, and bytes.

        Of several remotes under `REMOTE/kind` besides.
        """
        with self._lock:
            found, self._counts = self._counts, Counter()
        return found


class CountingStore:
    """Does what `inner`, the store of a `remote`, does, and counts. Owns `inner`."""

    def __init__(self, inner: Store, requests: Requests, remote: str = "") -> None:
        self.url = inner.url
        self._inner = inner
        self._requests = requests
        self._remote = remote
        self._heads = inner.heads if isinstance(inner, Metered) else {}

    def _add(self, what: str, count: int = 1) -> None:
        self._requests.add(what, count)
        if self._remote:
            self._requests.add(f"{self._remote}{_BETWEEN}{what}", count)

    def _call(self, what: str) -> None:
        """A request, and those that a store makes about the object before or after it."""
        self._add(what)
        if what in self._heads:
            self._add("stat", self._heads[what])

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`."""
        self._call("put")
        self._inner.put(name, data, size)
        self._add(SENT, size)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range."""
        self._call("get")
        found = self._inner.get(name, offset, length)
        self._add(RECEIVED, len(found))
        return found

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        self._add("stat")
        return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder."""
        self._add("list")
        for count, found in enumerate(self._inner.list(prefix)):
            if count and count % LIST_PAGE == 0 and self._heads:
                self._add("list")
            yield found

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._call("delete")
        self._inner.delete(name)

    def address(self) -> str | None:
        """Where the state of the store inside can be read; None when it has no such place."""
        return self._inner.address() if isinstance(self._inner, Addressed) else None

    def free_bytes(self) -> int | None:
        """What the store inside can still take; None when it cannot tell."""
        if not isinstance(self._inner, Roomy):
            return None
        self._add("about")
        return self._inner.free_bytes()

    def close(self) -> None:
        """Close the store inside."""
        self._inner.close()
