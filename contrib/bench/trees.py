"""The trees that are backed up: a copy of what the machine has, large files, many small files."""

import itertools
import os
import random
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

MIB = 1 << 20
MIXED = ("random", "random", "words", "words")
RANDOM = ("random",) * len(MIXED)
PER_FOLDER = 100
SMALL = (200, 2000)
LINKED_SHARE = 0.7
LINKED_NAMES = (2, 8)
# How often a file gets several names, so that LINKED_SHARE of all names are such.
_LINKED_WEIGHT = LINKED_SHARE * 2 / sum(LINKED_NAMES)
LINKED_CHANCE = _LINKED_WEIGHT / (_LINKED_WEIGHT + 1 - LINKED_SHARE)
WORD_LENGTHS = (2, 11)
WORDS = 20_000
LINE = 12


def sources() -> list[str]:
    """/usr/share, /usr/include and a Python installation."""
    python = sys.base_prefix
    if python in {"/usr", "/usr/local"}:
        python = sysconfig.get_path("stdlib")
    return [folder for folder in ("/usr/share", "/usr/include", python) if Path(folder).is_dir()]


def copy_machine(target: Path, most: int | None) -> None:
    """Copies `sources`, at most `most` files; what cannot be read is left out."""
    left = itertools.count() if most is None else range(most)
    for number, (source, destination) in zip(left, _files(target), strict=False):
        del number
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(source, destination, follow_symlinks=False)
        except PermissionError:
            destination.unlink(missing_ok=True)


def _files(target: Path) -> Iterator[tuple[str, Path]]:
    for top in sources():
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = f"{folder}/{name}"
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                    yield path, target / path.removeprefix("/")


def large_files(target: Path, size: int, contents: Sequence[str] = MIXED) -> None:
    """A file of `size` bytes for each of `contents`: random bytes, or words, which compress."""
    target.mkdir()
    chance = random.Random(size)  # noqa: S311 - the same each time
    words = _words(chance)
    for number, content in enumerate(contents):
        with (target / f"{content}-{number}").open("wb") as file:
            while (left := size - file.tell()) > 0:
                part = chance.randbytes(MIB) if content == "random" else _text(chance, words)
                file.write(part[:left])


def _words(chance: random.Random) -> list[bytes]:
    letters = b"etaoinshrdlcumwfgypbvk"
    return [
        bytes(chance.choices(letters, range(len(letters), 0, -1), k=chance.randint(*WORD_LENGTHS)))
        for _ in range(WORDS)
    ]


def _text(chance: random.Random, words: list[bytes]) -> bytes:
    """Some 700 KiB of lines; common words are far more common than rare ones."""
    picked = [words[int(WORDS * chance.random() ** 4)] for _ in range(100_000)]
    lines = [b" ".join(picked[at : at + LINE]) for at in range(0, len(picked), LINE)]
    return b"\n".join(lines) + b"\n"


def many_files(target: Path, count: int, *, linked: bool) -> None:
    """`count` paths, a hundred in each folder; `linked`: 70 % of them share their inode."""
    chance = random.Random(count)  # noqa: S311 - the same each time
    filler = chance.randbytes(4096).hex().encode()
    made = 0
    while made < count:
        shared = linked and chance.random() < LINKED_CHANCE
        names = min(chance.randint(*LINKED_NAMES), count - made) if shared else 1
        first = _place(target, made)
        at = chance.randrange(4096)
        first.write_bytes(b"file %d\n" % made + filler[at : at + chance.randint(*SMALL)])
        for other in range(made + 1, made + names):
            os.link(first, _place(target, other))
        made += names


def _place(target: Path, number: int) -> Path:
    folder = target / f"{number // (PER_FOLDER * PER_FOLDER):04d}" / f"{number // PER_FOLDER:06d}"
    if number % PER_FOLDER == 0:
        folder.mkdir(parents=True)
    return folder / f"name {number}"


def change(tree: Path, count: int, seed: int) -> list[str]:
    """Append a line to `count` files of the tree; their paths, relative to it."""
    chance = random.Random(seed)  # noqa: S311 - the same each time
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    picked = chance.sample(files, min(count, len(files)))
    for path in picked:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
        with path.open("ab") as file:
            file.write(b"changed %d\n" % seed)
    return [str(path.relative_to(tree)) for path in picked]


def extent(tree: Path) -> tuple[int, int]:
    """How many files, symlinks and so on there are, and the bytes of the regular files."""
    count = size = 0
    for folder, _, names in os.walk(tree):
        for name in names:
            status = os.lstat(f"{folder}/{name}")
            count += 1
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return count, size


def warm(tree: Path) -> None:
    """Read all of it once, so that nobody is the first."""
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    while file.read(MIB):
                        pass


def read(tree: Path) -> None:
    """Read every file once, so that each program finds them equally warm."""
    for folder, _, names in os.walk(tree):
        for name in names:
            path = f"{folder}/{name}"
            if stat.S_ISREG(os.lstat(path).st_mode):
                with Path(path).open("rb", buffering=0) as file:
                    while file.read(MIB):
                        pass
