"""The promises of a store, on real servers, with a new rclone and with an old one."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from n2s_core.ports import Store
from n2s_core.stores.rclone import RcloneStore
from tests.contracts.store import Plant, StoreContract
from tests.servers import rclones
from tests.stores.conftest import RunRclone, Servers

NEW = [("newest", kind) for kind in ("disk", "crypt", "s3", "sftp", "dav")]
OLD = [("old", kind) for kind in ("disk", "s3", "sftp")]


class TestRcloneRemote(StoreContract):
    @pytest.fixture(params=NEW + OLD, ids="-".join)
    def case(self, request: pytest.FixtureRequest) -> tuple[str, str]:
        found: tuple[str, str] = request.param
        return found

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest, servers: Servers, case: tuple[str, str]) -> str:
        """A remote with a path where nothing is."""
        unique = hashlib.blake2b(request.node.name.encode(), digest_size=12).hexdigest()
        kind = case[1]
        folders = {
            "disk": f"{servers.folder}/{unique}",
            "crypt": unique,
            "s3": f"bucket/{unique}",
            "sftp": f"{servers.sftp.files}/{unique}",
            "dav": unique,
        }
        return f"{kind}:{folders[kind]}/not/yet there"

    @pytest.fixture
    def store(self, case: tuple[str, str], place: str, run_rclone: RunRclone) -> Iterator[Store]:
        program = rclones.newest() if case[0] == "newest" else rclones.old()
        store = RcloneStore(place, run_rclone(program).address)
        yield store
        store.close()

    @pytest.fixture
    def plant(self, servers: Servers, place: str) -> Plant:
        kind, _, folder = place.partition(":")
        if kind in {"disk", "sftp"}:
            return _plant_in_folder(Path(folder))
        if kind == "s3":
            return _plant_in_bucket(servers, folder)

        def plant(path: str, content: bytes) -> None:
            target = f"{place}/{path}"
            configuration = servers.configuration
            rclones.run(rclones.newest(), "rcat", target, data=content, configuration=configuration)

        return plant


def _plant_in_folder(folder: Path) -> Callable[[str, bytes], None]:
    def plant(path: str, content: bytes) -> None:
        (folder / path).write_bytes(content)

    return plant


def _plant_in_bucket(servers: Servers, folder: str) -> Callable[[str, bytes], None]:
    client = servers.s3.client()
    bucket, _, prefix = folder.partition("/")

    def plant(path: str, content: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=content)

    return plant
