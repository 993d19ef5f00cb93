"""What both sides need of Dask: the library, how to reach a scheduler, whether that is safe."""
# ruff: noqa: PLC0415 - distributed is optional, and takes longer to import than a small push

import ipaddress
import logging
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from n2s_core.errors import UsageError
from n2s_core.workers import WorkersTable

if TYPE_CHECKING:
    from distributed import Security

_QUIET = {
    "distributed.admin.large-graph-warning-threshold": "1GiB",  # a batch of long names
    "distributed.worker.profile.enabled": False,
    "distributed.worker.http.routes": [],
    "distributed.worker.memory.spill": False,  # results have names of files in them
    "distributed.worker.memory.target": False,
}


def require_dask() -> None:
    """Set up the library for n2s. Raises UsageError when it is not installed."""
    try:
        import dask
        import distributed  # noqa: F401 - whether it is there
    except ImportError as error:
        message = (
            f"Workers on other machines need Dask, which is not installed ({error.name} is"
            " missing): pip install 'n2s[dask]'."
        )
        raise UsageError(message) from error
    dask.config.set(_QUIET)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # n2s says what is wrong


def security_of(table: WorkersTable) -> "Security | None":
    """The certificates of `[workers]`, for every role; None for a scheduler without TLS."""
    from distributed import Security

    if not table.tls_ca:
        return None
    return Security(  # type: ignore[no-untyped-call]
        tls_ca_file=table.tls_ca,
        tls_client_cert=table.tls_cert,
        tls_client_key=table.tls_key,
        tls_worker_cert=table.tls_cert,
        tls_worker_key=table.tls_key,
        require_encryption=True,
    )


def exposure(scheduler: str) -> str:
    """Why it is not safe to use this scheduler, a sentence; empty when nothing is known.

    Whoever reaches a scheduler without TLS can run programs on all of its workers.
    """
    parts = urlsplit(scheduler)
    if parts.scheme != "tcp" or not parts.hostname:
        return ""
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError:  # who connects to it says so
        return ""
    for *_, address in found:
        if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_private:
            return (
                f"The scheduler {scheduler} has a public address and no TLS: whoever reaches it can"
                " run programs on the workers and read all names; use tls:// (docs/workers.md)."
            )
    return ""
