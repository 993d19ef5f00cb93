"""Where the passphrase and the master key come from."""

import os
import sys
from pathlib import Path

from blake3 import blake3

from n2s_core import keys
from n2s_core.config import KeyTable
from n2s_core.errors import FormatError, KeyProblem, Missing
from n2s_core.layout import Shelf, parse_name
from n2s_core.ports import Store

COMMAND_LIMIT_S = 60


def passphrase(table: KeyTable, *, confirm: bool = False) -> str:
    """The passphrase from the environment, a file, a command or a prompt. Raises KeyProblem."""
    found = os.environ.get("N2S_PASSPHRASE")
    if found:
        return found
    file = os.environ.get("N2S_PASSPHRASE_FILE") or table.passphrase_file
    if file:
        return _from_file(Path(file).expanduser())
    if table.passphrase_command:
        return _from_command(table.passphrase_command)
    if not sys.stdin.isatty():
        message = (
            "No passphrase: set $N2S_PASSPHRASE or $N2S_PASSPHRASE_FILE, or passphrase_command"
            " under [key] in the configuration."
        )
        raise KeyProblem(message)
    import getpass  # noqa: PLC0415 - only who is asked pays for it

    typed = getpass.getpass("Passphrase of the store: ")
    if confirm and typed != getpass.getpass("The same once more: "):
        message = "The two passphrases differ; nothing was made."
        raise KeyProblem(message)
    return _not_empty(typed, "The passphrase")


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


def _from_command(command: str) -> str:
    """The first line that the user's own command prints; the user wrote it for a shell."""
    import subprocess  # noqa: PLC0415 - only who has a command pays for it

    try:
        done = subprocess.run(  # noqa: S602 - passphrase_command is the user's own shell line
            command, shell=True, check=False, capture_output=True, timeout=COMMAND_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        message = f"passphrase_command did not end within {COMMAND_LIMIT_S} s."
        raise KeyProblem(message) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        message = f"passphrase_command ended with status {done.returncode}: {reason}"
        raise KeyProblem(message)
    first = done.stdout.decode("utf-8", "surrogateescape").split("\n", 1)[0]
    return _not_empty(first, "What passphrase_command prints")


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
    """The master key in one of the key objects. Raises KeyProblem with what is wrong."""
    if not whole and not damaged:
        message = f"{where} has no key objects; it is not an n2s store, or its keys/ was lost."
        raise KeyProblem(message)
    broken = list(damaged)
    for digest, data in whole:
        try:
            found = keys.unwrap(data, secret)
        except FormatError as error:
            broken.append(f"keys/{digest.hex()} ({error})")
            continue
        if found is not None:
            return found
    if broken and len(broken) >= len(whole) + len(damaged):
        message = f"Every key object of {where} is damaged: {', '.join(broken)}."
        raise KeyProblem(message)
    hint = f" (damaged key objects: {', '.join(broken)})" if broken else ""
    message = f"The passphrase does not open any key of {where}{hint}."
    raise KeyProblem(message)
