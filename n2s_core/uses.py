"""What a prune asks of a catalogue: who needs which object."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Protocol

from n2s_core.layout import Shelf, object_name


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
