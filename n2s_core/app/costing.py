"""What a guess at a passphrase costs: Argon2id, measured on this machine."""

import os
import time
from collections.abc import Callable

from n2s_core.errors import UsageError
from n2s_core.keys import DEFAULT_COST, MOST_ITERATIONS, KdfCost, derive

AIM_S = 0.75
MOST_S = 10.0
MOST_KIB = 1 << 20
SHARE_OF_MEMORY = 8
TRIES = 3
SHORTEST_S = 1e-3


def measured(aim_s: float, *, clock: Callable[[], float] = time.perf_counter) -> KdfCost:
    """A cost that takes about `aim_s` seconds here, and never less than the default.

    The fastest of some tries counts, because a busy machine would make a weak key.
    Memory comes first, because it costs an attacker more than passes; but no more than an eighth
    of this machine's, nor than 1 GiB, so that a smaller machine can restore. Raises UsageError.
    """
    if not 0 <= aim_s <= MOST_S:
        message = f"--kdf-time is in seconds, from 0 (the default cost) to {MOST_S:g}."
        raise UsageError(message)
    if not aim_s:
        return DEFAULT_COST
    fastest = min(_once(clock) for _ in range(TRIES))
    return scaled(aim_s / max(fastest, SHORTEST_S), memory_kib() // SHARE_OF_MEMORY)


def _once(clock: Callable[[], float]) -> float:
    began = clock()
    derive("how long does it take", os.urandom(16), DEFAULT_COST)
    return clock() - began


def scaled(factor: float, most_kib: int) -> KdfCost:
    """About `factor` times the default cost with at most `most_kib` KiB; never below the default.

    Lanes stay as they are, because another machine may have fewer processors.
    """
    least = DEFAULT_COST.memory_kib
    memory = int(max(least, min(least * factor, most_kib, MOST_KIB)))
    rest = factor * least / memory
    passes = int(DEFAULT_COST.iterations * max(rest, 1.0))
    return KdfCost(memory, min(passes, MOST_ITERATIONS), DEFAULT_COST.lanes)


def memory_kib() -> int:
    """The memory of this machine in KiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 10
