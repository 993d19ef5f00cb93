"""Names on the disk: what is scratch of dsg, and what the disk calls a path of a manifest."""

import os
import unicodedata
from collections.abc import Iterator

from n2s_core.relpath import RelPath, is_below, join

DSG: RelPath = b".dsg"
LOCK: RelPath = b".dsg/sync.lock"
SCRATCH: tuple[RelPath, ...] = (b".dsg/backup", b".dsg/staging", b".dsg/tmp")
TRANSACTION: RelPath = b".dsg/backup/transaction-in-progress"


def is_scratch(path: RelPath) -> bool:
    """Whether the path is of a sync that runs or died: the lock, or in a scratch folder.

    The scratch folders themselves belong to the repository.
    """
    return path == LOCK or any(is_below(path, folder) for folder in SCRATCH)


def has_scratch(root: bytes) -> bool:
    """Whether there is any scratch now."""
    return os.path.lexists(root + b"/" + LOCK) or any(_listed(root, folder) for folder in SCRATCH)


def kept_of_dsg(root: bytes) -> Iterator[tuple[RelPath, bool]]:
    """What lies directly in `.dsg` and is no scratch, and whether it is a directory.

    The files that dsg knows by name are named though they are not there any more.
    """
    known = {b"archive", b"last-sync.json", b"sync-messages.json", b"tag-messages.json"}
    for name in sorted(known.union(_listed(root, DSG))):
        path = join(DSG, name)
        if path != LOCK and path not in SCRATCH:
            absolute = root + b"/" + path
            yield path, os.path.isdir(absolute) and not os.path.islink(absolute)


def as_in_manifest(path: RelPath) -> RelPath:
    """The path as a manifest writes it, in NFC; a path that is no text is itself."""
    if path.isascii():
        return path
    try:
        return unicodedata.normalize("NFC", path.decode()).encode()
    except UnicodeDecodeError:
        return path


class Twins:
    """Finds paths on the disk that are the same text as a path of a manifest in other bytes."""

    def __init__(self, root: bytes) -> None:
        """Directories are listed when first asked for, and remembered."""
        self._root = root
        self._names: dict[RelPath, dict[bytes, list[bytes]]] = {}

    def of(self, path: RelPath) -> list[RelPath]:
        """Those paths, without `path` itself; none for ASCII."""
        if path.isascii():
            return []
        found: list[RelPath] = [b""]
        for part in path.split(b"/"):
            found = [join(above, name) for above in found for name in self._called(above, part)]
        return [twin for twin in found if twin != path]

    def _called(self, directory: RelPath, part: bytes) -> list[bytes]:
        if part.isascii():
            return [part]
        names = self._names.get(directory)
        if names is None:
            names = self._names[directory] = {}
            for name in _listed(self._root, directory):
                if not name.isascii():
                    names.setdefault(as_in_manifest(name), []).append(name)
        return names.get(as_in_manifest(part), [])


def _listed(root: bytes, directory: RelPath) -> list[bytes]:
    """Names in a directory; none where it is none, or cannot be listed (a walk reports that)."""
    try:
        return os.listdir(root + b"/" + directory)
    except OSError:
        return []
