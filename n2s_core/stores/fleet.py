"""The remotes of one store: asked side by side, each in its own thread and with a time limit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Generic, Protocol, TypeVar

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.model import Debt
from n2s_core.ports import Store
from n2s_core.remotes import RemoteTable
from n2s_core.stores.health import Health

LIMIT_S = 120.0
SLOWEST_BYTES_PER_S = 64 << 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Remote:
    """One of the remotes. A disk that is full takes nothing and can be read: two healths."""

    table: RemoteTable
    store: Store
    puts: Health = field(default_factory=Health)
    gets: Health = field(default_factory=Health)

    @property
    def name(self) -> str:
        """As the user calls it."""
        return self.table.name


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
    """A store on several remotes: what it can do beyond the port."""

    fleet: "Fleet"

    def lacking(self, name: str, size: int, holders: Mapping[str, int]) -> dict[str, str]:
        """By remote, what is wrong with an object of `size` bytes, judged by listings.

        `holders` are sizes by remote; every remote that is healthy enough was asked.
        """

    def examine(self, remote: str, name: str) -> str:
        """Read what one remote has of an object; what is wrong with it, "" when it is whole."""

    def mend(self, name: str, lacking: Iterable[str]) -> Mended:
        """Write an object again where it is lacking or damaged, from what the others have.

        Raises Missing, Unavailable or DamageError when the others do not have enough of it.
        """


class Fleet:
    """Asks remotes, remembers how they fare, and keeps what they owe until it is taken.

    Threads are daemons: one that hangs in a call does not keep the program from ending, and the
    call that waited for it goes on without it. Owns the stores.
    """

    def __init__(
        self,
        remotes: Sequence[Remote],
        *,
        limit_s: float = LIMIT_S,
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

    def writable(self, *, at_least: int) -> list[Remote]:
        """Those that get new objects: the healthy ones, or all when these are too few."""
        healthy = [one for one in self.remotes if one.puts.may_work()]
        return healthy if len(healthy) >= at_least else list(self.remotes)

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
        for remote, _ in found:
            remote.gets.succeeded()
        return _answers(found, errors)

    def put(
        self, remotes: Iterable[Remote], call: Callable[[Remote], _T], *, size: int
    ) -> Answers[_T]:
        """Ask for something to be kept."""
        found, errors = self._ask(list(remotes), call, size)
        for remote, error in errors:
            remote.puts.failed(str(error), hung=isinstance(error, HungError))
        for remote, _ in found:
            remote.puts.succeeded()
        return _answers(found, errors)

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
