"""n2s with keys that cost little to open: what a key should cost is the matter of tests/keys alone.

As a program it is n2s; a store that it prepares is cheap for whoever opens it afterwards.
"""

from collections.abc import Callable
from typing import Any

from n2s_core.app import costing
from n2s_core.cli import main
from n2s_core.keys import KdfCost

CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)


def make_cheap(patch: Callable[[object, str, Any], None]) -> None:
    """New keys cost so little in this process."""
    patch(costing, "DEFAULT_COST", CHEAP)


if __name__ == "__main__":
    make_cheap(setattr)
    main()
