"""A WebDAV server: that of rclone, on a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from n2s_core.stores.rclone_program import clean_environment
from tests.servers.rclones import newest, obscured
from tests.servers.running import Server, free_port, listens

USER, PASSWORD = "n2s", "password of the tests"


@dataclass(frozen=True)
class Webdav:
    """A running server on `files`. It remembers folders: nobody else may write there."""

    port: int
    files: Path
    server: Server

    @property
    def settings(self) -> dict[str, str]:
        return {
            "type": "webdav",
            "url": f"http://127.0.0.1:{self.port}",
            "vendor": "other",
            "user": USER,
            "pass": obscured(PASSWORD),
        }


@contextmanager
def webdav(folder: Path) -> Iterator[Webdav]:
    """Runs until the context ends."""
    files = folder / "files"
    files.mkdir(parents=True)
    port = free_port()
    command = [newest(), "serve", "webdav", f"--addr=127.0.0.1:{port}", str(files)]
    environment = clean_environment(os.environ, None) | {
        "RCLONE_USER": USER,
        "RCLONE_PASS": PASSWORD,
    }
    with Server(command, folder, lambda: listens(port), environment) as server:
        yield Webdav(port, files, server)
