"""Discovery by btrfs: what `btrfs send` says between two snapshots, without the data.

Options: `snapshot=PATH` pushes a read-only snapshot that somebody else took, `since=PATH` names the
one of the push before if it was moved. Without them a snapshot is taken of the root, in
`snapshots=FOLDER` (default `.n2s/snapshots` below the root), kept until the next push is stored.
"""

from collections.abc import Iterable

from n2s_plugins import hookimpl
from n2s_plugins.btrfs.plugin import Btrfs

__all__ = ["Btrfs", "n2s_discoverers"]


@hookimpl
def n2s_discoverers() -> Iterable[Btrfs]:
    """One discoverer, called btrfs."""
    return [Btrfs()]
