"""What the errors of an IPFS node mean for n2s.

The sentences are those of kubo, and of js-ipfs where they differ.
"""

import re
from http import HTTPStatus

from n2s_core.errors import Missing, Refused, StoreError, Unavailable

LONGEST_TEXT = 300

_NO_NAME = re.compile(r"does not exist|no link named", re.IGNORECASE)
_NO_BLOCK = re.compile(
    r"not found locally|ipld: could not find|block not found|^not found$"
    r"|no such file or directory, open '.*\.data'",
    re.IGNORECASE,
)
_NOT_THE_RPC = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
_SHUT = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_ADVICE = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"no space left|disk full|quota|StorageMax|too much data|ENOSPC",
            "is full: free space on its disk, or remove old backups from it",
        ),
        (r"read-only file system|EROFS", "is mounted read-only: mount it for writing"),
        (
            r"permission denied|EACCES|not permitted",
            "may not write its own files: look at who owns its repository",
        ),
    )
)


def has_no_name(text: str) -> bool:
    """Whether a node says that a path leads nowhere."""
    return _NO_NAME.search(text) is not None


def lost_a_block(text: str) -> bool:
    """Whether a node says that it has a name, and not what is behind it."""
    return _NO_BLOCK.search(text) is not None


def judge(status: int, text: str, shown: str) -> StoreError:
    """The error for a status and a sentence of the node of the store `shown`."""
    said = re.sub(r"\s+", " ", text).strip()[:LONGEST_TEXT] or "nothing"
    if status in _SHUT:
        return Refused(
            f"The IPFS node of {shown} does not let us in (status {status}); "
            f"set N2S_IPFS_AUTH to bearer:TOKEN or basic:USER:PASSWORD. It says: {said}"
        )
    if status in _NOT_THE_RPC or status < HTTPStatus.BAD_REQUEST:
        return Refused(
            f"What answers at {shown} is not the RPC of an IPFS node (status {status}); "
            f"is it the right port? It says: {said}"
        )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Refused(
            f"Something before the IPFS node of {shown} takes no object of this size; "
            "allow larger requests there, or set a smaller pack_size."
        )
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        if has_no_name(text) or lost_a_block(text):
            return Missing(f"What was asked for is not in the store {shown}. It says: {said}")
        for pattern, advice in _ADVICE:
            if pattern.search(text):
                return Refused(f"The IPFS node of {shown} {advice}. It says: {said}")
    return Unavailable(f"The IPFS node of {shown} cannot answer now. It says: {said}")
