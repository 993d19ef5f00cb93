"""n2s: backup that asks the filesystem what changed.

The public functions and answers are found here by name; nothing is imported before it is asked
for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from n2s_core.app.api import doctor as doctor
    from n2s_core.app.api import init as init
    from n2s_core.app.api import plugins as plugins
    from n2s_core.app.api import pull as pull
    from n2s_core.app.api import push as push
    from n2s_core.app.api import rebuild as rebuild
    from n2s_core.app.api import recover as recover
    from n2s_core.app.api import verify as verify
    from n2s_core.app.asking import changesets as changesets
    from n2s_core.app.asking import diff as diff
    from n2s_core.app.asking import history as history
    from n2s_core.app.asking import list_files as list_files
    from n2s_core.app.asking import search as search
    from n2s_core.app.asking import status as status
    from n2s_core.app.asking import where as where
    from n2s_core.errors import N2sError as N2sError

__version__ = "0.1.0"
__all__ = [
    "N2sError",
    "__version__",
    "changesets",
    "diff",
    "doctor",
    "history",
    "init",
    "list_files",
    "plugins",
    "pull",
    "push",
    "rebuild",
    "recover",
    "search",
    "status",
    "verify",
    "where",
]
_ASKING = frozenset({"changesets", "diff", "history", "list_files", "search", "status", "where"})


def __getattr__(name: str) -> object:
    """A public name, imported now (PEP 562)."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    if name == "N2sError":
        module = "n2s_core.errors"
    else:
        module = "n2s_core.app.asking" if name in _ASKING else "n2s_core.app.api"
    found: object = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    """The public names too."""
    return sorted({*globals(), *__all__})
