"""A store on an IPFS node, by the RPC API of kubo."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from n2s_core.errors import Missing, Refused, Unavailable
from n2s_core.faults import crash_point
from n2s_core.layout import parse_name
from n2s_core.model import ObjectStat
from n2s_core.stores.ipfs_cid import RAW_SHA256, cid_text, parse_cid, said_cid
from n2s_core.stores.ipfs_errors import has_no_name, judge, lost_a_block
from n2s_core.stores.ipfs_place import parse_place
from n2s_core.stores.ipfs_rpc import RpcAnswer, RpcClient
from n2s_core.stores.naming import judge_folder, judge_name, judge_range, wrong_length
from n2s_core.stores.spec import TIMEOUT_S

LISTS_LONGER = 5
SLOWEST_BYTES_PER_S = 16 << 10
LARGEST_BYTES = 64 << 20
LINK_ATTEMPTS = 4

_VERSION_1 = {"cid-version": "1"}
_ADD = {
    **_VERSION_1,
    "raw-leaves": "true",
    "chunker": "size-262144",
    "hash": "sha2-256",
    "pin": "true",
    "progress": "false",
    "quieter": "true",
}
_NAMES_ALONE = {"resolve-type": "false", "size": "false"}
_FILES = frozenset({0, 2})


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a name leads to."""

    cid: bytes
    size: int


