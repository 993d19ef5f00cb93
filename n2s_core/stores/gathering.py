"""Reading of objects that lie on remotes as shards, or whole."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from n2s_core.errors import DamageError, Missing, StoreError, Unavailable
from n2s_core.stores.fleet import WHOLE_BYTES, Fleet, Remote, joined
from n2s_core.stores.forms import is_shard, is_whole
from n2s_core.stores.shards import HEADER_BYTES, Coding, Header, decode, open_shard

HEADERS_KEPT = 256
ATTEMPTS = 3


@dataclass(slots=True)
class Gathered:
    """What remotes gave of one object: shards that are whole, whole copies, errors, by remote."""

    name: str
    shards: dict[str, tuple[Header, memoryview]] = field(default_factory=dict)
    copies: dict[str, bytes] = field(default_factory=dict)
    strange: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, StoreError] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)

    def take(self, remote: str, data: bytes) -> None:
        """What one remote has; a damaged shard counts as none."""
        if not is_shard(data):
            (self.copies if is_whole(self.name, data) else self.strange)[remote] = data
            return
        try:
            self.shards[remote] = open_shard(data, self.name)
        except DamageError as error:
            self.damage[remote] = str(error)

    def holders(self, coding: Coding) -> dict[str, int]:
        """Remotes with a shard of this coding, each index once."""
        found: dict[str, int] = {}
        for remote, (header, _) in self.shards.items():
            if header.coding == coding and header.index not in found.values():
                found[remote] = header.index
        return found

    def coding(self) -> Coding | None:
        """One of which there are enough shards."""
        codings = {header.coding for header, _ in self.shards.values()}
        return next((one for one in codings if len(self.holders(one)) >= one.m), None)

    def content(self) -> bytes | None:
        """The bytes of the object; None when there is not enough of it."""
        for data in self.copies.values():
            return data
        coding = self.coding()
        if coding is None:
            return None
        payloads = {index: self.shards[remote][1] for remote, index in self.holders(coding).items()}
        return decode(payloads, coding)[: coding.size]

    def is_mixed(self) -> bool:
        """Whether there are shards of several codings."""
        return len({header.coding for header, _ in self.shards.values()}) > 1

    def lacking(self) -> int:
        """How many more shards it takes, as far as is known."""
        counts = [
            header.coding.m - len(self.holders(header.coding)) for header, _ in self.shards.values()
        ]
        return max(1, min(counts, default=1))

    def holding(self) -> set[str]:
        """Remotes that have anything under the name."""
        return {*self.shards, *self.copies, *self.strange, *self.damage}

    def errors_away(self) -> set[str]:
        """Remotes that did not answer."""
        return {one for one, why in self.errors.items() if not isinstance(why, Missing)}

    def error(self) -> StoreError:
        """Why there is no content. Missing only when every remote answered."""
        away = {one: self.errors[one] for one in self.errors_away()}
        if away:
            return Unavailable(str(joined(away, f"{self.name} needs a remote that is away.")))
        left = f"; {len(self.shards)} shards are left" if self.shards else ""
        bad = "".join(f"; {remote}: {why}" for remote, why in self.damage.items())
        return Missing(f"{self.name} is not on enough of the remotes{left}{bad}.")


class MixedError(Missing):
    """There are shards of several codings, and of none enough."""


class Gathering:
    """Asks remotes for what they have of an object. Remembers the headers of the last objects."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._headers: OrderedDict[str, dict[str, Header]] = OrderedDict()
        self._last: tuple[str, bytes] = ("", b"")
        self._lock = Lock()

    def everything(self, name: str, among: Iterable[str] | None = None) -> Gathered:
        """All that all remotes have, or those `among` them.

        Those that failed a moment ago are spared, and count as away, when the others have enough.
        """
        found = Gathered(name)
        wanted = None if among is None else set(among)
        asked = [one for one in self._fleet.remotes if wanted is None or one.name in wanted]
        self._ask(found, [one for one in asked if one.gets.may_work()])
        spared = [one for one in asked if one.name not in found.errors.keys() | found.holding()]
        if found.content() is None:
            self._ask(found, spared)
        else:
            found.errors.update((one.name, Unavailable(one.gets.error)) for one in spared)
        return found

    def whole(self, name: str, order: Sequence[Remote], first: int) -> bytes:
        """An object, from the `first` remotes of `order`, and from more as long as it takes.

        Every shard is compared with its header, and the object with its name. One that is not
        what its name says is given as it is when no other remote can help. Where somebody changes
        the coding meanwhile, what was read of before and of after may not fit; it is read again.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return self._whole(name, order, first)
            except MixedError:
                continue
        return self._whole(name, order, first)

    def _whole(self, name: str, order: Sequence[Remote], first: int) -> bytes:
        found, rest = Gathered(name), list(order)
        count, wrong = first, None
        while rest:
            asked, rest = rest[:count], rest[count:]
            self._ask(found, asked)
            data = found.content()
            if data is not None and (is_whole(name, data) or not rest):
                return data
            wrong = data if data is not None else wrong
            count = found.lacking()
        if found.strange:
            return next(iter(found.strange.values()))
        if found.is_mixed() and not found.errors_away():
            raise MixedError(str(found.error()))
        raise found.error()

    def part(
        self, name: str, order: Sequence[Remote], offset: int, length: int | None, *, first: int
    ) -> bytes:
        """A range, from the shards that hold it; one of more than a shard is read whole."""
        headers = self._known(name, order, first)
        if not headers:
            return self._kept_whole(name, order, first)[offset:][:length]
        coding = next(iter(headers.values())).coding
        end = coding.size if length is None else min(offset + length, coding.size)
        parts: list[bytes] = []
        start = offset
        while start < end and end - offset <= coding.payload_size:
            index, at = divmod(start, coding.payload_size)
            size = min(end - start, coding.payload_size - at)
            piece = self._piece(name, headers, index, at=at, size=size)
            if piece is None:
                break
            parts.append(piece)
            start += size
        if start < end:
            return self._kept_whole(name, order, first)[offset:end]
        return b"".join(parts)

    def _kept_whole(self, name: str, order: Sequence[Remote], first: int) -> bytes:
        """A whole object, of which more ranges may be wanted."""
        with self._lock:
            known, data = self._last
        if known != name:
            data = self.whole(name, order, first)
            with self._lock:
                self._last = (name, data)
        return data

    def size(self, name: str, order: Sequence[Remote], first: int) -> int:
        """Bytes of an object of which there is enough."""
        found, rest, count = Gathered(name), list(order), first
        while rest:
            asked, rest = rest[:count], rest[count:]
            answers = self._fleet.get(
                asked, lambda remote: remote.store.get(name, 0, HEADER_BYTES), size=HEADER_BYTES
            )
            found.errors.update(answers.errors)
            for remote, data in answers.values.items():
                if not is_shard(data):
                    return self._size_of_copy(name, remote)
                try:
                    found.shards[remote] = Header.parse(data), memoryview(b"")
                except DamageError as error:
                    found.damage[remote] = str(error)
            coding = found.coding()
            if coding is not None:
                return coding.size
            count = found.lacking()
        raise found.error()

    def sizes(
        self, holders: Mapping[str, Sequence[Remote]], *, at_once: int
    ) -> Iterator[tuple[str, int]]:
        """Names and sizes of the objects of which these remotes have enough."""

        def size(name: str) -> int | None:
            try:
                return self.size(name, holders[name], 1)
            except (Missing, Unavailable):
                return None

        with ThreadPoolExecutor(at_once, "headers") as threads:
            for name, found in zip(holders, threads.map(size, holders), strict=True):
                if found is not None:
                    yield name, found

    def forget(self, name: str) -> None:
        """Its shards lie elsewhere from now on."""
        with self._lock:
            self._headers.pop(name, None)
            self._last = ("", b"")

    # -- the parts ------------------------------------------------------------------------------

    def _ask(self, found: Gathered, remotes: list[Remote]) -> None:
        answers = self._fleet.get(
            remotes, lambda remote: remote.store.get(found.name), size=WHOLE_BYTES
        )
        found.errors.update(answers.errors)
        for remote, data in answers.values.items():
            found.take(remote, data)

    def _known(self, name: str, order: Sequence[Remote], first: int) -> dict[str, Header]:
        """Headers of shards of one coding by remote; empty when they are not the usual ones."""
        with self._lock:
            found = self._headers.get(name)
        if found is None:
            found = self._read_headers(name, order[:first])
            coding = next((one.coding for one in found.values()), None)
            if coding is None or {one.index for one in found.values()} != set(range(coding.m)):
                found = self._read_headers(name, order)
            with self._lock:
                self._headers[name] = found
                while len(self._headers) > HEADERS_KEPT:
                    self._headers.popitem(last=False)
        return found

    def _read_headers(self, name: str, remotes: Iterable[Remote]) -> dict[str, Header]:
        answers = self._fleet.get(remotes, lambda remote: remote.store.get(name, 0, HEADER_BYTES))
        gathered = Gathered(name)
        for remote, data in answers.values.items():
            if is_shard(data):
                try:
                    gathered.shards[remote] = Header.parse(data), memoryview(b"")
                except DamageError as error:
                    gathered.damage[remote] = str(error)
        coding = gathered.coding()
        if coding is None:
            return {}
        return {remote: gathered.shards[remote][0] for remote in gathered.holders(coding)}

    def _piece(
        self, name: str, headers: Mapping[str, Header], index: int, *, at: int, size: int
    ) -> bytes | None:
        """Bytes of one piece of the object; None when the shard that is this piece has them not."""
        read = _ranged(name, HEADER_BYTES + at, size)
        holders = {one.index: remote for remote, one in headers.items()}
        if index in holders:
            one = self._fleet.named(holders[index])
            for data in self._fleet.get([one], read).values.values():
                if len(data) == size:
                    return data
        return None

    def _size_of_copy(self, name: str, remote: str) -> int:
        one = self._fleet.named(remote)
        answers = self._fleet.get([one], lambda remote: remote.store.stat(name).size)
        for error in answers.errors.values():
            raise error
        return answers.values[remote]


def _ranged(name: str, offset: int, size: int) -> Callable[[Remote], bytes]:
    return lambda remote: remote.store.get(name, offset, size)
