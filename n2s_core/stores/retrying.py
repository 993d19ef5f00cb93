"""A store around a store that asks again."""

import random as random_numbers
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from n2s_core.errors import Unavailable
from n2s_core.model import ObjectStat
from n2s_core.ports import Addressed, Roomy, Store

LONGEST_WAIT_S = 300.0
_T = TypeVar("_T")


class RetryingStore:
    """Asks `inner` up to `attempts` times as long as it is Unavailable; other errors pass at once.

    Before the n-th repetition (from 0) it waits `min(base_s * 2**n, 300) * random(0.8, 1.2)`
    seconds. A stream can be read once only, so the chunks of an object are kept until it is
    stored, and a listing is complete before its first entry is given. Owns `inner`.
    """

    def __init__(
        self,
        inner: Store,
        *,
        attempts: int,
        base_s: float,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[float, float], float] = random_numbers.uniform,
    ) -> None:
        self.url = inner.url
        self._inner = inner
        self._attempts = attempts
        self._base_s = base_s
        self._sleep = sleep
        self._random = random

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`."""
        chunks = data if isinstance(data, (list, tuple)) else list(data)
        self._ask(lambda: self._inner.put(name, chunks, size))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range."""
        return self._ask(lambda: self._inner.get(name, offset, length))

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        return self._ask(lambda: self._inner.stat(name))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder."""
        yield from self._ask(lambda: tuple(self._inner.list(prefix)))

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._ask(lambda: self._inner.delete(name))

    def address(self) -> str | None:
        """Where the state of the store inside can be read; None when it has no such place."""
        return self._ask(self._inner.address) if isinstance(self._inner, Addressed) else None

    def free_bytes(self) -> int | None:
        """What the store inside can still take, asked once; None when it cannot tell."""
        return self._inner.free_bytes() if isinstance(self._inner, Roomy) else None

    def close(self) -> None:
        """Close the store inside."""
        self._inner.close()

    def _ask(self, call: Callable[[], _T]) -> _T:
        for attempt in range(self._attempts - 1):
            try:
                return call()
            except Unavailable:
                wait_s = min(self._base_s * 2.0 ** min(attempt, 64), LONGEST_WAIT_S)
                self._sleep(wait_s * self._random(0.8, 1.2))
        try:
            return call()
        except Unavailable as error:
            message = f"{error} Asked {self._attempts} times."
            raise Unavailable(message) from error
