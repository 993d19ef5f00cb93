"""Real servers, one of each kind for each process of the tests, and an rclone that knows them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from n2s_core.stores.rclone_process import RcloneProcess
from n2s_core.stores.spec import RcloneAddress
from tests.servers import rclones
from tests.servers.rclone_s3 import rclone_s3
from tests.servers.seaweed import KEY, READER_KEY, READER_SECRET, REGION, SECRET, Seaweed, seaweed
from tests.servers.sshd import Sshd, sshd
from tests.servers.webdav import Webdav, webdav


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("s3") / "weed") as running:
        yield running


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of an S3 server that takes any bucket."""
    with rclone_s3(tmp_path_factory.mktemp("s3") / "rclone") as port:
        yield port


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sftp") / "sshd") as running:
        yield running


@pytest.fixture(scope="session")
def dav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webdav]:
    with webdav(tmp_path_factory.mktemp("dav") / "webdav") as running:
        yield running


def s3_settings(server: Seaweed, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {
        "type": "s3",
        "provider": "Other",
        "endpoint": server.endpoint,
        "region": REGION,
        "force_path_style": "true",
        "access_key_id": key,
        "secret_access_key": secret,
    }


@dataclass(frozen=True)
class Servers:
    """All of them; `configuration` is an rclone.conf in which they are remotes."""

    s3: Seaweed
    sftp: Sshd
    dav: Webdav
    folder: Path
    configuration: Path


@pytest.fixture(scope="session")
def servers(
    weed: Seaweed,
    sftp_server: Sshd,
    dav_server: Webdav,
    tmp_path_factory: pytest.TempPathFactory,
) -> Servers:
    folder = tmp_path_factory.mktemp("remotes")
    found = Servers(weed, sftp_server, dav_server, folder, folder / "rclone.conf")
    crypt = {"type": "crypt", "remote": f"{folder}/crypt", "password": rclones.obscured("a word")}
    rclones.write_configuration(
        found.configuration,
        {
            "disk": {"type": "local"},
            "crypt": crypt,
            "s3": s3_settings(weed),
            "reader": s3_settings(weed, READER_KEY, READER_SECRET),
            "stranger": s3_settings(weed, KEY, "a wrong secret"),
            "sftp": sftp_server.settings,
            "dav": dav_server.settings,
        },
    )
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[RcloneAddress]:
    """Of an rclone that the tests of a module share."""
    with RcloneProcess() as address:
        yield address


RunRclone = Callable[[str], RcloneProcess]


@pytest.fixture(scope="module")
def run_rclone(servers: Servers) -> Iterator[RunRclone]:
    """One process of each rclone, with the configuration of the servers."""
    running: dict[str, RcloneProcess] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RCLONE_CONFIG", str(servers.configuration))

        def run(program: str) -> RcloneProcess:
            if program not in running:
                with pytest.MonkeyPatch.context() as named:
                    named.setenv("N2S_RCLONE", program)
                    process = RcloneProcess()
                    process.__enter__()
                running[program] = process
            return running[program]

        yield run
        for process in running.values():
            process.__exit__(None, None, None)
