"""Why only a walk can tell what changed, and the reading of small files that may be anything."""

import os
import stat as statlib

from n2s_core.relpath import RelPath, show


class NoFeed(Exception):
    """The manifests cannot tell what changed; the text is a sentence that says why."""


def read(root: bytes, path: RelPath) -> bytes:
    """The content of a regular file below the root. Raises NoFeed, and never waits for a FIFO."""
    try:
        fd = os.open(root + b"/" + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not statlib.S_ISREG(os.fstat(fd).st_mode):
                message = f"{show(path)} is not a file."
                raise NoFeed(message)
            return file.read()
    except OSError as error:
        message = f"{show(path)} cannot be read: {error.strerror or error}."
        raise NoFeed(message) from error
