"""What a store accepts as a name: the layout and nothing else."""

import re

from n2s_core.errors import Refused
from n2s_core.layout import parse_name

_FOLDER = re.compile(r"keys|changesets|(?:data|meta)/[0-9a-f]{2}")


def judge_name(name: str) -> str:
    """`name` itself when it is the name of an object; raises Refused for anything else."""
    if parse_name(name) is None:
        message = f"{name!r} is not the name of an object."
        raise Refused(message)
    return name


def judge_folder(prefix: str) -> str:
    """`prefix` itself when it is a folder that holds objects; raises Refused for anything else."""
    if _FOLDER.fullmatch(prefix) is None:
        message = (
            f"{prefix!r} is not a folder of objects; "
            "there are keys, changesets, data/ab and meta/ab."
        )
        raise Refused(message)
    return prefix


def judge_range(name: str, offset: int, length: int | None) -> None:
    """Raise Refused for a range that no object can have."""
    if offset < 0 or (length is not None and length < 0):
        message = f"The range {offset}+{length} of {name} does not exist."
        raise Refused(message)


def wrong_length(name: str, found: int, size: int, where: str) -> Refused:
    """The error for a stream or an object that is not `size` bytes long."""
    return Refused(f"{name} should be {size} bytes long and is {found} {where}; it was not stored.")
