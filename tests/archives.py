"""Archives of our own that tests unpack, with the first Pythons 3.11 too, which know no filters."""

import tarfile
from pathlib import Path


def take_out(archive: tarfile.TarFile, folder: Path) -> None:
    """All that is in it, as it was packed."""
    if hasattr(tarfile, "fully_trusted_filter"):
        archive.extractall(folder, filter="fully_trusted")  # noqa: S202 - our own
    else:
        archive.extractall(folder)  # noqa: S202 - same
