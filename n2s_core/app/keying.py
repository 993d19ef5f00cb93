"""Which action of `key` is meant, and whether the rest of the order fits it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from n2s_core.app import key_actions
from n2s_core.app.key_actions import NewKey
from n2s_core.app.key_objects import KeyAnswer
from n2s_core.app.secrets import NewPassphrase
from n2s_core.app.workspace import Workspace
from n2s_core.errors import UsageError

LIST, ADD, REMOVE, CHANGE, EXPORT, IMPORT = (
    "list", "add", "remove", "change-passphrase", "export", "import",
)  # fmt: skip
_MAKING = frozenset({
    "label", "new_passphrase_file", "new_passphrase_command", "kdf_s",
})  # fmt: skip
ACTIONS = {
    LIST: frozenset[str](),
    ADD: _MAKING,
    REMOVE: frozenset({"what"}),
    CHANGE: _MAKING,
    EXPORT: frozenset({"what", "paper", "push_credential"}),
    IMPORT: _MAKING | {"what", "store"},
}


LONGEST_LABEL = 1000


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What the user wants of `key`; None: not said. `what` is the id, or the file of a key."""

    what: str | None = None
    label: str | None = None
    new_passphrase_file: str | None = None
    new_passphrase_command: str | None = None
    kdf_s: float | None = None
    paper: str | None = None
    push_credential: str | None = None
    store: str | None = None

    @property
    def new(self) -> NewKey:
        """How a new key object is made."""
        source = NewPassphrase(self.new_passphrase_file, self.new_passphrase_command)
        return NewKey(source, self.label, self.kdf_s)


def run(
    action: str, order: KeyOrder, workspace: Callable[[], AbstractContextManager[Workspace]]
) -> KeyAnswer:
    """Do it. Raises N2sError."""
    _judge(action, order)
    if action == IMPORT and order.store is not None:
        return key_actions.import_key_into(order.store, order.what or "", order.new)
    with workspace() as space:
        return _run(action, order, space)


def _run(action: str, order: KeyOrder, space: Workspace) -> KeyAnswer:
    what, new = order.what or "", order.new
    if action == EXPORT:
        if order.push_credential is not None:
            return key_actions.export_credential(space, order.push_credential)
        return key_actions.export_key(space, file=order.what, paper=order.paper)
    doing: dict[str, Callable[[], KeyAnswer]] = {
        LIST: lambda: key_actions.list_keys(space),
        ADD: lambda: key_actions.add_key(space, new),
        REMOVE: lambda: key_actions.remove_key(space, what),
        CHANGE: lambda: key_actions.change_passphrase(space, new),
        IMPORT: lambda: key_actions.import_key(space, what, new),
    }
    return doing[action]()


def _judge(action: str, order: KeyOrder) -> None:
    """Raises UsageError for what does not exist, or does not go together."""
    if action not in ACTIONS:
        message = f"There is no action {action!r}; there are {', '.join(ACTIONS)}."
        raise UsageError(message)
    said = {name for name in order.__slots__ if getattr(order, name) is not None}
    if strange := sorted(said - ACTIONS[action]):
        message = f"'key {action}' takes no {_word(strange[0])}."
        raise UsageError(message)
    if order.label is not None and not _is_short_text(order.label):
        message = f"--label takes UTF-8 text of {LONGEST_LABEL} bytes at most."
    elif action == REMOVE and not order.what:
        message = "'key remove' needs the id of a key, or the beginning of one."
    elif action == IMPORT and not order.what:
        message = "'key import' needs a key file, or a file with the words of a key page."
    elif action == EXPORT and not said:
        message = "'key export' needs a FILE, --paper FILE, or --push-credential FILE."
    elif action == EXPORT and "push_credential" in said and len(said) > 1:
        message = "--push-credential goes alone: it is for a machine that must not have the key."
    else:
        return
    raise UsageError(message)


def _is_short_text(text: str) -> bool:
    try:
        return len(text.encode()) <= LONGEST_LABEL
    except UnicodeEncodeError:
        return False


def _word(name: str) -> str:
    """As it is called on the command line."""
    return {"what": "argument", "kdf_s": "--kdf-time"}.get(name, f"--{name.replace('_', '-')}")
