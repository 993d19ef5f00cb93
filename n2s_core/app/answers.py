"""What the public functions that do something answer, and how it looks as JSON."""

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from n2s_core.model import Failure
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.traffic import Traffic

Json = dict[str, Any]
REQUESTS = ("put", "get", "stat", "list", "delete", "about")
PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def path_json(path: bytes) -> Json:
    """`path`, and `path_bytes` (base64) when it is not UTF-8; the root is "."."""
    try:
        return {"path": path.decode() if path else "."}
    except UnicodeDecodeError:
        return {"path": show(path), "path_bytes": base64.b64encode(path).decode()}


def path_text(path: bytes) -> str:
    """The path as one string: UTF-8 as it is, other bytes escaped."""
    text: str = path_json(path)["path"]
    return text


def failure_json(one: Failure) -> Json:
    """A path and why."""
    return {**path_json(one.path), "error": one.error}


def hex_or_none(value: bytes | None) -> str | None:
    """Hexadecimal digits of an id or a hash."""
    return None if value is None else value.hex()


def traffic_json(traffic: "Traffic | None") -> Json:
    """What the store was asked; nothing of a command that did not ask."""
    return {} if traffic is None else traffic.to_json()


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """What a push did. `changeset_id` is None when nothing had changed, and of a dry run."""

    changeset_id: str | None
    changeset_name: str
    dataset: str
    using: str
    complete: bool
    fallback: str | None
    written: int
    touched: int
    removed: int
    unchanged: int
    failed: int
    failures: tuple[Failure, ...]
    bytes_read: int
    bytes_stored: int
    objects_stored: int
    audited: int
    audit_misses: int
    seconds: float
    dry_run: bool
    traffic: "Traffic"
    debts: int
    store_address: str | None = None
    setback: str = ""
    catalogue_upgraded: bool = False
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 when the store had been set back, 1 when files failed."""
        if self.setback:
            return 3
        return 1 if self.failed else 0

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["failures"] = [failure_json(one) for one in self.failures]
        found["seconds"] = round(self.seconds, 3)
        found["notes"] = list(self.notes)
        del found["traffic"]
        return found | self.traffic.to_json()


@dataclass(frozen=True, slots=True)
class PullAnswer:
    """What a pull or a recovery did. `problems` are sentences about the store (recovery only)."""

    changeset_id: str
    dataset: str
    target: bytes
    files: int
    bytes: int
    skipped: int
    damaged: int
    failures: tuple[Failure, ...]
    seconds: float
    dry_run: bool = False
    problems: tuple[str, ...] = field(default=())
    traffic: "Traffic | None" = None

    @property
    def exit_code(self) -> int:
        """3 when the store is damaged, 1 when a path failed for another reason."""
        if self.damaged or self.problems:
            return 3
        return 1 if self.failures else 0

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "changeset_id": self.changeset_id,
            "dataset": self.dataset,
            "target": path_text(self.target),
            "files": self.files,
            "bytes": self.bytes,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "damaged": self.damaged,
            "failures": [failure_json(one) for one in self.failures],
            "problems": list(self.problems),
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
            **traffic_json(self.traffic),
        }
