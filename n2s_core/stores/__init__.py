"""The stores: from a URL to something that takes objects.

Importing this loads neither http.client nor subprocess; an rclone or an IPFS URL does.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from n2s_core.errors import UsageError
from n2s_core.ports import Store
from n2s_core.remotes import PREFIX, RemoteSet, RemoteTable
from n2s_core.stores.counting import CountingStore, Requests
from n2s_core.stores.file import FileStore
from n2s_core.stores.spec import StoreSpec

if TYPE_CHECKING:
    from n2s_core.stores.ipfs import IpfsStore

__all__ = ["StoreSpec", "create_store", "open_store", "start"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_IPFS = frozenset({"ipfs", "ipfs+https"})
_KINDS = (
    "a folder (/path or file:/path), an rclone remote (rclone:REMOTE:PATH) "
    "and an IPFS node (ipfs://HOST:PORT/NAME)"
)


@contextmanager
def start(spec: StoreSpec) -> Iterator[StoreSpec]:
    """Start what the store of `spec` needs; gives a spec that every process can open.

    To be entered once, by the main process. What was started ends with the context, or with
    the process.
    """
    if spec.url.startswith(PREFIX):
        with ExitStack() as stack:
            for remote in RemoteSet.from_url(spec.url).remotes:
                started = stack.enter_context(start(_of_remote(spec, remote)))
                spec = replace(started, url=spec.url, rclone_options=spec.rclone_options)
            yield spec
        return
    scheme, _ = _split(spec.url)
    if scheme != "rclone" and spec.rclone_options != StoreSpec(spec.url).rclone_options:
        message = f"{spec.url} is no rclone remote; bwlimit, storage_class and flags are for those."
        raise UsageError(message)
    if scheme != "rclone" or spec.rclone_address is not None:
        yield spec
        return
    from n2s_core.stores.rclone_process import RcloneProcess  # noqa: PLC0415 - start-up time

    with RcloneProcess(spec.rclone_options, timeout_s=spec.timeout_s) as address:
        yield replace(spec, rclone_address=address)


def open_store(spec: StoreSpec, requests: Requests | None = None, remote: str = "") -> Store:
    """The store of a spec, which for an rclone remote comes from `start`; the caller closes it.

    What is asked of it, or of each of its remotes, is counted in `requests`; `remote` is its name
    when it is one of several.
    """
    if spec.url.startswith(PREFIX):
        from n2s_core.stores.several import open_set  # noqa: PLC0415 - start-up time

        return open_set(
            RemoteSet.from_url(spec.url),
            lambda one: open_store(_of_remote(spec, one), requests, one.name),
            timeout_s=spec.timeout_s,
        )
    store = _open_one(spec)
    return store if requests is None else CountingStore(store, requests, remote)


def _open_one(spec: StoreSpec) -> Store:
    scheme, rest = _split(spec.url)
    if scheme == "file":
        return _file_store(rest)
    if scheme in _IPFS:
        return _ipfs_store(spec)
    from n2s_core.stores.rclone import RcloneStore, judge_remote  # noqa: PLC0415 - start-up time

    judge_remote(rest)
    if spec.rclone_address is None:
        message = "An rclone store is opened with a spec that start() gave."
        raise RuntimeError(message)
    return RcloneStore(
        rest,
        spec.rclone_address,
        storage_class=spec.rclone_options.storage_class,
        timeout_s=spec.timeout_s,
    )


def create_store(spec: StoreSpec) -> None:
    """Make the folder of a store in a folder or on IPFS; remotes are made by their first put.

    Raises UsageError when the placement that a set of remotes asks for cannot be had.
    """
    if spec.url.startswith(PREFIX):
        from n2s_core.stores.several import judge_set  # noqa: PLC0415 - start-up time

        wanted = RemoteSet.from_url(spec.url)
        judge_set(wanted)
        for remote in wanted.remotes:
            create_store(_of_remote(spec, remote))
        return
    scheme, rest = _split(spec.url)
    if scheme == "file":
        _file_store(rest).create()
    elif scheme in _IPFS:
        _ipfs_store(spec).create()


def _of_remote(spec: StoreSpec, remote: RemoteTable) -> StoreSpec:
    """The spec of one remote of a set; what is wished of rclone is for those that are its."""
    alone = replace(spec, url=remote.url)
    if _split(remote.url)[0] == "rclone":
        return alone
    return replace(alone, rclone_options=StoreSpec(remote.url).rclone_options)


def _file_store(path: str) -> FileStore:
    absolute = Path(path).absolute()
    return FileStore(absolute, url=f"file:{absolute}")


def _ipfs_store(spec: StoreSpec) -> "IpfsStore":
    from n2s_core.stores.ipfs import IpfsStore  # noqa: PLC0415 - start-up time

    return IpfsStore(spec.url, timeout_s=spec.timeout_s)


def _split(url: str) -> tuple[str, str]:
    """Scheme and rest; a path without a scheme is a file URL. Raises UsageError."""
    match = _SCHEME.fullmatch(url)
    scheme, rest = ("file", url) if match is None else (match[1].lower(), match[2])
    if scheme not in {"file", "rclone", *_IPFS}:
        message = (
            f"{scheme}: is no kind of store; there are {_KINDS}. "
            f"For a folder of this name write ./{scheme}:..."
        )
        raise UsageError(message)
    if scheme == "file" and match is not None and rest.startswith("//"):
        if not rest.startswith("///"):
            message = "A file URL has no host; write file:/path or file:///path."
            raise UsageError(message)
        rest = rest[2:]
    if not rest or "\0" in rest:
        message = f"The store URL {scheme}: names nothing; there are {_KINDS}."
        raise UsageError(message)
    return scheme, rest
