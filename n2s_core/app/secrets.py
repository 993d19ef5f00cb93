"""Where the passphrase and the master key come from."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from n2s_core import keys
from n2s_core.config import KeyTable
from n2s_core.errors import FormatError, KeyProblem, Missing
from n2s_core.layout import Shelf, object_name, parse_name
from n2s_core.ports import Store

COMMAND_LIMIT_S = 60
COMMAND_VARIABLE = "N2S_PASSPHRASE_COMMAND"
CREDENTIAL = "n2s-passphrase"
KEYRING_SERVICE = "n2s"
KEYRING_ENTRY = "default"


@dataclass(frozen=True, slots=True)
class NewPassphrase:
    """Where a new passphrase comes from; with neither it is asked for twice at a terminal."""

    file: str | None = None
    command: str | None = None


def passphrase(table: KeyTable, *, confirm: bool = False) -> str:
    """The passphrase from the first place that has one. Raises KeyProblem.

    The environment, the configuration, a credential of systemd, the keyring of the desktop, and
    last whoever sits at the terminal.
    """
    found = given_passphrase(table)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        message = (
            "No passphrase: set $N2S_PASSPHRASE, $N2S_PASSPHRASE_FILE or $N2S_PASSPHRASE_COMMAND,"
            " or passphrase_file or passphrase_command under [key] in the configuration."
        )
        raise KeyProblem(message)
    return _ask("Passphrase of the store: ", confirm=confirm)


def given_passphrase(table: KeyTable) -> str | None:
    """The passphrase when it can be had without asking a person. Raises KeyProblem."""
    get = os.environ.get
    if said := get("N2S_PASSPHRASE"):
        return said
    for file, command, who in (
        (get("N2S_PASSPHRASE_FILE"), get(COMMAND_VARIABLE), f"${COMMAND_VARIABLE}"),
        (table.passphrase_file, table.passphrase_command, "passphrase_command"),
    ):
        if file:
            return _from_file(Path(file).expanduser())
        if command:
            return _from_command(command, who)
    credential = _credential()
    if credential is not None:
        return _from_file(credential)
    return _from_keyring(table.keyring)


def names_a_source(table: KeyTable) -> bool:
    """Whether somebody said where the passphrase or the key is; nothing is read or asked."""
    names = ("N2S_PASSPHRASE", "N2S_PASSPHRASE_FILE", COMMAND_VARIABLE)
    told = (table.passphrase_file, table.passphrase_command, table.key_file, table.keyring)
    return any(map(os.environ.get, names)) or any(told) or _credential() is not None


def new_passphrase(source: NewPassphrase) -> str:
    """A passphrase for a new key object. Raises KeyProblem."""
    if source.file is not None and source.command is not None:
        message = "The new passphrase comes from a file or from a command, not from both."
        raise KeyProblem(message)
    if source.file is not None:
        return _from_file(Path(source.file).expanduser())
    if source.command is not None:
        return _from_command(source.command, "--new-passphrase-command")
    if not sys.stdin.isatty():
        message = (
            "There is nobody to ask for the new passphrase: give --new-passphrase-file or"
            " --new-passphrase-command."
        )
        raise KeyProblem(message)
    return _ask("New passphrase: ", confirm=True)


def _ask(prompt: str, *, confirm: bool) -> str:
    import getpass  # noqa: PLC0415 - only who is asked pays for it

    try:
        typed = getpass.getpass(prompt)
        again = getpass.getpass("The same once more: ") if confirm else typed
    except EOFError:
        message = "The passphrase was not typed."
        raise KeyProblem(message) from None
    if typed != again:
        message = "The two passphrases differ; nothing was made."
        raise KeyProblem(message)
    return _not_empty(typed, "The passphrase")


def _credential() -> Path | None:
    """What `LoadCredential=n2s-passphrase:FILE` gives a service of systemd."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL if folder else None
    return path if path is not None and path.exists() else None


