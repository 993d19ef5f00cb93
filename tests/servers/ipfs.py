"""An IPFS node: js-ipfs, which serves the RPC API of kubo."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from tests.conftest import missing
from tests.servers.running import PATIENCE_S, Server, free_port

CODE = Path(__file__).with_name("js-ipfs")


@dataclass(frozen=True)
class IpfsNode:
    """A running node; `repository` is where it keeps blocks, pins and its file system."""

    port: int
    repository: Path
    server: Server

    @property
    def url(self) -> str:
        return f"ipfs://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """As a power failure would."""
        self.server.kill()

    def start(self) -> None:
        """After a kill; the lock that it left behind, which expires slowly, is broken."""
        shutil.rmtree(self.repository / "repo.lock", ignore_errors=True)
        self.server.start()

    def blocks(self) -> list[Path]:
        """The files of all blocks."""
        return list(self.repository.glob("blocks/*/*.data"))


@contextmanager
def ipfs_node(folder: Path) -> Iterator[IpfsNode]:
    """Runs until the context ends."""
    program = shutil.which("node")
    if program is None or not (CODE / "node_modules").is_dir():
        missing("There is no js-ipfs here; contrib/setup/ipfs.sh installs it.")
    folder.mkdir()
    port = free_port()
    command = [program, str(CODE / "node.mjs"), str(folder / "repository"), str(port)]
    with Server(command, folder, lambda: answers(port)) as server:
        yield IpfsNode(port, folder / "repository", server)


def answers(port: int) -> bool:
    """Whether an RPC API answers there."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/api/v0/version")
        with connection.getresponse() as response:
            return response.status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def file_of(node: IpfsNode, block: bytes) -> Path:
    """Where the node keeps a block."""
    return next(path for path in node.blocks() if path.read_bytes() == block)


def collect_garbage(node: IpfsNode) -> None:
    """Have the node drop what nothing leads to."""
    rpc(node, "repo/gc")


def write_file(node: IpfsNode, path: str, content: bytes) -> None:
    """Write a file of the node's file system, in place of one that is there."""
    edge = "n2s-test"
    body = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    body += content + f"\r\n--{edge}--\r\n".encode()
    folder, _, name = path.rpartition("/")
    if name in names_in(node, folder):
        rpc(node, f"files/rm?{urlencode({'arg': path})}")
    options = urlencode({"arg": path, "create": "true", "parents": "true"})
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    rpc(node, f"files/write?{options}", body, kind)


def names_in(node: IpfsNode, folder: str) -> list[str]:
    """What is in a folder of the node's file system, which must be there."""
    listing = json.loads(rpc(node, f"files/ls?{urlencode({'arg': folder})}"))
    return [entry["Name"] for entry in listing["Entries"] or ()]


def rpc(
    node: IpfsNode, command: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """One command of the node, asked by a client that is not ours."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", f"/api/v0/{command}", body, headers or {})
        with connection.getresponse() as response:
            answer = response.read()
            assert response.status == HTTPStatus.OK, answer
            return answer
    finally:
        connection.close()
