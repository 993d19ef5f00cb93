"""Talking to `rclone rcd`: one kept connection per thread."""

import base64
import http.client
import json
import math
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from n2s_core.errors import Unavailable
from n2s_core.stores.connections import Connections, json_object, read_body
from n2s_core.stores.spec import RcloneAddress

LOCALHOST = "127.0.0.1"


class Answer(NamedTuple):
    """Status and body of one answer; `error` is rclone's own sentence, "" when there is none."""

    status: int
    body: bytes
    error: str

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; raises Unavailable when it is none."""
        found = json_object(self.body)
        if found is None:
            message = "rclone gave an answer that is not JSON."
            raise Unavailable(message)
        return found


class _Connection(http.client.HTTPConnection):
    """To a unix socket, or to a port where only the holder of the certificate is believed."""

    def __init__(self, address: RcloneAddress, trust: ssl.SSLContext | None) -> None:
        super().__init__("localhost")
        self._address = address
        self._trust = trust

    def connect(self) -> None:
        if self._trust is None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.socket)
            return
        plain = socket.create_connection((LOCALHOST, self._address.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock = self._trust.wrap_socket(plain, server_hostname=LOCALHOST)
        except BaseException:
            plain.close()
            raise


class RcClient:
    """Calls of rclone's rc API. Safe for threads and for processes that fork.

    Every call ends within its `limit_s`, and a read when nothing came for `silence_s`; one that
    gets no whole answer raises Unavailable. Answers with an error status are returned, not raised.
    """

    def __init__(self, address: RcloneAddress) -> None:
        trust = ssl.create_default_context(cadata=address.certificate) if address.port else None
        secret = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}"}
        self._connections = Connections(lambda: _Connection(address, trust))

    def call(self, method: str, parameters: Mapping[str, Any], *, limit_s: float) -> Answer:
        """One rc method with JSON parameters."""
        body = json.dumps(parameters).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._ask("POST", f"/{method}", body, headers, limit_s=limit_s)

    def read(
        self,
        remote: str,
        name: str,
        byte_range: str | None,
        *,
        limit_s: float,
        silence_s: float = math.inf,
    ) -> Answer:
        """The bytes of one object (`--rc-serve`), or of a range such as `bytes=0-99`."""
        headers = dict(self._headers)
        if byte_range is not None:
            headers["Range"] = byte_range
        path = quote(f"[{remote}]/{name}", safe="/")
        path = f"/{path}"
        answer = self._ask("GET", path, None, headers, limit_s=limit_s, silence_s=silence_s)
        if answer.status >= http.client.MULTIPLE_CHOICES:
            self.close()  # old versions announce another length than they send, and hang up
        return answer

    def close(self) -> None:
        """Close the connection of this thread; those of others close with their threads."""
        self._connections.close()

    def _ask(
        self,
        verb: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        *,
        limit_s: float,
        silence_s: float = math.inf,
    ) -> Answer:
        deadline = time.monotonic() + limit_s
        connection = self._connections.ready(min(limit_s, silence_s))
        try:
            connection.request(verb, path, body, headers)
            with connection.getresponse() as response:
                data = read_body(response, connection, deadline, silence_s=silence_s)
                return Answer(response.status, data, _error(response.status, data))
        except TimeoutError as error:
            self.close()
            message = f"rclone did not finish within {min(limit_s, silence_s):.0f} seconds."
            raise Unavailable(message) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            message = f"rclone does not answer ({type(error).__name__}); it may be starting anew."
            raise Unavailable(message) from error
        except BaseException:
            self.close()
            raise


def _error(status: int, data: bytes) -> str:
    if status < http.client.BAD_REQUEST:
        return ""
    found = json_object(data)
    if found is not None and isinstance(found.get("error"), str):
        return str(found["error"])
    return data[:200].decode("utf-8", "replace").strip()
