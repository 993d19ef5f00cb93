"""n2s with keys that cost little to open: what a key should cost is the matter of tests/keys alone.

As a program it is n2s; a store that it prepares is cheap for whoever opens it afterwards.
"""

import time
from collections.abc import Callable
from typing import Any

from n2s_core.app import costing
from n2s_core.app.workspace import Workspace
from n2s_core.cli import main
from n2s_core.keys import KdfCost

CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
WAIT_S = 0.05
"""Longer than the grain of timestamps: what a test edited before a push is not too new for it."""
_begin_keyring = Workspace.begin_keyring


def _begin_later(space: Workspace) -> None:
    time.sleep(WAIT_S)
    _begin_keyring(space)


def make_cheap(patch: Callable[[object, str, Any], None]) -> None:
    """New keys cost so little in this process, and pushes begin no sooner for that."""
    patch(costing, "DEFAULT_COST", CHEAP)
    patch(Workspace, "begin_keyring", _begin_later)


if __name__ == "__main__":
    make_cheap(setattr)
    main()
