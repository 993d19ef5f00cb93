"""Stores over several remotes: remotes in memory whose calls go wrong, and the contract on them."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import pytest
from blake3 import blake3

from n2s_core.layout import Shelf, object_name
from n2s_core.ports import Store
from tests.contracts.store import Plant, StoreContract
from tests.fakes import Fault, FaultyStore, MemoryStore, Planned

BYTES = random.Random(1).randbytes(100_003)
RIGHT = object_name(Shelf.DATA, blake3(BYTES).digest())
ALWAYS = range(1, 400)
Schedule = Sequence[Planned | tuple[str, int, Fault]]


def each(fault: Fault, *methods: str) -> list[tuple[str, int, Fault]]:
    """Every call of these methods meets `fault`."""
    return [(method, nth, fault) for method in methods for nth in ALWAYS]


class Remotes:
    """Memories, each behind a store whose calls go wrong on schedule; `store` is over them all."""

    store: Store

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.memories = [MemoryStore(f"memory:{at}") for at in range(len(schedules))]
        self.faulty = [
            FaultyStore(memory, schedule)
            for memory, schedule in zip(self.memories, schedules, strict=True)
        ]

    def release(self) -> None:
        """End the calls that hang."""
        for one in self.faulty:
            one.released.set()


class SetContract(StoreContract, ABC):
    """The contract; a class that inherits it says over which remotes."""

    @abstractmethod
    def remotes(self) -> Remotes:
        """New ones, with nothing in them."""

    @pytest.fixture
    def bench(self) -> Iterator[Remotes]:
        made = self.remotes()
        yield made
        made.release()

    @pytest.fixture
    def store(self, bench: Remotes) -> Store:
        return bench.store

    @pytest.fixture
    def plant(self, bench: Remotes) -> Plant:
        """On every remote."""

        def plant(path: str, content: bytes) -> None:
            for memory in bench.memories:
                memory.objects[path] = content

        return plant
