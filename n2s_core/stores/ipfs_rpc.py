"""Talking to an IPFS node over its RPC API (docs.ipfs.tech/reference/kubo/rpc).

One kept connection per thread. Neither proxies nor redirections are followed.
"""

import base64
import http.client
import math
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

from n2s_core.errors import Refused, Unavailable, UsageError
from n2s_core.stores.connections import Connections, allow, json_object, read_body
from n2s_core.stores.ipfs_place import IpfsPlace

AUTH = "N2S_IPFS_AUTH"
BATCH_BYTES = 1 << 20
_OK = 200


class RpcAnswer(NamedTuple):
    """Status and body of one answer; `error` is the node's sentence, "" when all is well."""

    status: int
    body: bytes
    error: str

    @property
    def is_good(self) -> bool:
        """Whether the command was done."""
        return self.status == _OK

    def json(self) -> dict[str, Any]:
        """The last line of the body as a JSON object.

        Raises Unavailable when nothing came, and Refused for anything that no node says.
        """
        found = json_object(self.body.strip().rpartition(b"\n")[2])
        if found is not None:
            return found
        if self.body.strip():
            message = "What answers there is not the RPC of an IPFS node; is it the right port?"
            raise Refused(message)
        message = "The IPFS node broke off its answer."
        raise Unavailable(message)


class RpcClient:
    """Commands of a node. Safe for threads and for processes that fork.

    Every call ends within its `limit_s`, and when the node says nothing for `silence_s`; one that
    gets no whole answer raises Unavailable.
    Answers with an error status are returned, not raised.
    """

    def __init__(self, place: IpfsPlace) -> None:
        """Raises UsageError when N2S_IPFS_AUTH cannot be used."""
        self._place = place
        self._headers = {"User-Agent": "n2s", **_authorization(place)}
        tls = ssl.create_default_context() if place.is_tls else None
        self._connections = Connections(lambda: _connection(place, tls))

    def call(
        self,
        command: str,
        arguments: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        *,
        limit_s: float,
        silence_s: float = math.inf,
    ) -> RpcAnswer:
        """One command without a body. The node is told to give up somewhat earlier than we do."""
        patience = {"timeout": f"{max(1, int(limit_s * 0.9))}s"}
        path = _path(command, arguments, {**patience, **(options or {})})
        headers = {"Content-Length": "0"}
        return self._ask(path, (), headers, limit_s=limit_s, silence_s=silence_s)

    def upload(
        self, command: str, data: Iterable[bytes], size: int, options: Mapping[str, str], *,
        limit_s: float,
    ) -> RpcAnswer:  # fmt: skip
        """One command with `data`, `size` bytes, as its file."""
        boundary = os.urandom(16).hex()
        head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="object"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        body = _batches(head, data, tail)
        return self._ask(_path(command, (), options), body, headers, limit_s=limit_s)

    def close(self) -> None:
        """Close the connection of this thread; those of others close with their threads."""
        self._connections.close()

    def _ask(
        self,
        path: str,
        body: Iterable[bytes],
        headers: dict[str, str],
        *,
        limit_s: float,
        silence_s: float = math.inf,
    ) -> RpcAnswer:
        deadline = time.monotonic() + limit_s
        connection = self._connections.ready(min(limit_s, silence_s))
        try:
            # A node that refuses may answer and hang up before it has heard everything.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._send(connection, path, body, headers, deadline=deadline)
            with connection.getresponse() as response:
                data = read_body(response, connection, deadline, silence_s=silence_s)
                return RpcAnswer(response.status, data, _error(response.status, data))
        except TimeoutError as error:
            self.close()
            waited_s = min(limit_s, silence_s)
            message = f"The IPFS node {self._place.node} did not finish within {waited_s:.0f} s."
            raise Unavailable(message) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            why = str(error) or type(error).__name__
            message = f"The IPFS node {self._place.node} does not answer ({why}); is it running?"
            raise Unavailable(message) from error
        except BaseException:
            self.close()
            raise

    def _send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        body: Iterable[bytes],
        headers: dict[str, str],
        *,
        deadline: float,
    ) -> None:
        connection.putrequest("POST", path, skip_accept_encoding=True)
        for key, value in {**self._headers, **headers}.items():
            connection.putheader(key, value)
        connection.endheaders()
        for batch in body:
            allow(connection, deadline)
            connection.send(batch)


def _connection(place: IpfsPlace, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(place.host, place.port)
    return http.client.HTTPSConnection(place.host, place.port, context=tls)


def _authorization(place: IpfsPlace) -> dict[str, str]:
    """The header for $N2S_IPFS_AUTH, which is written as for kubo's --api-auth."""
    kind, _, secret = os.environ.get(AUTH, "").partition(":")
    if not kind:
        return {}
    if not place.is_tls and not place.is_loopback:
        message = (
            f"{AUTH} would go over the network in clear to {place.host}; "
            "use ipfs+https://, or a tunnel to 127.0.0.1."
        )
        raise UsageError(message)
    if kind == "bearer" and secret.isascii() and secret.isprintable() and secret:
        return {"Authorization": f"Bearer {secret}"}
    if kind == "basic" and ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    message = f"{AUTH} must be bearer:TOKEN or basic:USER:PASSWORD."
    raise UsageError(message)


def _path(command: str, arguments: Sequence[str], options: Mapping[str, str]) -> str:
    pairs = [*(("arg", argument) for argument in arguments), *options.items()]
    return f"/api/v0/{command}?{urlencode(pairs)}"


def _batches(head: bytes, data: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    """All of the body in pieces of about BATCH_BYTES, because chunks may be tiny."""
    waiting, waiting_bytes = [head], len(head)
    for chunk in data:
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= BATCH_BYTES:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
    yield b"".join([*waiting, tail])


def _error(status: int, data: bytes) -> str:
    if status == _OK:
        return ""
    found = json_object(data)
    if found is not None and isinstance(found.get("Message"), str):
        return str(found["Message"])
    return data.decode("utf-8", "replace").strip() or f"status {status}"
