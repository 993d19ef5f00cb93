"""n2s: backup that asks the filesystem what changed.

The public functions and answers are found here by name; nothing is imported before it is asked
for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from n2s_core.app.api import N2sError as N2sError
    from n2s_core.app.api import doctor as doctor
    from n2s_core.app.api import init as init
    from n2s_core.app.api import list_plugins as list_plugins
    from n2s_core.app.api import pull as pull
    from n2s_core.app.api import push as push
    from n2s_core.app.api import rebuild as rebuild
    from n2s_core.app.api import recover as recover
    from n2s_core.app.api import verify as verify
    from n2s_core.app.api import watch as watch
    from n2s_core.app.asking import changesets as changesets
    from n2s_core.app.asking import history as history
    from n2s_core.app.asking import list_files as list_files
    from n2s_core.app.asking import search as search
    from n2s_core.app.asking import where as where
    from n2s_core.app.diffing import diff as diff
    from n2s_core.app.keeping import bring_back as bring_back
    from n2s_core.app.keeping import forget as forget
    from n2s_core.app.keeping import pin as pin
    from n2s_core.app.keeping import prune as prune
    from n2s_core.app.keeping import reconcile as reconcile
    from n2s_core.app.keeping import tag as tag
    from n2s_core.app.keeping import unpin as unpin
    from n2s_core.app.standing import status as status
    from n2s_core.version import __version__ as __version__

__all__ = [
    "N2sError",
    "__version__",
    "bring_back",
    "changesets",
    "diff",
    "doctor",
    "forget",
    "history",
    "init",
    "list_files",
    "list_plugins",
    "pin",
    "prune",
    "pull",
    "push",
    "rebuild",
    "reconcile",
    "recover",
    "search",
    "status",
    "tag",
    "unpin",
    "verify",
    "watch",
    "where",
]
_ASKING = frozenset({"changesets", "history", "list_files", "search", "where"})
_KEEPING = frozenset({"bring_back", "forget", "pin", "prune", "reconcile", "tag", "unpin"})


def __getattr__(name: str) -> object:
    """A public name, imported now (PEP 562)."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    if name == "__version__":
        version: str = import_module("n2s_core.version").__version__
        return version
    rooms = (
        ("standing", {"status"}), ("asking", _ASKING), ("keeping", _KEEPING), ("diffing", {"diff"}),
    )  # fmt: skip
    room = next((room for room, names in rooms if name in names), "api")
    module = f"n2s_core.app.{room}"
    found: object = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    """The public names too."""
    return sorted({*globals(), *__all__})
