"""The master key outside of a store: as a key file, in checked lines, in words.

docs/format.md, section 2, says how each of them is read.
"""

import re
from pathlib import Path

from blake3 import blake3

from n2s_core.errors import KeyProblem

KEY_SIZE = 32
KEY_FILE_PREFIX = "n2s-key-1:"
LINES = 4
WORDS = 24
LARGEST_PAGE = 1 << 20
_LINE_CONTEXT = b"n2s key line 1"
_PART = KEY_SIZE // LINES
_KEY_FILE = re.compile(rf"{KEY_FILE_PREFIX}([0-9a-fA-F]{{64}})(?![0-9a-fA-F])")
_LINE = re.compile(r"^[ \t]*([1-4]):[ \t]*((?:[0-9a-fA-F]{4}[ \t-]*){5})[ \t\r]*$", re.MULTILINE)
_NUMBERED = re.compile(r"(?<!\d)([1-9]|1\d|2[0-4])\.[ \t]*([A-Za-z]+)")
_WORD = re.compile(r"[A-Za-z]+")
_NO_WORD = re.compile(r"[\s\d.,:;)]*")


def key_file_text(master_key: bytes) -> str:
    """The contents of a key file."""
    return f"{KEY_FILE_PREFIX}{master_key.hex()}\n"


def key_lines(master_key: bytes) -> list[str]:
    """Four lines of hex digits, each with its number and a checksum of its own."""
    found = []
    for number in range(1, LINES + 1):
        part = master_key[(number - 1) * _PART : number * _PART]
        groups = [part[at : at + 2].hex() for at in range(0, _PART, 2)]
        found.append(f"{number}: {' '.join(groups)} - {_checksum(number, part).hex()}")
    return found


def _checksum(number: int, part: bytes) -> bytes:
    return blake3(_LINE_CONTEXT + bytes((number,)) + part).digest()[:2]


def key_words(master_key: bytes) -> list[str]:
    """24 English words (BIP-39), whose last bits are a checksum of them all."""
    from mnemonic import Mnemonic  # noqa: PLC0415 - only who prints or types words needs the list

    return Mnemonic("english").to_mnemonic(master_key).split()


def read_key(path: Path) -> bytes:
    """The master key in a key file, or in the words or lines of a page. Raises KeyProblem."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_PAGE + 1)
    except OSError as error:
        message = f"The key file {path} cannot be read: {error.strerror}."
        raise KeyProblem(message) from error
    if len(data) > LARGEST_PAGE:
        message = f"{path} is not a key file; it is longer than {LARGEST_PAGE} bytes."
        raise KeyProblem(message)
    try:
        return parse_key(data.decode("utf-8", "replace"))
    except KeyProblem as error:
        message = f"{path} gives no key: {error}"
        raise KeyProblem(message) from None


def parse_key(text: str) -> bytes:
    """The master key in a text, from whichever form of it is whole. Raises KeyProblem.

    A page has it as words and as lines, so a mistake in one of them does no harm.
    """
    found = _KEY_FILE.search(text)
    if found:
        return bytes.fromhex(found[1])
    problems = []
    for reader in (_from_lines, _from_words):
        try:
            key = reader(text)
        except KeyProblem as error:
            problems.append(str(error))
            continue
        if key is not None:
            return key
    if problems:
        raise KeyProblem(" ".join(problems))
    message = (
        f"It should hold '{KEY_FILE_PREFIX}' and 64 hex digits, or {WORDS} words,"
        f" or the lines 1: to {LINES}: of a key page."
    )
    raise KeyProblem(message)


def _from_lines(text: str) -> bytes | None:
    parts: dict[int, bytes] = {}
    for found in _LINE.finditer(text):
        number, data = int(found[1]), bytes.fromhex(re.sub(r"[ \t-]", "", found[2]))
        part, checksum = data[:_PART], data[_PART:]
        if _checksum(number, part) != checksum:
            message = f"Line {number} does not fit its checksum; look at each of its digits."
            raise KeyProblem(message)
        if parts.setdefault(number, part) != part:
            message = f"There are two lines {number}:, and they differ."
            raise KeyProblem(message)
    if not parts:
        return None
    missing = [f"{number}:" for number in range(1, LINES + 1) if number not in parts]
    if missing:
        message = f"Of the lines of a key page {', '.join(missing)} cannot be found."
        raise KeyProblem(message)
    return b"".join(parts[number] for number in sorted(parts))


def _from_words(text: str) -> bytes | None:
    numbered = {int(number): word for number, word in _NUMBERED.findall(text)}
    if len(numbered) == WORDS:
        words = [numbered[number] for number in sorted(numbered)]
    elif not _NO_WORD.fullmatch(_WORD.sub("", text)):
        return None
    else:
        words = _WORD.findall(text)
    if not words:
        return None
    return _of_words([word.lower() for word in words])


def _of_words(words: list[str]) -> bytes:
    from mnemonic import Mnemonic  # noqa: PLC0415 - only who prints or types words needs the list

    if len(words) != WORDS:
        message = f"It holds {len(words)} words; a key has {WORDS}."
        raise KeyProblem(message)
    known = Mnemonic("english")
    whole = [known.expand_word(word) for word in words]
    for number, word in enumerate(whole, 1):
        if word not in known.wordlist:
            message = f"Word {number} is not in the list of words; look at how it is spelt."
            raise KeyProblem(message)
    try:
        return bytes(known.to_entropy(whole))
    except ValueError:
        message = "The words do not fit together: one is wrong, or two changed places."
        raise KeyProblem(message) from None
