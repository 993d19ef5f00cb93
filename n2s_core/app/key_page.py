"""Key files, key pages and push credentials: written to files that only their owner may read."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from n2s_core.clock import iso, now_ns
from n2s_core.errors import UsageError
from n2s_core.keypage import key_file_text, key_lines, key_words
from n2s_core.keys import store_id

WORDS_IN_A_ROW = 6
QR_BORDER = 2
QR_SCALE = 8
_HALVES = {(0, 0): " ", (1, 0): "\u2580", (0, 1): "\u2584", (1, 1): "\u2588"}


def page_text(master_key: bytes, store: str) -> str:
    """A page to print: the key in words, in checked lines and as a QR code."""
    words = [f"{number:2}. {word:9}" for number, word in enumerate(key_words(master_key), 1)]
    rows = [
        "   " + " ".join(words[at : at + WORDS_IN_A_ROW]).rstrip()
        for at in range(0, len(words), WORDS_IN_A_ROW)
    ]
    lines = [
        "KEY OF A BACKUP",
        "",
        f"Store:    {store}",
        f"Store id: {store_id(master_key).hex()}",
        f"Written:  {iso(now_ns())[:10]}",
        "",
        "Whoever has this page and can reach the store can read everything in it, without any",
        "passphrase. Keep it where you keep what must neither burn nor be read by others.",
        "",
        "The key in words:",
        "",
        *rows,
        "",
        "The same in digits; the last group of a line is its checksum:",
        "",
        *(f"   {line}" for line in key_lines(master_key)),
        "",
        "The same as a QR code, which reads as the line of a key file:",
        "",
        *(f"   {row}".rstrip() for row in _qr_rows(master_key)),
        "",
        "To restore, type the words or the lines into a file and run",
        "",
        "   n2s recover --store STORE --target-path DIR --words FILE",
        "",
        "or, without n2s, with a copy of the store and the lines, contrib/recover.py --words FILE.",
        "",
    ]
    return "\n".join(lines)


def _qr_rows(master_key: bytes) -> list[str]:
    """Two rows of modules in each line of text; dark is dark, as on paper."""
    import segno  # noqa: PLC0415 - only who prints a page needs it

    code = segno.make_qr(key_file_text(master_key).strip(), error="m")
    rows = [list(map(int, row)) for row in code.matrix_iter(border=QR_BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)).rstrip()
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def write_page(path: Path, master_key: bytes, store: str) -> list[Path]:
    """The page, and beside it the QR code as a picture; which files were made."""
    import segno  # noqa: PLC0415 - only who prints a page needs it

    picture = path.with_name(path.name + ".png")
    code = segno.make_qr(key_file_text(master_key).strip(), error="m")
    with _new_file(path) as page, _new_file(picture) as image:
        os.write(page, page_text(master_key, store).encode())
        with open(os.dup(image), "wb") as out:
            code.save(out, kind="png", scale=QR_SCALE)
    return [path, picture]


def write_secret(path: Path, text: str) -> Path:
    """A new file with the text in it (mode 0600). Raises UsageError when there is one already."""
    with _new_file(path) as file:
        os.write(file, text.encode("ascii"))
    return path


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A descriptor of a file that was not there; it is on the disk when the block ends."""
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{path} cannot be made: {error.strerror}."
        raise UsageError(message) from error
    try:
        yield made
        os.fsync(made)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(made)
