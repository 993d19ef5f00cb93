"""The hooks that plugins implement."""

from collections.abc import Iterable

import pluggy

from n2s_core.ports import Discoverer

PROJECT = "n2s"
hookspec = pluggy.HookspecMarker(PROJECT)


class Hooks:
    """Every hook collects the answers of all plugins."""

    @hookspec
    def n2s_discoverers(self) -> Iterable[Discoverer]:
        """The discoverers that this plugin offers."""
        raise NotImplementedError
