"""The mark of the plugin: the snapshot that was the last one, and when that was looked at."""

from dataclasses import asdict, dataclass

import orjson

from n2s_core.model import Mark
from n2s_plugins.dsg.nofeed import NoFeed


@dataclass(frozen=True, slots=True)
class Seen:
    """`snapshot_hash` is "" when there was no manifest that could be believed.

    The name counts as well as the hash, since only both together say which snapshot it is.
    `looked_ns` is the time just before the tree was last looked at, in ns since 1970.
    """

    repository: str
    snapshot_hash: str
    looked_ns: int

    def as_mark(self) -> Mark:
        """Bytes for the core to keep."""
        return orjson.dumps(asdict(self))


def from_mark(mark: Mark) -> Seen:
    """What was kept. Raises NoFeed for bytes that are none of ours."""
    try:
        found = Seen(**orjson.loads(mark))
    except (ValueError, TypeError):
        found = Seen("", "", -1)
    if not isinstance(found.looked_ns, int) or found.looked_ns < 0:
        message = "The mark of the last push is not one of the dsg plugin."
        raise NoFeed(message)
    return found
