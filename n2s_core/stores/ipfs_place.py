"""Where an IPFS store is: a node, and a folder or a CID on it."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from n2s_core.errors import UsageError
from n2s_core.stores.ipfs_cid import parse_cid

SCHEMES = frozenset({"ipfs", "ipfs+https"})
ABOVE = "/n2s"
_FIXED = "ipfs"
_PORTS = {"ipfs": 5001, "ipfs+https": 443}
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FORM = (
    "write ipfs://HOST:PORT/NAME (ipfs+https://... for TLS), "
    "or ipfs://HOST:PORT/ipfs/CID to read a state of a store"
)


@dataclass(frozen=True, slots=True)
class IpfsPlace:
    """A node's RPC, and either a folder of its file system (MFS) or the CID of one state of it."""

    scheme: str
    host: str
    port: int
    folder: str
    cid: str | None

    @property
    def is_tls(self) -> bool:
        """Whether the node is spoken to by https."""
        return self.scheme == "ipfs+https"

    @property
    def is_loopback(self) -> bool:
        """Whether the node is on this machine."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def node(self) -> str:
        """The node, as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def fixed(self, cid: str) -> str:
        """The URL of the state `cid` of a store, by way of this node."""
        return f"{self.node}/{_FIXED}/{cid}"


def parse_place(url: str) -> IpfsPlace:
    """The place that an ipfs URL names. Raises UsageError."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        message = f"The store URL {url!r} cannot be read: {error}."
        raise UsageError(message) from error
    if found.scheme not in SCHEMES or not found.hostname or found.query or found.fragment:
        message = f"The store URL {url!r} names no place on an IPFS node; {_FORM}."
        raise UsageError(message)
    if found.username is not None:
        message = "A store URL holds no password; put it into N2S_IPFS_AUTH."
        raise UsageError(message)
    folder, cid = _below(found, url)
    return IpfsPlace(
        found.scheme, found.hostname, _PORTS[found.scheme] if port is None else port, folder, cid
    )


def _below(found: SplitResult, url: str) -> tuple[str, str | None]:
    parts = found.path.strip("/").split("/")
    if parts[0] == _FIXED and len(parts) > 1:
        try:
            parse_cid(parts[1])
        except ValueError as error:
            message = f"{parts[1]!r} in the store URL {url!r} is no CID; {_FORM}."
            raise UsageError(message) from error
        if len(parts) == len((_FIXED, "CID")):
            return "", parts[1]
    if parts[0] == _FIXED or not all(_PART.fullmatch(part) for part in parts):
        message = (
            f"The store URL {url!r} has no name that n2s can use; {_FORM}. "
            "A name is made of letters, digits, dots, - and _."
        )
        raise UsageError(message)
    return "/".join((ABOVE, *parts)), None
