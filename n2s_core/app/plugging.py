"""`plugins`: what is installed, and whether it works for a dataset."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from n2s_core.app.answers import Json, PathLike
from n2s_core.app.api import path_of, workspace
from n2s_core.app.workspace import Workspace
from n2s_core.errors import ConfigError, DiscoveryError
from n2s_core.excludes import Excludes
from n2s_core.model import Source
from n2s_core.plugins import Host
from n2s_core.walking import walk


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """One plugin: `works` is None when it could not be asked, `error` says why not."""

    name: str
    origin: str
    discoverers: tuple[str, ...]
    works: bool
    error: str | None

    def to_json(self) -> Json:
        """The fields by name."""
        return {
            "name": self.name,
            "origin": self.origin,
            "discoverers": list(self.discoverers),
            "works": self.works,
            "error": self.error,
        }


def examine_plugins(root: PathLike | None, config: PathLike | None) -> list[PluginAnswer]:
    """Ask each plugin whether it works for the dataset, else for the directory `root` or `.`."""
    try:
        with workspace(root, config) as space:
            table = space.config.dataset
            return list(_plugins(space.root, table.name, table.using, dict(table.options)))
    except ConfigError:
        if config is not None:
            raise
        here = os.fsencode(path_of(root if root is not None else b".").absolute())
        return list(_plugins(here, "", "", {}))


def _plugins(
    root: bytes, dataset: str, using: str, options: dict[str, str]
) -> Iterator[PluginAnswer]:
    host = Host()
    for plugin in host.plugins():
        error = plugin.error
        for name in plugin.discoverers:
            source = Source(
                root=root,
                dataset=dataset,
                walk=lambda directory: walk(directory, Excludes(), lambda _path, _why: None),
                report=lambda _path, _why: None,
                options=options if name == using else {},
            )
            error = error or _check(host, name, source)
        yield PluginAnswer(plugin.name, plugin.origin, plugin.discoverers, error is None, error)


def _check(host: Host, name: str, source: Source) -> str | None:
    try:
        host.discoverer(name).check(source)
    except DiscoveryError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a foreign plugin may raise anything
        return f"{type(error).__name__}: {error}"
    return None


def problem_here(space: Workspace) -> str | None:
    """Why the plugin of a dataset does not work for it. Raises UsageError when there is none."""
    table = space.config.dataset
    host = Host()
    host.discoverer(table.using)
    source = Source(
        root=space.root,
        dataset=table.name,
        walk=lambda directory: walk(directory, space.excludes(), lambda _path, _why: None),
        report=lambda _path, _why: None,
        options=dict(table.options),
    )
    return _check(host, table.using, source)
