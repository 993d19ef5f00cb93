"""Promise: what is printed or exported gives the key back, and a mistake in it is named."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from n2s_core import keypage
from n2s_core.app.key_page import page_text, write_page
from n2s_core.credentials import PushCredential, parse_credential, read_credential
from n2s_core.errors import KeyProblem, UsageError
from tests.conftest import RECOVER

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "keys-1.json").read_text("ascii")
)
MASTER = bytes.fromhex(VECTORS["master_key"])
KEYS = st.binary(min_size=32, max_size=32)
FORMS: dict[str, Callable[[bytes], str]] = {
    "key file": keypage.key_file_text,
    "lines": lambda key: "\n".join(keypage.key_lines(key)),
    "lines, as people type": lambda key: "\r\n".join(keypage.key_lines(key)).upper(),
    "words": lambda key: " ".join(keypage.key_words(key)),
    "words in capitals, one a line": lambda key: "\n".join(keypage.key_words(key)).upper(),
    "beginnings of words": lambda key: " ".join(word[:4] for word in keypage.key_words(key)),
    "page": lambda key: page_text(key, "file:/somewhere"),
}


def recover_program() -> ModuleType:
    """contrib/recover.py, which knows the format page alone."""
    spec = importlib.util.spec_from_file_location("recover_of_keys", RECOVER)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # its dataclasses look there
    spec.loader.exec_module(found)
    return found


def word_list(folder: Path) -> Path:
    import mnemonic  # noqa: PLC0415 - its list, for a program that does not know the library

    listed = folder / "english.txt"
    listed.write_text("\n".join(mnemonic.Mnemonic("english").wordlist))
    return listed


def test_the_forms_of_a_key_never_change() -> None:
    assert keypage.key_file_text(MASTER) == VECTORS["key_file"]
    assert keypage.key_lines(MASTER) == VECTORS["lines"]
    assert keypage.key_words(MASTER) == VECTORS["words"]


@pytest.mark.parametrize("form", FORMS)
@given(key=KEYS)
@settings(deadline=None, max_examples=20)
def test_every_form_gives_the_key_back(form: str, key: bytes) -> None:
    assert keypage.parse_key(FORMS[form](key)) == key


def test_the_program_of_the_format_page_reads_the_same(tmp_path: Path) -> None:
    recover, listed = recover_program(), word_list(tmp_path)
    for name, form in FORMS.items():
        if name == "beginnings of words":
            continue
        file = tmp_path / "key"
        file.write_text(form(MASTER))
        words = listed if name.startswith("words") else None
        assert recover.master_from_file(file, words) == MASTER, name


@given(line=st.integers(0, 3), at=st.integers(3, 23), digit=st.sampled_from("0123456789abcdef"))
@settings(derandomize=True, max_examples=300)
def test_a_wrong_digit_is_found_and_its_line_named(line: int, at: int, digit: str) -> None:
    lines = keypage.key_lines(MASTER)
    old = lines[line]
    if old[at] in " -" or old[at] == digit:
        return
    lines[line] = old[:at] + digit + old[at + 1 :]
    with pytest.raises(KeyProblem, match=f"Line {line + 1} does not fit"):
        keypage.parse_key("\n".join(lines))


def test_lines_that_changed_places_or_are_missing_are_named() -> None:
    one, two, three, four = keypage.key_lines(MASTER)
    with pytest.raises(KeyProblem, match="Line 1 "):
        keypage.parse_key("\n".join(["1" + two[1:], "2" + one[1:], three, four]))
    with pytest.raises(KeyProblem, match=r"3: cannot be found"):
        keypage.parse_key(f"{one}\n{two}\n{four}")
    assert keypage.parse_key(f"{four}\n{two}\n{one}\n{three}") == MASTER


def test_wrong_words_are_named_and_not_repeated() -> None:
    words = keypage.key_words(MASTER)
    with pytest.raises(KeyProblem, match="Word 2 is not in the list") as caught:
        keypage.parse_key(" ".join([words[0], "hunter", *words[2:]]))
    assert "hunter" not in str(caught.value)
    with pytest.raises(KeyProblem, match="do not fit together"):
        keypage.parse_key(" ".join([words[1], words[0], *words[2:]]))
    with pytest.raises(KeyProblem, match="23 words"):
        keypage.parse_key(" ".join(words[:-1]))


def test_a_page_with_a_mistake_in_one_form_still_gives_the_key() -> None:
    page = page_text(MASTER, "file:/somewhere")
    assert keypage.parse_key(page.replace("0001 0203", "0001 0204")) == MASTER
    assert keypage.parse_key(page.replace(" 1. abandon", " 1. amount ")) == MASTER


@given(st.text())
@settings(max_examples=300)
def test_any_other_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(KeyProblem, match=r"\.$"):
        keypage.parse_key(text)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for content in (b"", b"\xff\xfe\x00", b"n2s-key-1:00", b"x" * (keypage.LARGEST_PAGE + 1)):
        file.write_bytes(content)
        with pytest.raises(KeyProblem, match=str(file)):
            keypage.read_key(file)
    with pytest.raises(KeyProblem, match="No such file"):
        keypage.read_key(tmp_path / "gone")


def test_a_page_is_for_its_owner_only_and_replaces_nothing(tmp_path: Path) -> None:
    made = write_page(tmp_path / "page", MASTER, "file:/somewhere")
    assert [one.stat().st_mode & 0o777 for one in made] == [0o600, 0o600]
    assert made[1].read_bytes().startswith(b"\x89PNG")
    before = made[0].read_bytes()
    with pytest.raises(UsageError, match="File exists"):
        write_page(tmp_path / "page", bytes(32), "file:/somewhere")
    assert made[0].read_bytes() == before


def test_a_page_whose_picture_cannot_be_made_is_not_left_half(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"mine")
    with pytest.raises(UsageError):
        write_page(tmp_path / "page", MASTER, "file:/somewhere")
    assert [one.name for one in tmp_path.iterdir()] == ["page.png"]


# -- push credentials --------------------------------------------------------------------------


def test_the_text_of_a_credential_never_changes() -> None:
    text = VECTORS["push_credential"]
    assert parse_credential(text + "\n").text() == text


@given(st.binary(min_size=16, max_size=16), KEYS)
def test_a_credential_comes_back_from_its_text(store: bytes, public: bytes) -> None:
    made = PushCredential(store, public)
    assert parse_credential(made.text()) == made


@given(at=st.integers(0, 117), char=st.characters(codec="ascii"))
@settings(derandomize=True, max_examples=300)
def test_a_changed_credential_is_refused(at: int, char: str) -> None:
    text = VECTORS["push_credential"]
    changed = text[:at] + char + text[at + 1 :]
    if changed == text:
        return
    with pytest.raises(KeyProblem, match="push credential"):
        parse_credential(changed)


@given(st.binary(max_size=200))
def test_a_file_of_anything_is_no_credential(content: bytes) -> None:
    with pytest.raises(KeyProblem):
        parse_credential(content.decode("ascii", "replace"))


def test_a_credential_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="gone"):
        read_credential(tmp_path / "gone")
