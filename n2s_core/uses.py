"""What a prune asks of a catalogue: who needs which object."""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Protocol

from n2s_core.layout import Shelf, object_name
from n2s_core.model import ObjectRow


class Use(IntEnum):
    """Who needs an object; the greater one counts."""

    NONE = 0
    FORGOTTEN = 1
    KEPT = 2


class Version(NamedTuple):
    """What a prune has to know of a row of `files`."""

    dataset_no: int
    path: bytes
    valid_from: int
    valid_to: int
    object_no: int
    content: bytes | None
    blob_id: bytes | None
    segments: int
    record_offset: int
    record_length: int


class Numbered(NamedTuple):
    """A stored changeset as the catalogue numbers it."""

    changeset_no: int
    forgotten: bool
    swept: bool


class Doomed(NamedTuple):
    """A data object that the catalogue does not know any more and that the store is to lose."""

    object_no: int
    digest: bytes
    size: int

    @property
    def name(self) -> str:
        """Its name in the store."""
        return object_name(Shelf.DATA, self.digest)


class Sums(NamedTuple):
    """A number of objects and their bytes."""

    objects: int = 0
    bytes: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(self.objects + other.objects, self.bytes + other.bytes)


Place = tuple[int, int, int]
"""object_no, offset and length of a record."""
NewPlace = Callable[[Place], Place]


class Candidate(NamedTuple):
    """A data object with `live` bytes of records in use; `dataset` is the name of its dataset.

    One that is not `movable` is damaged, or not all that is in use of it is known.
    """

    object_no: int
    digest: bytes
    size: int
    dataset: str
    live: int
    movable: bool

    @property
    def name(self) -> str:
        """Its name in the store."""
        return object_name(Shelf.DATA, self.digest)


class Copied(NamedTuple):
    """An object and its copy; `move` is a packed Move."""

    object_no: int
    new_no: int
    move: bytes


class Repacked(NamedTuple):
    """What a repack did: the copies, the `old` objects whose place they take.

    `unused` bytes lie in objects that stay as they are; `fixed` are those that cannot be copied,
    because a client that may only add wrote them, and their unused bytes.
    """

    copies: Sums = Sums()
    old: Sums = Sums()
    unused: int = 0
    fixed: Sums = Sums()


class PruneCatalogue(Protocol):
    """The catalogue as a prune sees it.

    Every write raises LeaseHeld when another prune or a rebuild took over.
    """

    def renew(self) -> None:
        """Prolong the lease when it is time; cheap."""

    def numbers(
        self, *, before_ns: int | None = None, now_ns: int = 0
    ) -> dict[int, list[Numbered]]:
        """The stored changesets of each dataset, oldest first.

        With `before_ns` those count as swept that a sweep up to that time would take; what is not
        marked counts as marked at `now_ns`.
        """

    def mark_changesets(self, time_ns: int) -> None:
        """Forgotten changesets are marked: from now on their time of grace counts."""

    def begin_scan(self, newest: Use) -> None:
        """Take down which data objects there are, and since when they are marked.

        The newest of all is taken to be of this use.
        """

    def versions(self) -> Iterator[list[Version]]:
        """Pages of all rows of `files`."""

    def use(self, versions: Iterable[Version], use: Use) -> None:
        """These versions need their objects."""

    def use_of_pending(self) -> None:
        """A push that is not finished needs what it has stored."""

    def remove_versions(self, versions: list[Version]) -> None:
        """Rows that no changeset sees any more."""

    def unused(self) -> Sums:
        """Objects that no kept changeset needs."""

    def due_objects(self, before_ns: int, now_ns: int) -> Sums:
        """Objects that nobody needs, marked up to a time, or at `now_ns` if they are not yet."""

    def early(self, before_ns: int, marked_ns: int, *, now_ns: int, minimum_ns: int) -> float:
        """Bytes of `due_objects`, each times what it lacks now of an age of `minimum_ns`.

        What is not marked counts as marked at `marked_ns`.
        """

    def mark(self, time_ns: int) -> None:
        """Mark what no kept changeset needs, unmark what one does."""

    def doom(self, marked_before_ns: int) -> list[Doomed]:
        """The next page of objects to remove; nothing refers to them any more afterwards."""

    def doomed(self) -> list[Doomed]:
        """A page of what an earlier prune did not come to remove."""

    def removed(self, gone: Iterable[Doomed]) -> None:
        """The store does not have these any more."""

    def tidy(self) -> None:
        """Remove what says where contents lay that are gone."""


class RepackCatalogue(Protocol):
    """The catalogue as a repack sees it. Writes raise LeaseHeld when somebody else took over."""

    def begin(self) -> None:
        """No record is known to be in use."""

    def use(self, versions: Iterable[Version]) -> None:
        """The records of these versions are."""

    def candidates(self) -> Iterator[Candidate]:
        """Objects with records in use."""

    def records(self, object_no: int) -> list[tuple[int, int]]:
        """Offset and length of the records of an object that are in use, in order."""

    def copied(self, object_no: int, new: ObjectRow, move: bytes) -> None:
        """The store has a copy of what an object holds in use; the number of `new` is ignored."""

    def told(self) -> list[Copied]:
        """Copies that the store tells of, and that not everything refers to yet."""

    def relink(self, versions: Iterable[Version], new_place: NewPlace) -> None:
        """These versions are read at the new places."""

    def relink_pieces(self, old: list[int], new_place: NewPlace) -> None:
        """Pieces of large files, and contents that can be shared, are read at the new places."""

    def finish(self, done: list[Copied], time_ns: int) -> None:
        """What was copied is marked."""
