"""Discovery by what ZFS says of two snapshots of one dataset.

`feed=send` (default) reads the headers of `zfs send -i`; `feed=diff` asks `zfs diff`.

Options: `snapshot=POOL/DS@NAME` reads from a snapshot that somebody else takes. Without it the
plugin takes its own, called `PREFIX-TIME` (`prefix=n2s`), and keeps the `keep=2` newest of them
beside the one that the mark needs. `max-changes=N` and `max-minutes=N` say when ZFS is
stopped and the snapshot walked instead; by default that is when it costs about as much as a walk.
"""

from collections.abc import Iterable

from n2s_plugins import hookimpl
from n2s_plugins.zfs.plugin import ZfsDiff


@hookimpl
def n2s_discoverers() -> Iterable[ZfsDiff]:
    """One discoverer, called zfs."""
    return [ZfsDiff()]
