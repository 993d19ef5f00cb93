"""The remotes of one store: asked side by side, each in its own thread and with a time limit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Generic, Protocol, TypeVar

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.model import Debt
from n2s_core.ports import Addressed, Roomy, Store
from n2s_core.remotes import RemoteSet, RemoteTable
from n2s_core.stores.health import Health
from n2s_core.stores.room import Room
from n2s_core.stores.spec import TIMEOUT_S

WHOLE_BYTES = 16 << 20
SLOWEST_BYTES_PER_S = 64 << 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Remote:
    """One of the remotes. A disk that is full takes nothing and can be read: two healths."""

    table: RemoteTable
    store: Store
    puts: Health = field(default_factory=Health)
    gets: Health = field(default_factory=Health)
    room: Room = field(default_factory=Room)

    @property
    def name(self) -> str:
        """As the user calls it."""
        return self.table.name

    @property
    def is_away(self) -> bool | None:
        """Whether nobody answered the last call; None when there was none.

        What can be read is there, whatever became of the puts.
        """
        return self.puts.is_away if self.gets.is_away is None else self.gets.is_away


@dataclass(frozen=True, slots=True)
class Answers(Generic[_T]):
    """What became of one call: values and errors by the name of the remote."""

    values: Mapping[str, _T]
    errors: Mapping[str, StoreError]


@dataclass(frozen=True, slots=True)
class Mended:
    """What writing an object again came to: bytes that were written, and what is still owed.

    Nothing but `debts` is owed of the object by the remotes `settled`.
    """

    size: int
    settled: frozenset[str]
    debts: tuple[Debt, ...]


class SetStore(Store, Protocol):
    """A store on several remotes: what it can do beyond the port.

    `form` says in words how objects lie on the remotes; with another one they lie otherwise.
    """

    fleet: "Fleet"
    form: str

    def lacking(self, name: str, size: int, holders: Mapping[str, int]) -> dict[str, str]:
        """By remote, what is wrong with an object of `size` bytes, judged by listings.

        `holders` are sizes by remote; every remote that is healthy enough was asked.
        """

    def is_movable(self, name: str) -> bool:
        """Whether what one remote should have of an object may be made anew on another."""

    def examine(self, remote: str, name: str) -> str:
        """Read what one remote has of an object; what is wrong with it, "" when it is whole."""

    def mend(self, name: str, lacking: Iterable[str]) -> Mended:
        """Write an object again where it is lacking or damaged, from what the others have.

        Raises Missing, Unavailable or DamageError when the others do not have enough of it.
        """


class Fleet:
    """Asks remotes, remembers how they fare, and keeps what they owe until it is taken.

    A call that moves `size` bytes may take `limit_s` and the time of the slowest remote; of an
    object that is read whole nobody knows the size, so it gets that of a usual one.
    Threads are daemons: one that hangs in a call does not keep the program from ending, and the
    call that waited for it goes on without it. Owns the stores.
    """

    def __init__(
        self,
        remotes: Sequence[Remote],
        *,
        limit_s: float = TIMEOUT_S,
        slowest_bytes_per_s: float = SLOWEST_BYTES_PER_S,
    ) -> None:
        self.remotes = tuple(sorted(remotes, key=lambda one: one.table.priority))
        self._limit_s = limit_s
        self._slowest_bytes_per_s = slowest_bytes_per_s
        self._debts: list[Debt] = []
        self._lock = Lock()

    def named(self, name: str) -> Remote:
        """One of them."""
        return next(one for one in self.remotes if one.name == name)

    def readable(self) -> list[Remote]:
        """All of them, those that are healthy first, each kind in the order of priority."""
        return sorted(self.remotes, key=lambda one: not one.gets.may_work())

    def listable(self) -> list[Remote]:
        """The healthy ones, or all: a listing of many folders does not wait for the others."""
        healthy = [one for one in self.remotes if one.gets.may_work()]
        return healthy or list(self.remotes)

    def writable(self, *, at_least: int, size: int) -> list[Remote]:
        """Those that get new objects of `size` bytes, or all when these are too few.

        They are healthy and, as far as they can be asked, have room.
        """
        healthy = [one for one in self.remotes if one.puts.may_work()]
        self._ask_for_room(healthy, size)
        found = [one for one in healthy if one.puts.may_work() and one.room.is_enough(size)]
        return found if len(found) >= at_least else list(self.remotes)

    def _ask_for_room(self, remotes: Sequence[Remote], size: int) -> None:
        """What was asked some minutes ago is asked again; who hangs gets no work.

        That one is away otherwise is for the put to find out.
        """
        asked = [one for one in remotes if one.room.is_old(size)]
        if not asked:
            return
        found, errors = self._ask(asked, _free_bytes, 0)
        for remote, free_bytes in found:
            remote.room.note(free_bytes)
        for remote, error in errors:
            remote.room.note(None)
            if isinstance(error, HungError):
                remote.puts.failed(str(error), hung=True)

    def get(
        self, remotes: Iterable[Remote], call: Callable[[Remote], _T], *, size: int = 0
    ) -> Answers[_T]:
        """Ask for something that changes nothing; `size` is how many bytes may come."""
        found, errors = self._ask(list(remotes), call, size)
        for remote, error in errors:
            if isinstance(error, Missing):
                remote.gets.succeeded()
            else:
                remote.gets.failed(str(error), hung=isinstance(error, HungError))
                remote.gets.is_away = isinstance(error, Unavailable)
        for remote, _ in found:
            remote.gets.succeeded()
        return _answers(found, errors)

    def put(
        self, remotes: Iterable[Remote], call: Callable[[Remote], _T], *, size: int
    ) -> Answers[_T]:
        """Ask for something to be kept."""
        found, errors = self._ask(list(remotes), call, size)
        for remote, error in errors:
            remote.room.forget()
            remote.puts.failed(str(error), hung=isinstance(error, HungError))
            remote.puts.is_away = isinstance(error, Unavailable)
        for remote, _ in found:
            remote.room.take(size)
            remote.puts.succeeded()
        return _answers(found, errors)

    def addresses(self) -> dict[str, str]:
        """By URL of a remote, the URL of its present state, of those that say it."""
        found, _ = self._ask(list(self.remotes), _address, 0)
        return {remote.table.url: address for remote, address in found if address is not None}

    def owe(self, debts: Iterable[Debt]) -> None:
        """Keep these until they are taken."""
        with self._lock:
            self._debts.extend(debts)

    def take_debts(self, name: str | None = None) -> list[Debt]:
        """What is owed, of one object or of all; each is given once."""
        with self._lock:
            taken = [one for one in self._debts if name is None or one.name == name]
            self._debts = [one for one in self._debts if name is not None and one.name != name]
        return taken

    def close(self) -> None:
        """Close every store."""
        for one in self.remotes:
            one.store.close()

    def _ask(
        self, remotes: list[Remote], call: Callable[[Remote], _T], size: int
    ) -> tuple[list[tuple[Remote, _T]], list[tuple[Remote, StoreError]]]:
        limit_s = self._limit_s + size / self._slowest_bytes_per_s
        asked = [(one, _begin(call, one)) for one in remotes]
        wait([future for _, future in asked], timeout=limit_s)
        found: list[tuple[Remote, _T]] = []
        errors: list[tuple[Remote, StoreError]] = []
        for one, future in asked:
            if not future.done():
                message = f"The remote {one.name} did not finish within {limit_s:.0f} seconds."
                errors.append((one, HungError(message)))
                continue
            error = future.exception()
            if error is None:
                found.append((one, future.result()))
            elif isinstance(error, StoreError):
                errors.append((one, error))
            else:
                raise error
        return found, errors


def address_of(url: str, fleet: Fleet) -> str | None:
    """The set `url` with the remotes of the fleet at the places where their state can be read.

    One that does not say so now stays as it is; None when there is no other.
    """
    known = {one.url for one in RemoteSet.from_url(url).remotes}
    changed: dict[str, str] = {}
    for place, found in fleet.addresses().items():
        if found not in known:
            known.add(found)
            changed[place] = found
    if not changed:
        return None
    return RemoteSet.from_url(url).with_urls(lambda one: changed.get(one, one)).to_url()


def _free_bytes(remote: Remote) -> int | None:
    return remote.store.free_bytes() if isinstance(remote.store, Roomy) else None


def _address(remote: Remote) -> str | None:
    return remote.store.address() if isinstance(remote.store, Addressed) else None


class HungError(Unavailable):
    """A remote that did not even say no."""


def _begin(call: Callable[[Remote], _T], remote: Remote) -> "Future[_T]":
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call(remote))
        except BaseException as error:  # noqa: BLE001 - the future hands it to who waits
            future.set_exception(error)

    Thread(target=run, name=f"remote {remote.name}", daemon=True).start()
    return future


def _answers(
    found: list[tuple[Remote, _T]], errors: list[tuple[Remote, StoreError]]
) -> Answers[_T]:
    return Answers(
        {remote.name: value for remote, value in found},
        {remote.name: error for remote, error in errors},
    )


def joined(errors: Mapping[str, StoreError], message: str) -> StoreError:
    """One error for those of several remotes: which kind, and all their sentences.

    Missing when every remote says so; Refused when asking again helps with none of them.
    """
    kinds = {type(one) for one in errors.values()}
    text = " ".join([message, *(f"{name}: {one}" for name, one in errors.items())])
    if kinds <= {Missing}:
        return Missing(text)
    return Refused(text) if kinds <= {Refused, Missing} else Unavailable(text)
