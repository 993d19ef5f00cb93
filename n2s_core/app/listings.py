"""What the public functions that ask the catalogue answer, and how it looks as JSON."""

from dataclasses import dataclass
from typing import NamedTuple

from n2s_core.app.answers import Json, failure_json, hex_or_none, path_json, path_text
from n2s_core.app.upkeep import Upkeep
from n2s_core.clock import iso
from n2s_core.facts import Changeset
from n2s_core.model import Failure, FileType
from n2s_core.verdicts import KEPT, Standing

TYPES = {int(one): one.name.lower().replace("_", "-") for one in FileType}


def iso_or_none(time_ns: int | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if time_ns is None else iso(time_ns)


class Version(NamedTuple):
    """One version of one path; `changeset_id` wrote it, `until_id` replaced or `removed` it."""

    path: bytes
    type_no: int
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    user_name: str | None
    group_name: str | None
    file_hash: bytes | None
    blob_id: bytes | None
    changeset_id: bytes | None
    created_ns: int | None
    until_id: bytes | None
    removed: bool

    @property
    def type(self) -> str:
        """The type in words: file, directory, symlink, fifo, character-device, ..."""
        return TYPES.get(self.type_no, "unknown")

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            **path_json(self.path),
            "type": self.type,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "file_hash": hex_or_none(self.file_hash),
            "blob_id": hex_or_none(self.blob_id),
            "changeset_id": hex_or_none(self.changeset_id),
            "created_at": iso_or_none(self.created_ns),
        }

    def history_json(self) -> Json:
        """With what became of it."""
        return {
            **self.to_json(),
            "until_changeset_id": hex_or_none(self.until_id),
            "removed": self.removed,
        }


@dataclass(frozen=True, slots=True)
class ChangesetAnswer:
    """One stored changeset; of a `swept` one, what only it needed may be gone."""

    changeset_id: str
    changeset_name: str
    number: int
    created_ns: int
    stored_ns: int | None
    using: str
    status: str
    complete: bool
    fallback: str | None
    written: int
    touched: int
    removed: int
    unchanged: int
    failed: int
    bytes_read: int
    bytes_stored: int
    objects_stored: int
    tags: tuple[str, ...] = ()
    pinned: bool = False
    forgotten_ns: int | None = None
    swept: bool = False

    @classmethod
    def of(cls, row: Changeset, standing: Standing = KEPT) -> "ChangesetAnswer":
        """From the catalogue's row and how the changeset stands."""
        return cls(
            changeset_id=(row.changeset_id or b"").hex(),
            changeset_name=row.changeset_name,
            number=row.number,
            created_ns=row.created_ns,
            stored_ns=row.stored_ns,
            using=row.plugin,
            status=row.status,
            complete=bool(row.complete),
            fallback=row.fallback,
            written=row.written,
            touched=row.touched,
            removed=row.removed,
            unchanged=row.unchanged,
            failed=row.failed,
            bytes_read=row.bytes_read,
            bytes_stored=row.bytes_stored,
            objects_stored=row.objects_stored,
            tags=tuple(sorted(standing.tags)),
            pinned=standing.pinned,
            forgotten_ns=standing.forgotten_ns,
            swept=standing.swept,
        )

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["created_at"] = iso(found.pop("created_ns"))
        found["stored_at"] = iso_or_none(found.pop("stored_ns"))
        found["forgotten_at"] = iso_or_none(found.pop("forgotten_ns"))
        found["tags"] = list(self.tags)
        return found


@dataclass(frozen=True, slots=True)
class StoreState:
    """Whether a store answers, and if not, why; `setback`: it is older than it was."""

    url: str
    reachable: bool
    error: str | None
    setback: str = ""


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The state of a dataset; `changeset` is the one that files and bytes belong to."""

    dataset: str
    root: bytes
    store: StoreState
    changeset: ChangesetAnswer | None
    changesets: int
    files: int
    bytes: int
    objects: int
    stored_bytes: int
    pending: int
    failures: tuple[Failure, ...]
    last_push_ns: int | None
    last_verify_ns: int | None
    audited: int
    audit_misses: int
    upkeep: Upkeep | None = None

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        store: Json = {"url": self.store.url, "reachable": self.store.reachable}
        store["setback"] = self.store.setback
        if self.store.error:
            store["error"] = self.store.error
        return {
            "dataset": self.dataset,
            "root": path_text(self.root),
            "store": store,
            "changeset_id": None if self.changeset is None else self.changeset.changeset_id,
            "changeset": None if self.changeset is None else self.changeset.to_json(),
            "changesets": self.changesets,
            "files": self.files,
            "bytes": self.bytes,
            "objects": self.objects,
            "stored_bytes": self.stored_bytes,
            "pending": self.pending,
            "failed": len(self.failures),
            "failures": [failure_json(one) for one in self.failures],
            "last_push": iso_or_none(self.last_push_ns),
            "last_verify": iso_or_none(self.last_verify_ns),
            "audited": self.audited,
            "audit_misses": self.audit_misses,
            "cost": None if self.upkeep is None else self.upkeep.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """One record: `kind` is metadata, content or segment; offsets and sizes in bytes.

    `verified_how` its object was: hashed, or opened, which is hashed too; None if never.
    """

    kind: str
    file_offset: int
    object: str
    object_size: int
    offset: int
    length: int
    confirmed_ns: int
    verified_ns: int | None
    verified_how: str | None

    def to_json(self) -> Json:
        """With times as text."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["confirmed_at"] = iso(found.pop("confirmed_ns"))
        found["verified_at"] = iso_or_none(found.pop("verified_ns"))
        return found


@dataclass(frozen=True, slots=True)
class WhereAnswer:
    """Where the newest version of a path lies; `current` is False when the path was removed."""

    version: Version
    current: bool
    store_url: str
    places: tuple[Place, ...]

    def to_json(self) -> Json:
        """The version and its places."""
        return {
            **self.version.to_json(),
            "current": self.current,
            "store": self.store_url,
            "places": [one.to_json() for one in self.places],
        }


@dataclass(frozen=True, slots=True)
class DiffAnswer:
    """What leads from changeset `older` to `newer`, each list in byte order of paths."""

    older: ChangesetAnswer
    newer: ChangesetAnswer
    added: tuple[Version, ...]
    removed: tuple[Version, ...]
    changed: tuple[Version, ...]

    def to_json(self) -> Json:
        """Three lists of paths."""
        return {
            "from": self.older.changeset_id,
            "to": self.newer.changeset_id,
            "added": [one.to_json() for one in self.added],
            "removed": [one.to_json() for one in self.removed],
            "changed": [one.to_json() for one in self.changed],
        }
