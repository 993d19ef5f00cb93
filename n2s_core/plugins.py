"""The plugin host: finds plugins, keeps a broken one from taking down the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

import pluggy

from n2s_core.errors import UsageError
from n2s_core.hookspecs import PROJECT, Hooks
from n2s_core.ports import Discoverer

GROUP = "n2s.plugins"
OWN = {name: f"n2s_plugins.{name}" for name in ("btrfs", "dsg", "find", "watch", "zfs")}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: what it offers, or why it could not be loaded."""

    name: str
    origin: str
    discoverers: tuple[str, ...]
    error: str | None


class Host:
    """The plugins of this installation."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._discoverers: dict[str, Discoverer] = {}
        self._plugins: list[Plugin] | None = None

    def discoverer(self, name: str) -> Discoverer:
        """The discoverer of this name. Raises UsageError, naming plugins that are broken.

        Those that come with n2s are imported directly; others are looked for only when asked for.
        """
        if name in OWN and name not in self._discoverers:
            self._load(name, OWN[name], "n2s")
        found = self._discoverers.get(name)
        if found is None:
            plugins = self.plugins()
            found = self._discoverers.get(name)
            if found is not None:
                return found
            mine = next((one.error for one in plugins if one.name == name and one.error), None)
            if mine is not None:
                message = f"The discovery plugin {name!r} could not be loaded: {mine}."
                raise UsageError(message)
            broken = [f"{one.name} ({one.error})" for one in plugins if one.error]
            message = (
                f"There is no discovery plugin {name!r}; there are"
                f" {', '.join(sorted(self._discoverers)) or 'none'}."
            )
            if broken:
                message += f" These could not be loaded: {'; '.join(broken)}."
            raise UsageError(message)
        return found

    def plugins(self) -> list[Plugin]:
        """All plugins of this installation, those included that are broken."""
        if self._plugins is None:
            from importlib.metadata import entry_points  # noqa: PLC0415 - 25 ms that a push need not pay

            self._plugins = []
            seen = set()
            for entry in entry_points(group=GROUP):
                seen.add(entry.name)
                origin = entry.dist.name if entry.dist is not None else "?"
                self._plugins.append(self._load(entry.name, entry.value, origin))
            for name, module in OWN.items():
                if name not in seen:
                    self._plugins.append(self._load(name, module, "n2s"))
        return self._plugins

    def _load(self, name: str, module: str, origin: str) -> Plugin:
        try:
            manager = pluggy.PluginManager(PROJECT)
            manager.add_hookspecs(Hooks)
            manager.register(import_module(module), name)
            manager.check_pending()
            answers: Iterable[Iterable[Discoverer]] = manager.hook.n2s_discoverers()
            found = [discoverer for answer in answers for discoverer in answer]
            for discoverer in found:
                if not isinstance(discoverer, Discoverer):
                    message = f"{discoverer!r} is not a discoverer"
                    raise TypeError(message)  # noqa: TRY301 - handled as any fault of the plugin
        except ModuleNotFoundError as error:
            extra = f"; install n2s[{name}]" if OWN.get(name) == module else ""
            return Plugin(name, origin, (), f"it needs the Python package {error.name!r}{extra}")
        except Exception as error:  # noqa: BLE001 - whatever a foreign module does, the host goes on
            return Plugin(name, origin, (), f"{type(error).__name__}: {error}")
        for discoverer in found:
            self._discoverers.setdefault(discoverer.name, discoverer)
        return Plugin(name, origin, tuple(one.name for one in found), None)
