"""Discovery in dsg repositories."""

from collections.abc import Iterable

from n2s_plugins import hookimpl
from n2s_plugins.dsg.plugin import Dsg


@hookimpl
def n2s_discoverers() -> Iterable[Dsg]:
    """One discoverer, called dsg."""
    return [Dsg()]
