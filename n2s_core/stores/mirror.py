"""A store that keeps each object on several remotes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from n2s_core.errors import DamageError, Missing, StoreError, Unavailable
from n2s_core.faults import crash_point
from n2s_core.model import Debt, ObjectStat
from n2s_core.remotes import Mode
from n2s_core.stores.fleet import (
    WHOLE_BYTES,
    Answers,
    Fleet,
    Mended,
    Remote,
    address_of,
    joined,
)
from n2s_core.stores.forms import MAGIC, is_shard, is_whole, whole_stream
from n2s_core.stores.naming import judge_folder, judge_name

if TYPE_CHECKING:
    from n2s_core.stores.gathering import Gathering

NO_ROOM = "It has no room for it."
_T = TypeVar("_T")


class MirrorStore:
    """Puts each object to all remotes and reads it from the first that has it whole.

    A put is done when `minimum` remotes have confirmed it; what the others did not take is owed
    (`fleet.take_debts`). An object that is read whole is compared with the BLAKE3 in its name, and
    the next remote is asked when it is damaged; a range cannot be compared. Shards that are found
    among the copies count as well, so an erasure-coded store can become this one. Owns the fleet.
    """

    form = Mode.MIRROR.value

    def __init__(self, fleet: Fleet, *, minimum: int, url: str) -> None:
        self.url = url
        self.fleet = fleet
        self._minimum = minimum

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name` on at least `minimum` remotes."""
        judge_name(name)
        self._put(name, whole_stream(name, data, size), size)

    def _put(self, name: str, chunks: list[bytes], size: int) -> None:
        chosen = self.fleet.writable(at_least=self._minimum, size=size)
        done = self._send(name, chunks, chosen)
        if len(done.values) < self._minimum:
            message = (
                f"{name} is on {len(done.values)} remotes, and {self._minimum} have to confirm it."
            )
            raise joined(done.errors, message)
        self.fleet.owe(
            Debt(one.name, name, str(done.errors.get(one.name, one.puts.error or NO_ROOM)))
            for one in self.fleet.remotes
            if one.name not in done.values
        )

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range; the whole object is compared with its name.

        Bytes that are wrong on every remote that has them are given as they are, since records
        in them may be whole.
        """
        judge_name(name)
        if offset == 0 and length is None:
            data, _ = self._whole(name, self.fleet.readable())
            return data
        return self._first(name, lambda remote: remote.store.get(name, offset, length), length or 0)

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        judge_name(name)
        if is_shard(self._first(name, lambda remote: remote.store.get(name, 0, len(MAGIC)))):
            return ObjectStat(name, self._gathering().size(name, self.fleet.readable(), 1))
        return self._first(name, lambda remote: remote.store.stat(name))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder of any remote that answers; the size is that of most copies.

        Of an object that is still in shards it is the size of a shard; `stat` knows better.
        """
        judge_folder(prefix)
        found = self.fleet.get(
            self.fleet.listable(), lambda remote: tuple(remote.store.list(prefix))
        )
        if not found.values:
            raise joined(found.errors, f"No remote lists {prefix}.")
        sizes: dict[str, Counter[int]] = {}
        for listed in found.values.values():
            for one in listed:
                sizes.setdefault(one.name, Counter())[one.size] += 1
        for name, counts in sizes.items():
            yield ObjectStat(name, max(counts, key=lambda size: (counts[size], size)))

    def delete(self, name: str) -> None:
        """Remove an object from all remotes."""
        judge_name(name)
        done = self.fleet.get(self.fleet.remotes, lambda remote: remote.store.delete(name))
        if done.errors:
            raise joined(done.errors, f"{name} could not be removed everywhere.")

    def address(self) -> str | None:
        """The same set with each remote as it is now, for those that say where that is."""
        return address_of(self.url, self.fleet)

    def close(self) -> None:
        """Close every remote."""
        self.fleet.close()

    # -- what a store of several remotes can do beside ------------------------------------------

    def lacking(self, name: str, size: int, holders: Mapping[str, int]) -> dict[str, str]:
        """See SetStore."""
        found = {}
        for one in self.fleet.remotes:
            there = holders.get(one.name)
            if there is None:
                found[one.name] = f"{name} is not there"
            elif there != size:
                found[one.name] = f"{name} has {there} bytes instead of {size}"
        return found

    def is_movable(self, name: str) -> bool:
        """See SetStore."""
        del name
        return False

    def examine(self, remote: str, name: str) -> str:
        """See SetStore."""
        one = self.fleet.named(remote)
        answer = self.fleet.get([one], lambda remote: remote.store.get(name), size=WHOLE_BYTES)
        for error in answer.errors.values():
            return str(error)
        return "" if is_whole(name, answer.values[remote]) else f"{name} is damaged"

    def mend(self, name: str, lacking: Iterable[str]) -> Mended:
        """See SetStore."""
        wanted = set(lacking)
        order = sorted(self.fleet.readable(), key=lambda one: one.name in wanted)
        data, right = self._whole(name, order)
        if not right:
            message = f"{name} is damaged on every remote that has it."
            raise DamageError(message)
        remotes = [one for one in self.fleet.remotes if one.name in wanted]
        done = self._send(name, [data], remotes)
        return Mended(
            len(data) * len(done.values),
            frozenset(wanted),
            tuple(Debt(remote, name, str(error)) for remote, error in done.errors.items()),
        )

    def _send(self, name: str, chunks: Sequence[bytes], remotes: Iterable[Remote]) -> Answers[None]:
        size = sum(map(len, chunks))

        def put(remote: Remote) -> None:
            remote.store.put(name, chunks, size)
            crash_point("remote-stored")

        return self.fleet.put(remotes, put, size=size)

    # -- reading --------------------------------------------------------------------------------

    def _whole(self, name: str, order: Iterable[Remote]) -> tuple[bytes, bool]:
        """The bytes of the first remote that has them right, or of the first that has any."""
        wrong: bytes | None = None
        errors: dict[str, StoreError] = {}
        for one in order:
            answer = self.fleet.get([one], lambda remote: remote.store.get(name), size=WHOLE_BYTES)
            errors.update(answer.errors)
            for data in answer.values.values():
                if is_whole(name, data):
                    return data, True
                if is_shard(data):
                    found = self._gathering().whole(name, self.fleet.readable(), 1)
                    return found, is_whole(name, found)
                wrong = data if wrong is None else wrong
        if wrong is not None:
            return wrong, False
        raise _nobody(name, errors)

    def _gathering(self) -> "Gathering":
        """For shards of a time when the store was an erasure-coded one."""
        from n2s_core.stores.gathering import Gathering  # noqa: PLC0415 - zfec is an extra

        return Gathering(self.fleet)

    def _first(self, name: str, call: Callable[[Remote], _T], size: int = 0) -> _T:
        errors: dict[str, StoreError] = {}
        for one in self.fleet.readable():
            answer = self.fleet.get([one], call, size=size)
            errors.update(answer.errors)
            for value in answer.values.values():
                return value
        raise _nobody(name, errors)


def _nobody(name: str, errors: Mapping[str, StoreError]) -> StoreError:
    """Missing only when every remote answered that."""
    if all(isinstance(one, Missing) for one in errors.values()):
        return Missing(f"{name} is on none of the remotes {', '.join(errors)}.")
    away = {key: one for key, one in errors.items() if not isinstance(one, Missing)}
    return Unavailable(str(joined(away, f"{name} may be on a remote that cannot be read.")))
