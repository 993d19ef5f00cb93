"""Names on the disk: what the disk calls a path of a manifest."""

import os
import unicodedata

from n2s_core.relpath import RelPath, join

DSG: RelPath = b".dsg"
TRANSACTION: RelPath = b".dsg/backup/transaction-in-progress"


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
