"""A store on any rclone remote."""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from n2s_core.errors import Missing, StoreError, Unavailable, UsageError
from n2s_core.faults import crash_point
from n2s_core.layout import parse_name
from n2s_core.model import ObjectStat
from n2s_core.stores.naming import judge_folder, judge_name, judge_range, wrong_length
from n2s_core.stores.rclone_errors import describe, judge
from n2s_core.stores.rclone_rc import Answer, RcClient
from n2s_core.stores.rclone_ways import RcloneWays
from n2s_core.stores.spec import TIMEOUT_S, RcloneAddress

LISTS_LONGER = 5
SLOWEST_BYTES_PER_S = 16 << 10
LARGEST_BYTES = 64 << 20
_NOT_FOUND = 404
_WHOLE, _PART = 200, 206
_BAD_STATUS = 400
# rclone 1.60 answers a request for such a path with the address of another one.
_UNREADABLE = re.compile(r"//|/\.\.?/")
_LEAN = {"filesOnly": True, "noModTime": True, "noMimeType": True}


class RcloneStore:
    """Objects below one remote (`nas:backup`, `:local:/path`), through a shared `rclone rcd`.

    An object is first written to the spool and then copied by rclone, because rclone stores
    what arrived of an upload whose sender died (`operations/uploadfile`), while a copy has a
    known size and is compared by size and hash. Where neither the remote nor rclone keeps a
    half copy apart (`RcloneWays`), it goes to a temporary name and is renamed. `storage_class`
    is for what lies under `data/`. Folders and buckets that are missing are made by the first
    put. Does not own the process behind `address`; without it every call raises Unavailable.
    """

    heads: Mapping[str, int] = MappingProxyType({"put": 2, "get": 1, "delete": 1})
    """rclone looks at what it has copied, n2s too; and at what it is about to read or remove."""

    def __init__(
        self,
        remote: str,
        address: RcloneAddress,
        *,
        url: str | None = None,
        storage_class: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.url = f"rclone:{remote}" if url is None else url
        self._remote = _as_folder(judge_remote(remote))
        if address.port and _UNREADABLE.search(self._remote):
            message = (
                f"This rclone is too old to read from {describe(remote)}, because of the slashes "
                "in it; define the remote in rclone's configuration, or install a newer rclone."
            )
            raise UsageError(message)
        self._shown = describe(remote)
        self._spool = address.spool
        self._client = RcClient(address)
        self._timeout_s = timeout_s
        self._ways = RcloneWays(self._client, self._remote, storage_class, timeout_s=timeout_s)

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`; an object that is there already is replaced.

        One of a wrong size is removed again. An error that `data` raises passes through.
        """
        judge_name(name)
        spooled = os.urandom(16).hex()
        path = f"{self._spool}/{spooled}"
        try:
            self._write(path, name, data, size)
            crash_point("store-put-written")
            self._copy(spooled, name, size)
        finally:
            with suppress(OSError):
                os.unlink(path)
        crash_point("store-put-renamed")
        self._confirm(name, size)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range, cut at the end of the object."""
        judge_name(name)
        judge_range(name, offset, length)
        if length == 0:
            self.stat(name)
            return b""
        last = "" if length is None else offset + length - 1
        byte_range = None if (offset == 0 and length is None) else f"bytes={offset}-{last}"
        answer = self._client.read(
            self._remote,
            name,
            byte_range,
            limit_s=self._limit_s(LARGEST_BYTES if length is None else length),
            silence_s=self._timeout_s,
        )
        if answer.status == (_WHOLE if byte_range is None else _PART):
            return self._cut(name, answer.body, length)
        return self._explain_get(name, answer, offset)

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        answer = self._call("operations/stat", {"remote": judge_name(name), "opt": _LEAN})
        item = answer.json().get("item")
        if item is None:
            message = f"{name} is not in the store {self._shown}."
            raise Missing(message)
        return ObjectStat(name, int(item["Size"]))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder; the first `next` may raise."""
        parameters = {"remote": judge_folder(prefix), "opt": {**_LEAN, "recurse": False}}
        try:
            answer = self._call("operations/list", parameters, limit_s=self._list_limit_s())
        except Missing:
            return
        for item in answer.json().get("list") or ():
            name = f"{prefix}/{item['Name']}"
            if parse_name(name) is not None:
                yield ObjectStat(name, int(item["Size"]))

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        with suppress(Missing):
            self._call("operations/deletefile", {"remote": judge_name(name)})

    def free_bytes(self) -> int | None:
        """What the remote says that it has left; None when its kind cannot tell."""
        if not self._ways.tells_room:
            return None
        found = self._call("operations/about", {}).json().get("free")
        return found if isinstance(found, int) else None

    def close(self) -> None:
        """Close the connection of this thread."""
        self._client.close()

    def _call(
        self, method: str, parameters: Mapping[str, Any], *, limit_s: float | None = None
    ) -> Answer:
        limit_s = self._timeout_s if limit_s is None else limit_s
        answer = self._client.call(method, {"fs": self._remote, **parameters}, limit_s=limit_s)
        return self._require(answer)

    def _limit_s(self, size: int) -> float:
        """For a call that moves so many bytes: the slowest remote gets its time."""
        return self._timeout_s + size / SLOWEST_BYTES_PER_S

    def _list_limit_s(self) -> float:
        """A folder may be long; rclone gives its answer as a whole, and up a silent connection."""
        return LISTS_LONGER * self._timeout_s

    def _copy(self, spooled: str, name: str, size: int) -> None:
        """Copy a file of the spool to its place in the store."""
        way = self._ways.way
        target = name if way.whole else f"{name.rpartition('/')[0]}/.tmp-{spooled}"
        parameters = {
            "srcFs": self._spool,
            "srcRemote": spooled,
            "dstFs": self._ways.target(name),
            "dstRemote": target,
            "_config": {"IgnoreTimes": True, "NoCheckDest": not way.looks},
        }
        for _ in range(name.count("/") + 2):
            limit_s = self._limit_s(size)
            answer = self._client.call("operations/copyfile", parameters, limit_s=limit_s)
            if "mkParentDir" not in answer.error:  # somebody else made the folder meanwhile
                break
        try:
            self._require(answer)
        except Missing as error:
            raise self._not_taken(name) from error
        if target != name:
            self._rename(target, name, f"{self._spool}/{spooled}", size)

    def _rename(self, temporary: str, name: str, path: str, size: int) -> None:
        """Give a whole copy its name.

        Some servers rename onto nothing only. The object that is in the way stays when its
        bytes are the right ones, and is removed first when it is damaged anyhow.
        """
        answer = self._move(temporary, name, size)
        if answer.status >= _BAD_STATUS:
            try:
                stands = self.get(name)
            except Missing:
                raise judge(answer.error, self._remote) from None
            with open(path, "rb") as file:
                same = file.read() == stands
            if same:
                with suppress(Missing):
                    self._call("operations/deletefile", {"remote": temporary})
                return
            self.delete(name)
            self._require(self._move(temporary, name, size))

    def _move(self, temporary: str, name: str, size: int) -> Answer:
        parameters = {
            "srcFs": self._remote,
            "srcRemote": temporary,
            "dstFs": self._remote,
            "dstRemote": name,
            "_config": {"IgnoreTimes": True, "NoCheckDest": True},
        }
        return self._client.call("operations/movefile", parameters, limit_s=self._limit_s(size))

    def _require(self, answer: Answer) -> Answer:
        """The answer itself when it is a good one; otherwise its error."""
        if answer.status < _BAD_STATUS:
            return answer
        if answer.status == _NOT_FOUND and "not found" in answer.error:
            message = f"What was asked for is not in the store {self._shown}."
            raise Missing(message)
        raise judge(answer.error, self._remote)

    def _explain_get(self, name: str, answer: Answer, offset: int) -> bytes:
        """Why a read failed; b"" when the range starts behind the object.

        rclone answers 404 "Not Found" whenever an object cannot be opened, be it a range behind
        its end or a passing fault; only its JSON "object not found" means that it is missing.
        """
        if answer.status != _NOT_FOUND:
            raise judge(answer.error, self._remote)
        if offset >= self.stat(name).size:
            return b""
        message = f"The remote {self._shown} has {name} but could not open it."
        raise Unavailable(message)

    def _cut(self, name: str, body: bytes, length: int | None) -> bytes:
        if length is not None and len(body) > length:
            message = f"The remote {self._shown} gave more of {name} than was asked for."
            raise Unavailable(message)
        return body

    def _confirm(self, name: str, size: int) -> None:
        """Raise unless the store says that the object has its size; a wrong one is removed."""
        try:
            found = self.stat(name).size
        except Missing as error:
            raise self._not_taken(name) from error
        if found != size:
            with suppress(StoreError):
                self.delete(name)
            where = f"in the store {self._shown}"
            raise Unavailable(str(wrong_length(name, found, size, where)))

    def _not_taken(self, name: str) -> Unavailable:
        return Unavailable(f"The remote {self._shown} did not keep {name}.")

    def _write(self, path: str, name: str, data: Iterable[bytes], size: int) -> None:
        total = 0
        try:
            file = open(path, "xb", buffering=1 << 20)  # noqa: SIM115 - closed two lines down
        except OSError as error:
            raise self._spool_error(error) from error
        with file:
            for chunk in data:
                total += len(chunk)
                if total > size:
                    break
                try:
                    file.write(chunk)
                except OSError as error:
                    raise self._spool_error(error) from error
            try:
                file.flush()
                os.utime(file.fileno(), ns=(0, _unique_ns()))
            except OSError as error:
                raise self._spool_error(error) from error
        if total != size:
            raise wrong_length(name, total, size, "or more" if total > size else "in the stream")

    def _spool_error(self, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return Unavailable("The rclone process of this run has ended.")
        message = f"The spool {self._spool} cannot be written: {error.strerror}; see TMPDIR."
        return Unavailable(message)


def judge_remote(remote: str) -> str:
    """`remote` itself when rclone can be asked about it; raises UsageError otherwise."""
    if ":" not in remote or not remote.isprintable():
        message = f"{describe(remote)!r} is not a remote; write rclone:REMOTE:PATH."
        raise UsageError(message)
    if "]" in remote:
        message = (
            f"rclone cannot serve the remote {describe(remote)} because of its ']'; "
            "define an alias remote for it in rclone's configuration."
        )
        raise UsageError(message)
    return remote


def _unique_ns() -> int:
    """A time of change that no other object has.

    rclone (1.75) names its temporary file after size and time of the source, and two that put
    the same object at once would write into the same one.
    """
    return time.time_ns() // 10**9 * 10**9 + int.from_bytes(os.urandom(4)) % 10**9


def _as_folder(remote: str) -> str:
    """`remote` with a slash at its end, so that rclone does not ask whether it is a file.

    When that question fails for S3, be it once, rclone takes it for a file and remembers that.
    """
    return remote if remote.endswith((":", "/")) else f"{remote}/"
