"""Fakes for tests: a store in memory, and a store whose calls go wrong on schedule."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from threading import Event, Lock
from typing import NamedTuple

from n2s_core.errors import Missing, Refused, Unavailable
from n2s_core.layout import parse_name
from n2s_core.model import ObjectStat
from n2s_core.ports import Store
from n2s_core.stores.naming import judge_folder, judge_name, wrong_length


class MemoryStore:
    """A store in a dictionary, `objects`, which tests may look into and damage."""

    def __init__(self, url: str = "memory:") -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        judge_name(name)
        content = b"".join(data)
        if len(content) != size:
            raise wrong_length(name, len(content), size, "in the stream")
        self.objects[name] = content

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        content = self._content(name)
        return content[offset:] if length is None else content[offset : offset + length]

    def stat(self, name: str) -> ObjectStat:
        return ObjectStat(name, len(self._content(name)))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        judge_folder(prefix)
        for name, content in sorted(self.objects.items()):
            if name.rpartition("/")[0] == prefix and parse_name(name) is not None:
                yield ObjectStat(name, len(content))

    def delete(self, name: str) -> None:
        self.objects.pop(judge_name(name), None)

    def close(self) -> None:
        pass

    def _content(self, name: str) -> bytes:
        try:
            return self.objects[judge_name(name)]
        except KeyError:
            message = f"{name} is not in the store {self.url}."
            raise Missing(message) from None


class Fault(StrEnum):
    """What goes wrong with one call."""

    UNAVAILABLE = "raise Unavailable before anything is done"
    REFUSED = "raise Refused before anything is done"
    TRUNCATE = "put or get all but the last byte and say nothing"
    WRONG_BYTES = "put or get with the first byte flipped and say nothing"
    SAY_OK_BUT_DROP = "do nothing and say nothing (put, delete)"
    SAY_ERROR_BUT_STORE = "do it and raise Unavailable afterwards (put, delete)"
    HANG = "neither do it nor say anything until `released` is set"


class Planned(NamedTuple):
    """The `nth` call of `method`, counted from 1, meets `fault`."""

    method: str
    nth: int
    fault: Fault


class FaultyStore:
    """Does what `inner` does, except for the calls of the schedule. `calls` counts them all."""

    def __init__(self, inner: Store, schedule: Sequence[Planned | tuple[str, int, Fault]]) -> None:
        self.url = inner.url
        self.calls: Counter[str] = Counter()
        self.released = Event()
        self._inner = inner
        self._faults = {(method, nth): fault for method, nth, fault in schedule}
        self._lock = Lock()

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        fault = self._next("put")
        if fault is Fault.SAY_OK_BUT_DROP:
            for _ in data:
                pass
            return
        if fault in {Fault.TRUNCATE, Fault.WRONG_BYTES}:
            content = _damaged(b"".join(data), fault)
            self._inner.put(name, [content], len(content))
            return
        self._inner.put(name, data, size)
        _complain(fault)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        fault = self._next("get")
        return _damaged(self._inner.get(name, offset, length), fault)

    def stat(self, name: str) -> ObjectStat:
        self._next("stat")
        return self._inner.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        self._next("list")
        yield from self._inner.list(prefix)

    def delete(self, name: str) -> None:
        fault = self._next("delete")
        if fault is not Fault.SAY_OK_BUT_DROP:
            self._inner.delete(name)
        _complain(fault)

    def close(self) -> None:
        self._inner.close()

    def _next(self, method: str) -> Fault | None:
        """The fault of this call; raises those that come before anything is done."""
        with self._lock:
            self.calls[method] += 1
            fault = self._faults.get((method, self.calls[method]))
        if fault is Fault.UNAVAILABLE:
            message = "This store is planned to be away."
            raise Unavailable(message)
        if fault is Fault.HANG:
            self.released.wait()
            message = "This store was planned to hang."
            raise Unavailable(message)
        if fault is Fault.REFUSED:
            message = "This store is planned to refuse."
            raise Refused(message)
        return fault


def _damaged(content: bytes, fault: Fault | None) -> bytes:
    if fault is Fault.TRUNCATE:
        return content[:-1]
    if fault is Fault.WRONG_BYTES:
        return bytes([content[0] ^ 0xFF]) + content[1:] if content else content
    return content


def _complain(fault: Fault | None) -> None:
    if fault is Fault.SAY_ERROR_BUT_STORE:
        message = "This store is planned to lose its answer."
        raise Unavailable(message)