def _from_keyring(entry: str) -> str | None:
    """From the keyring of the desktop, if its package is installed and it is there at all."""
    import importlib.util  # noqa: PLC0415 - only who has no passphrase elsewhere looks for it

    if importlib.util.find_spec("keyring") is None:
        if not entry:
            return None
        message = "[key] keyring needs the package keyring: pip install n2s[keyring]."
        raise KeyProblem(message)
    import keyring  # noqa: PLC0415 - optional, and slow to import
    import keyring.errors  # noqa: PLC0415

    try:
        return keyring.get_password(KEYRING_SERVICE, entry or KEYRING_ENTRY)
    except keyring.errors.NoKeyringError:
        return None
    except keyring.errors.KeyringError as error:
        message = f"The keyring does not give the passphrase: {error}."
        raise KeyProblem(message) from error


def _not_empty(text: str, what: str) -> str:
    if not text:
        message = f"{what} is empty."
        raise KeyProblem(message)
    return text


def _from_file(path: Path) -> str:
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        message = f"The passphrase file {path} cannot be read: {error.strerror}."
        raise KeyProblem(message) from error
    return _not_empty(text.removesuffix("\n").removesuffix("\r"), f"The passphrase in {path}")


def _from_command(command: str, who: str) -> str:
    """The first line that the user's own command prints; the user wrote it for a shell."""
    import subprocess  # noqa: PLC0415 - only who has a command pays for it

    try:
        done = subprocess.run(  # noqa: S602 - the user's own shell line
            command, shell=True, check=False, capture_output=True, timeout=COMMAND_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        message = f"{who} did not end within {COMMAND_LIMIT_S} s."
        raise KeyProblem(message) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        message = f"{who} ended with status {done.returncode}: {reason}"
        raise KeyProblem(message)
    first = done.stdout.decode("utf-8", "surrogateescape").split("\n", 1)[0]
    return _not_empty(first.removesuffix("\r"), f"What {who} prints")


def key_objects(store: Store) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """Digest and bytes of the whole key objects of a store, and the names of damaged ones."""
    whole, damaged = [], []
    for found in store.list(Shelf.KEYS.value):
        parsed = parse_name(found.name)
        if parsed is None:
            continue
        try:
            data = store.get(found.name)
        except Missing:
            continue
        if blake3(data).digest() == parsed[1]:
            whole.append((parsed[1], data))
        else:
            damaged.append(found.name)
    return whole, damaged


def unlock(
    whole: list[tuple[bytes, bytes]], damaged: list[str], secret: str, *, where: str
) -> bytes:
    """The master key in one of the key objects. Raises KeyProblem with what is wrong.

    The cheapest to try is tried first, so a strong one beside it costs nobody anything; of those
    that cost the same the newest, because it took the place of the others.
    """
    if not whole and not damaged:
        message = f"{where} has no key objects; it is not an n2s store, or its keys/ was lost."
        raise KeyProblem(message)
    broken = list(damaged)
    for _, _, name, data in sorted(_by_cost(whole, broken)):
        try:
            found = keys.unwrap(data, secret)
        except FormatError as error:
            broken.append(f"{name} ({error})")
            continue
        if found is not None:
            return found
    if broken and len(broken) >= len(whole) + len(damaged):
        message = (
            f"Every key object of {where} is damaged: {', '.join(broken)}."
            " A key file or a key page brings it back: 'n2s key import'."
        )
        raise KeyProblem(message)
    hint = f" (damaged key objects: {', '.join(broken)})" if broken else ""
    message = f"The passphrase does not open any key of {where}{hint}."
    raise KeyProblem(message)


def _by_cost(
    whole: list[tuple[bytes, bytes]], broken: list[str]
) -> Iterator[tuple[int, int, str, bytes]]:
    """Cost, age (less is newer), name, bytes of each key object; damaged ones go to `broken`."""
    for digest, data in whole:
        name = object_name(Shelf.KEYS, digest)
        if blake3(data).digest() != digest:
            broken.append(name)
            continue
        try:
            facts = keys.describe(data)
        except FormatError as error:
            broken.append(f"{name} ({error})")
        else:
            cost = facts.cost.memory_kib * facts.cost.iterations
            yield cost, -(facts.created_ns or 0), name, data
