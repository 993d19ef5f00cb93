"""An S3 server: that of rclone, which takes any bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from n2s_core.stores.rclone_program import clean_environment
from tests.servers.rclones import newest, quoted
from tests.servers.running import Server, free_port, listens

KEY, SECRET = "AKIAN2STESTKEY00", "n2s-test-secret"


def s3_remote(port: int, bucket: str, secret: str = SECRET) -> str:
    """A folder of a bucket at this port of 127.0.0.1, with all that rclone has to know."""
    settings = {
        "type": "s3",
        "provider": "Other",
        "force_path_style": "true",
        "endpoint": f"http://127.0.0.1:{port}",
        "access_key_id": KEY,
        "secret_access_key": secret,
    }
    return quoted(settings, f"{bucket}/below")


@contextmanager
def rclone_s3(folder: Path) -> Iterator[int]:
    """Its port; it runs until the context ends."""
    files = folder / "files"
    files.mkdir(parents=True)
    port = free_port()
    command = [
        newest(),
        "serve",
        "s3",
        f"--addr=127.0.0.1:{port}",
        f"--auth-key={KEY},{SECRET}",
        str(files),
    ]
    with Server(command, folder, lambda: listens(port), clean_environment(os.environ, None)):
        yield port
