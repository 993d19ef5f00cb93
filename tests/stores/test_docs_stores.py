"""The commands of docs/stores.md, as they stand there, with the hosts and folders of the tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, environment
from tests.servers import rclones
from tests.servers.seaweed import KEY, SECRET
from tests.servers.webdav import PASSWORD, USER
from tests.stores.conftest import Servers

PAGE = REPOSITORY / "docs" / "stores.md"


def commands(heading: str) -> str:
    """The indented lines of one section."""
    sections = re.split(r"^#+ (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    body = dict(zip(sections[1::2], sections[2::2], strict=True))[heading]
    found = "".join(line[4:] for line in body.splitlines(keepends=True) if line.startswith("    "))
    assert found
    return found


def with_ours(text: str, ours: dict[str, str]) -> str:
    """Each word of the page must be there, so that none is tested under another name."""
    for word, here in ours.items():
        assert word in text
        text = text.replace(word, here)
    return text


def run(text: str, home: Path) -> None:
    program = home / "bin"
    program.mkdir(exist_ok=True)
    (program / "n2s").write_text(f'#!/bin/sh\nexec {sys.executable} -m n2s_core "$@"\n')
    (program / "n2s").chmod(0o755)
    found = Path(rclones.newest()).parent
    variables = environment(
        HOME=str(home),
        PATH=f"{program}:{found}:{os.environ['PATH']}",
        RCLONE_CONFIG=str(home / "rclone.conf"),
    )
    done = subprocess.run(
        ["bash", "-euc", text], cwd=home, env=variables, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("heading", ["A folder", "SFTP", "WebDAV", "S3",
                                     "A folder by rclone, and encryption by rclone"])  # fmt: skip
def test_the_commands_for_a_store_work_as_written(
    servers: Servers, tmp_path: Path, heading: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "file").write_bytes(b"content")
    ours = {
        "A folder": {"/mnt/backup": str(tmp_path / "mnt")},
        "SFTP": {
            "host=nas.example": "host=127.0.0.1",
            "port=22": f"port={servers.sftp.port}",
            "user=ada": f"user={servers.sftp.settings['user']}",
            "~/.ssh/id_ed25519": str(servers.sftp.folder / "client"),
            "~/.ssh/known_hosts": str(servers.sftp.folder / "known_hosts"),
            "/backup/ada": str(tmp_path / "backup"),
        },
        "WebDAV": {
            "https://cloud.example/dav": servers.dav.settings["url"],
            "user=ada": f"user={USER}",
            "pass=secret": f"pass='{PASSWORD}'",
        },
        "S3": {
            "https://s3.example": servers.s3.endpoint,
            "AKIAEXAMPLE": KEY,
            "secret_access_key=secret": f"secret_access_key={SECRET}",
        },
        "A folder by rclone, and encryption by rclone": {"/mnt/backup": str(tmp_path / "mnt")},
    }
    text = with_ours(commands(heading), ours[heading] | {"/srv/data": str(root)})
    run(f"{text}\nn2s verify --data", tmp_path)


def test_the_command_that_cleans_up_removes_what_a_kill_left_and_nothing_else(
    servers: Servers, tmp_path: Path
) -> None:
    folder = tmp_path / "backup" / "data" / "ab"
    folder.mkdir(parents=True)
    kept = [folder / ("ab" * 32), folder / "a file.tmp-1"]
    left = [folder / f"{'ab' * 32}.0badcafe.partial", folder / ".tmp-0123"]
    for path in (*kept, *left):
        path.write_bytes(b"x")
    young = folder / ".tmp-of-a-put-under-way"
    for path in (*kept, *left):
        os.utime(path, (1e9, 1e9))
    young.write_bytes(b"x")
    (tmp_path / "rclone.conf").write_text("[nas]\ntype = local\n")
    text = commands("What a kill leaves behind")
    run(with_ours(text, {"/backup/ada": str(tmp_path / "backup")}), tmp_path)
    assert sorted(folder.iterdir()) == sorted([*kept, young])


def test_the_page_names_the_oldest_rclone_and_that_of_the_wheel() -> None:
    text = PAGE.read_text()
    for program in (rclones.newest(), rclones.old()):
        assert ".".join(map(str, rclones.version_of(program))) in text
