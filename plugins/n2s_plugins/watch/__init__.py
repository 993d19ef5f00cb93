"""Discovery by watching: a journal of inotify events, kept while `n2s watch` runs.

Options: `max-changes=N` walks the tree when more paths than that changed since the push before;
the default is a quarter of what the tree holds.
"""

from collections.abc import Iterable

from n2s_plugins import hookimpl
from n2s_plugins.watch.plugin import Watch

__all__ = ["Watch", "n2s_discoverers"]


@hookimpl
def n2s_discoverers() -> Iterable[Watch]:
    """One discoverer, called watch."""
    return [Watch()]
