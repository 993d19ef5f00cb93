"""An sshd of our own, for SFTP: own key, own port, nothing of the machine's."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing
from tests.servers.running import Server, free_port, listens

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
MaxStartups 100
MaxSessions 100
"""


@dataclass(frozen=True)
class Sshd:
    """A running server; `files` is where the tests may write."""

    port: int
    folder: Path
    server: Server

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def settings(self) -> dict[str, str]:
        """For rclone: no shell, which would be asked for a checksum of each file."""
        return {
            "type": "sftp",
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": getpass.getuser(),
            "key_file": str(self.folder / "client"),
            "known_hosts_file": str(self.folder / "known_hosts"),
            "shell_type": "none",
            "disable_hashcheck": "true",
        }


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Runs until the context ends."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("There is no sshd here; install openssh-server.")
    (folder / "files").mkdir(parents=True)
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    port = free_port()
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [program, "-D", "-e", "-f", str(config)]
    with Server(command, folder, lambda: listens(port)) as server:
        yield Sshd(port, folder, server)
