"""Promise: the passphrase comes from the first place in the order of docs/keys.md that has one."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyrings.alt.file import PlaintextKeyring

from n2s_core.app import secrets
from n2s_core.app.secrets import NewPassphrase
from n2s_core.config import KeyTable
from n2s_core.errors import KeyProblem

NOBODY = KeyTable()


class LockedKeyring(fail.Keyring):
    """One that its owner did not unlock."""

    def get_password(self, service: str, username: str, msg: str | None = None) -> str | None:
        del service, username, msg
        message = "it is locked"
        raise keyring.errors.KeyringLocked(message)


@pytest.fixture(autouse=True)
def _without_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody has a passphrase, and there is no keyring."""
    for name in ("N2S_PASSPHRASE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.fixture
def in_a_file(tmp_path: Path) -> KeyringBackend:
    """A real keyring, in a file of the test."""
    found: KeyringBackend = PlaintextKeyring()
    vars(found)["file_path"] = str(tmp_path / "keyring")
    keyring.set_keyring(found)
    return found


def test_the_order_is_that_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_file: KeyringBackend
) -> None:
    in_a_file.set_password("n2s", "work", "from the keyring")
    files = {}
    for name in ("environment", "table", "n2s-passphrase"):
        files[name] = tmp_path / name
        files[name].write_text(f"from the file {name}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("N2S_PASSPHRASE", "from the environment")
    monkeypatch.setenv("N2S_PASSPHRASE_FILE", str(files["environment"]))
    monkeypatch.setenv("N2S_PASSPHRASE_COMMAND", "echo from its command")
    command = KeyTable(passphrase_command="echo from the command", keyring="work")
    both = KeyTable(
        passphrase_command="echo from the command",
        passphrase_file=str(files["table"]),
        keyring="work",
    )
    found = [secrets.passphrase(both)]
    for name in ("N2S_PASSPHRASE", "N2S_PASSPHRASE_FILE", "N2S_PASSPHRASE_COMMAND"):
        monkeypatch.delenv(name)
        found.append(secrets.passphrase(both))
    found.append(secrets.passphrase(command))
    found.append(secrets.passphrase(KeyTable(keyring="work")))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    found.append(secrets.passphrase(KeyTable(keyring="work")))
    assert found == [
        "from the environment",
        "from the file environment",
        "from its command",
        "from the file table",
        "from the command",
        "from the file n2s-passphrase",
        "from the keyring",
    ]


def test_the_entry_default_of_a_keyring_needs_no_configuration(in_a_file: KeyringBackend) -> None:
    assert secrets.given_passphrase(NOBODY) is None
    in_a_file.set_password("n2s", "default", "from the keyring")
    assert secrets.given_passphrase(NOBODY) == "from the keyring"
    assert secrets.given_passphrase(KeyTable(keyring="another")) is None


def test_no_keyring_is_no_error_and_a_locked_one_is() -> None:
    assert secrets.given_passphrase(NOBODY) is None
    keyring.set_keyring(LockedKeyring())  # type: ignore[no-untyped-call]
    with pytest.raises(KeyProblem, match="it is locked"):
        secrets.given_passphrase(NOBODY)


def test_without_the_package_only_who_names_an_entry_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert secrets.given_passphrase(NOBODY) is None
    with pytest.raises(KeyProblem, match="needs the package keyring"):
        secrets.given_passphrase(KeyTable(keyring="work"))


def test_a_service_without_that_credential_is_asked_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secrets.given_passphrase(NOBODY) is None
    (tmp_path / "n2s-passphrase").write_bytes(b"of a service")
    assert secrets.given_passphrase(NOBODY) == "of a service"


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"one\n", "one"),
        (b"one\r\n", "one"),
        (b"one\n\n", "one\n"),
        (b" one ", " one "),
        (b"\xff\xfe\n", b"\xff\xfe".decode("utf-8", "surrogateescape")),
        ("gr\u00fc\u00dfe".encode(), "gr\u00fc\u00dfe"),
    ],
)
def test_a_file_is_taken_as_it_is_but_for_the_end_of_its_line(
    tmp_path: Path, content: bytes, passphrase: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    table = KeyTable(passphrase_file=str(tmp_path / "file"))
    assert secrets.passphrase(table) == passphrase


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (KeyTable(passphrase_file="/no/such/file"), "/no/such/file cannot be read"),
        (KeyTable(passphrase_file="/dev/null"), "is empty"),
        (KeyTable(passphrase_command="true"), "is empty"),
        (KeyTable(passphrase_command="echo no >&2; exit 7"), "status 7: no"),
    ],
)
def test_a_place_that_gives_none_is_named_and_no_other_is_tried(
    table: KeyTable, sentence: str, in_a_file: KeyringBackend
) -> None:
    in_a_file.set_password("n2s", "default", "another")
    with pytest.raises(KeyProblem, match=sentence):
        secrets.passphrase(table)


def test_what_a_command_prints_is_in_no_error() -> None:
    with pytest.raises(KeyProblem) as caught:
        secrets.new_passphrase(NewPassphrase(command="echo hunter2; exit 1"))
    assert "hunter2" not in str(caught.value)


def test_without_any_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(KeyProblem, match="passphrase_command under"):
        secrets.passphrase(NOBODY)
