"""The audit of feeds: a share of the tree is compared although no discoverer named it.

Each push goes on where the one before it ended, so that in time every path has been compared.
"""

from dataclasses import dataclass

LEAST = 1000
SHARE = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """How many paths were looked at, and how many of them the feed should have named."""

    looked: int = 0
    missed: int = 0


def audited_span(live_files: int) -> int:
    """How many live paths one push looks at: a thousandth of them, but a thousand at least."""
    return max(LEAST, live_files // SHARE)
