"""How an object is put into one remote, so that it is seen whole or not at all."""

import os
import re
import threading
from typing import Any, NamedTuple

from n2s_core.errors import Refused, UsageError
from n2s_core.layout import Shelf
from n2s_core.stores.rclone_errors import describe, judge
from n2s_core.stores.rclone_rc import RcClient

_BAD_STATUS = 400
_CLASSES = {
    "s3": "storage_class",
    "gcs": "storage_class",
    "google cloud storage": "storage_class",
    "azureblob": "access_tier",
}
_COLD = f"{Shelf.DATA.value}/"


class Way(NamedTuple):
    """How rclone copies to a remote.

    `whole`: a copy appears under its name when it is complete. `looks`: rclone must know what is
    there already, because the remote would keep two of one name.
    """

    whole: bool
    looks: bool


class RcloneWays:
    """What rclone says about a remote, asked once, when it is needed first."""

    def __init__(
        self, client: RcClient, remote: str, storage_class: str, *, timeout_s: float
    ) -> None:
        self._timeout_s = timeout_s
        self._client = client
        self._remote = remote
        self._class = storage_class
        self._lock = threading.Lock()
        self._features: dict[str, Any] | None = None
        self._cold: str | None = None

    @property
    def way(self) -> Way:
        """Raises StoreError when the remote cannot be asked, Refused when no way is safe."""
        return judge_features(self._known_features(), self._remote)

    @property
    def tells_room(self) -> bool:
        """Whether remotes of this kind say how much they can still take. Raises StoreError."""
        return bool(self._known_features().get("About"))

    def _known_features(self) -> dict[str, Any]:
        with self._lock:
            if self._features is None:
                self._features = self._ask("operations/fsinfo", {"fs": self._remote})["Features"]
            return self._features

    def target(self, name: str) -> str:
        """The remote for an object of this name: with the storage class, if that is content."""
        if not self._class or not name.startswith(_COLD):
            return self._remote
        if self._cold is None:
            self._cold = self._with_class()
        return self._cold

    def _with_class(self) -> str:
        bare, options, path = split_remote(self._remote)
        kind = bare.removeprefix(":") if bare.startswith(":") else self._kind(bare)
        option = _CLASSES.get(kind)
        if option is None:
            message = (
                f"The remote {describe(self._remote)} is of the kind {kind or 'unknown'}, which "
                "has no storage class that n2s can set; take storage_class out of [store], and set "
                "it in rclone's configuration."
            )
            raise UsageError(message)
        quoted = self._class.replace('"', '""')
        return f'{bare}{options},{option}="{quoted}":{path}'

    def _kind(self, name: str) -> str:
        """The backend of a configured remote, from the environment or rclone's file."""
        variable = f"RCLONE_CONFIG_{name.upper().replace('-', '_')}_TYPE"
        named = os.environ.get(variable)
        return named or str(self._ask("config/get", {"name": name}).get("type", ""))

    def _ask(self, method: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._client.call(method, parameters, limit_s=self._timeout_s)
        if answer.status >= _BAD_STATUS:
            raise judge(answer.error, self._remote)
        return answer.json()


def judge_features(features: dict[str, Any], remote: str) -> Way:
    """The way for a remote with these features of `operations/fsinfo`.

    Buckets take an object whole. A new rclone says `PartialUploads` where it copies to another
    name itself; 1.60 knows no such thing. Where two objects may have one name, uploads are whole
    as well, and a rename would leave both.
    """
    if features.get("BucketBased"):
        return Way(whole=True, looks=False)
    if features.get("PartialUploads") or features.get("DuplicateFiles"):
        return Way(whole=True, looks=True)
    if features.get("Move"):
        return Way(whole=False, looks=False)
    message = (
        f"The remote {describe(remote)} cannot rename, so that an upload which breaks off would "
        "leave a part of an object under its name; use another remote."
    )
    raise Refused(message)


def split_remote(remote: str) -> tuple[str, str, str]:
    """Name (`nas`, `:s3`), options with their commas, and path of a remote."""
    match = re.fullmatch(
        r"""(:?[^:,]*)((?:,\w+(?:=(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:"']*))?)*):(.*)""",
        remote,
        re.DOTALL,
    )
    if match is None:
        message = f"{describe(remote)!r} is not a remote; write rclone:REMOTE:PATH."
        raise UsageError(message)
    return match[1], match[2], match[3]