class IpfsStore:
    """Objects as files of one folder of the node's file system (MFS), or of a fixed CID.

    An object is added and pinned, which gives its CID, its size is compared, and only then its
    name is put into the folder, in one step; so it is seen whole or not at all. The garbage
    collection of the node keeps what the folder leads to, and what is pinned. All reading goes by
    the CID of the folder, asked anew each time, because a node that lost a block answers for such
    a path at once instead of looking for the block in the network. The folder counts as there
    when `create` has made it; without it every call raises Unavailable and nothing is made in its
    place.

    A block that the node lost makes its object Missing. With a fixed CID (`.../ipfs/CID`) the
    store is read-only, and the node looks for blocks in the network.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raises UsageError when the URL or $N2S_IPFS_AUTH cannot be used."""
        self.url = url
        self._timeout_s = timeout_s
        self._place = parse_place(url)
        self._client = RpcClient(self._place)
        fixed = self._place.cid
        self._fixed = None if fixed is None else parse_cid(fixed)
        self._reach = {} if self._fixed else {"offline": "true"}

    def create(self) -> None:
        """Make the folder; one that is there is left as it is, and a fixed CID is one."""
        if self._fixed is None:
            options = {**_VERSION_1, "parents": "true"}
            self._require(self._call("files/mkdir", self._place.folder, options=options))

    def address(self) -> str:
        """The URL of the store as it is now: by this CID any node that has the blocks reads it."""
        return self._place.fixed(cid_text(self._root()))

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`; what is there already is replaced unless it is the same.

        An error that `data` raises passes through, and nothing was sent then.
        """
        judge_name(name)
        self._require_writable()
        before = self._find(name)
        chunks, digest = _whole(name, data, size)
        try:
            cid = self._add(name, chunks, size, digest)
            crash_point("store-put-written")
            if before is not None and before.cid == cid:
                self._read_back(name, size, digest)
            else:
                self._link(name, cid)
        except Missing as error:
            message = f"The IPFS node of {self.url} did not keep {name}: {error}"
            raise Unavailable(message) from error
        crash_point("store-put-renamed")

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range, cut at the end of the object."""
        judge_name(name)
        judge_range(name, offset, length)
        if length == 0:
            self.stat(name)
            return b""
        answer = self._cat(name, offset, length)
        if answer.is_good and len(answer.body) == length:
            return answer.body
        return self._completed(name, offset, length, answer)

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        found = self._find(judge_name(name))
        if found is None:
            message = f"{name} is not in the store {self.url}."
            raise Missing(message)
        return ObjectStat(name, found.size)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder; the first `next` may raise."""
        judge_folder(prefix)
        answer = self._of_root(
            lambda root: self._call(
                "ls", f"{root}/{prefix}", options=self._reach, limit_s=self._list_limit_s()
            )
        )
        if lost_a_block(answer.error):
            yield from self._list_one_by_one(prefix)
        elif not has_no_name(answer.error):
            for link in _links(self._require(answer)):
                name = f"{prefix}/{link.get('Name')}"
                if parse_name(name) is not None and link.get("Type") in _FILES:
                    yield ObjectStat(name, _size(link))

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error.

        It is unpinned first: what is left when that is all that happens is still in the folder.
        """
        judge_name(name)
        self._require_writable()
        found = self._find(name)
        if found is None:
            return
        answer = self._call("pin/rm", cid_text(found.cid))
        if "not pinned" not in answer.error:
            self._require(answer)
        self._unlink(name)

    def close(self) -> None:
        """Close the connection of this thread."""
        self._client.close()

    # -- the parts -----------------------------------------------------------------------------

    def _call(
        self,
        command: str,
        *arguments: str,
        options: dict[str, str] | None = None,
        limit_s: float | None = None,
        silence_s: float | None = None,
    ) -> RpcAnswer:
        limit_s = self._timeout_s if limit_s is None else limit_s
        silence_s = limit_s if silence_s is None else silence_s
        return self._client.call(command, arguments, options, limit_s=limit_s, silence_s=silence_s)

    def _limit_s(self, size: int) -> float:
        """For a call that moves so many bytes: the slowest node gets its time."""
        return self._timeout_s + size / SLOWEST_BYTES_PER_S

    def _list_limit_s(self) -> float:
        """A node looks at each object of a folder before it answers."""
        return LISTS_LONGER * self._timeout_s

    def _require(self, answer: RpcAnswer) -> RpcAnswer:
        """The answer itself when it is a good one; otherwise its error."""
        if answer.is_good:
            return answer
        raise judge(answer.status, answer.error, self.url)

    def _require_writable(self) -> None:
        if self._fixed is not None:
            message = (
                f"{self.url} is one state of a store and can only be read; "
                f"to store there, use {self._place.node}/NAME."
            )
            raise Refused(message)

    def _root(self) -> bytes:
        """The CID of the folder as it is now."""
        if self._fixed is not None:
            return self._fixed
        answer = self._call("files/stat", self._place.folder)
        if has_no_name(answer.error):
            message = (
                f"The IPFS node {self._place.node} has no folder {self._place.folder} "
                "(`n2s init` makes it); is it another node, or was the folder removed?"
            )
            raise Unavailable(message)
        return said_cid(self._require(answer).json().get("Hash"))

    def _of_root(self, ask: Callable[[str], RpcAnswer]) -> RpcAnswer:
        """What `ask(path)` answers for the folder, by its CID.

        When somebody stores at the same time and the node collects its garbage, the folder of a
        moment ago is gone; then the question is asked again for the new one.
        """
        root = self._root()
        while True:
            answer = ask(f"/ipfs/{cid_text(root)}")
            if answer.is_good or not (lost_a_block(answer.error) or has_no_name(answer.error)):
                return answer
            newest = self._root()
            if newest == root:
                return answer
            root = newest

    def _find(self, name: str) -> _Entry | None:
        answer = self._of_root(
            lambda root: self._call("files/stat", f"{root}/{name}", options=self._reach)
        )
        if has_no_name(answer.error) or lost_a_block(answer.error):
            return None
        return _entry(self._require(answer))

    def _cat(self, name: str, offset: int, length: int | None) -> RpcAnswer:
        options = {**self._reach, "offset": str(offset)}
        if length is not None:
            options["length"] = str(length)
        limit_s = self._limit_s(LARGEST_BYTES if length is None else length)
        return self._of_root(
            lambda root: self._call(
                "cat",
                f"{root}/{name}",
                options=options,
                limit_s=limit_s,
                silence_s=self._timeout_s,
            )
        )

    def _completed(
        self, name: str, offset: int, length: int | None, answer: RpcAnswer
    ) -> bytes:  # fmt: skip
        """The whole of a range of which `answer` is an error, or the part that came.

        A node that finds a block missing while it sends just ends the answer. Asked for the
        rest it says why, or sends it.
        """
        rest = max(0, self.stat(name).size - offset)
        wanted = rest if length is None else min(length, rest)
        data = answer.body if answer.is_good else b""
        while wanted and len(data) < wanted:
            self._require(answer)
            answer = self._cat(name, offset + len(data), wanted - len(data))
            if answer.is_good and not answer.body:
                message = f"The IPFS node of {self.url} gave less of {name} than it has."
                raise Unavailable(message)
            data += answer.body if answer.is_good else b""
        if len(data) > wanted:
            message = f"The IPFS node of {self.url} gave more of {name} than was asked for."
            raise Unavailable(message)
        return data

    def _list_one_by_one(self, prefix: str) -> Iterator[ObjectStat]:
        """The objects of a folder in which the node lost a block, without those that it lost."""
        options = {**self._reach, **_NAMES_ALONE}
        answer = self._of_root(
            lambda root: self._call(
                "ls", f"{root}/{prefix}", options=options, limit_s=self._list_limit_s()
            )
        )
        if lost_a_block(answer.error):
            message = f"The IPFS node of {self.url} lost blocks of the folder {prefix}."
            raise Unavailable(message)
        for link in _links(self._require(answer)):
            name = f"{prefix}/{link.get('Name')}"
            found = None if parse_name(name) is None else self._find(name)
            if found is not None:
                yield ObjectStat(name, found.size)

    def _add(self, name: str, chunks: Sequence[bytes], size: int, digest: bytes) -> bytes:
        """The CID of an object that the node has now, pinned and without a name."""
        answer = self._client.upload("add", chunks, size, _ADD, limit_s=self._limit_s(size))
        cid = said_cid(self._require(answer).json().get("Hash"))
        if cid.startswith(RAW_SHA256) and cid != RAW_SHA256 + digest:
            message = f"The IPFS node of {self.url} did not take {name} as it was sent."
            raise Unavailable(message)
        answer = self._call("files/stat", f"/ipfs/{cid_text(cid)}", options=self._reach)
        found = _entry(self._require(answer))
        if found.size != size:
            where = f"on the IPFS node of {self.url}"
            raise Unavailable(str(wrong_length(name, found.size, size, where)))
        return cid

    def _link(self, name: str, cid: bytes) -> None:
        """Put the name into the folder; another object of that name is removed before.

        Several may make the same folder at once, and all but one are told that it exists; so
        what counts is what is found afterwards.
        """
        source, target = f"/ipfs/{cid_text(cid)}", f"{self._place.folder}/{name}"
        options = {**_VERSION_1, "parents": "true"}
        for _ in range(LINK_ATTEMPTS):
            answer = self._call("files/cp", source, target, options=options)
            found = self._find(name)
            if found is not None and found.cid == cid:
                return
            if "exist" not in answer.error and "already has" not in answer.error:
                self._require(answer)
            elif found is not None:
                self._unlink(name)
        message = f"The IPFS node of {self.url} did not keep {name}."
        raise Unavailable(message)

    def _unlink(self, name: str) -> None:
        options = {**_VERSION_1, "force": "true"}
        answer = self._call("files/rm", f"{self._place.folder}/{name}", options=options)
        if not has_no_name(answer.error):
            self._require(answer)

    def _read_back(self, name: str, size: int, digest: bytes) -> None:
        """Raise unless an object that was there already is whole.

        A node does not write a block again that it believes to have.
        """
        if hashlib.sha256(self.get(name, 0, size)).digest() != digest:
            message = (
                f"The IPFS node of {self.url} has other bytes of {name} than it was given: its "
                "blocks are damaged. `ipfs repo verify --drop` removes those; then store again."
            )
            raise Refused(message)


def _whole(name: str, data: Iterable[bytes], size: int) -> tuple[list[bytes], bytes]:
    """The chunks of an object, read to their end, and their SHA-256."""
    digest, chunks, total = hashlib.sha256(), list[bytes](), 0
    for chunk in data:
        total += len(chunk)
        if total > size:
            raise wrong_length(name, total, size, "or more")
        digest.update(chunk)
        chunks.append(chunk)
    if total != size:
        raise wrong_length(name, total, size, "in the stream")
    return chunks, digest.digest()


def _entry(answer: RpcAnswer) -> _Entry:
    said = answer.json()
    return _Entry(said_cid(said.get("Hash")), _size(said))


def _size(said: dict[str, object]) -> int:
    size = said.get("Size")
    if not isinstance(size, int):
        message = "The IPFS node gave an answer without a size in it."
        raise Unavailable(message)
    return size


def _links(answer: RpcAnswer) -> Iterator[dict[str, object]]:
    """The entries of a folder in an answer of `ls`."""
    for folder in answer.json().get("Objects") or ():
        yield from folder.get("Links") or ()
