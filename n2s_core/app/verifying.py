"""Building and running of a verify."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from n2s_core.app import secrets
from n2s_core.app.answers import Json, path_json, path_text, traffic_json
from n2s_core.app.setback import setback_of
from n2s_core.app.traffic import Traffic
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.losses import note_losses, settle_losses
from n2s_core.clock import now_ns
from n2s_core.errors import KeyProblem, UsageError
from n2s_core.flows.affected import Concern
from n2s_core.flows.verify import Findings, Verify, VerifyWish
from n2s_core.model import Affected, ObjectRow, Remembered, Report

WHOLE = 100.0


@dataclass(frozen=True, slots=True)
class VerifyAnswer:
    """What a verify found. `opened` is False when no passphrase was there to open records."""

    found: Findings
    percent: float
    opened: bool
    note: str | None
    seconds: float
    setback: str = ""
    traffic: Traffic | None = None

    @property
    def exit_code(self) -> int:
        """3 when anything is missing or damaged."""
        return 3 if self.found.missing or self.found.damaged or self.setback else 0

    def concerned_by(self, name: str) -> tuple[int, int] | None:
        """How many paths and changesets need a missing or damaged object; None of a key."""
        found = self.found.concerns.of.get(name)
        return None if found is None else (found.path_count, found.changeset_count)

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        found = self.found
        problems = {**found.missing, **found.damaged}
        return {
            "objects": found.objects,
            "checked": found.checked,
            "read": found.read,
            "unread": found.unread,
            "bytes": found.bytes,
            "missing": list(found.missing),
            "damaged": list(found.damaged),
            "affected_paths": [path_text(path) for path in found.affected_paths],
            "affected": [path_json(path) for path in found.affected_paths],
            "affected_count": found.concerns.path_count,
            "problems": [
                {"object": name, "problem": why, **concern_json(found.concerns.of.get(name))}
                for name, why in problems.items()
            ],
            "orphans": found.orphans,
            "data_percent": self.percent,
            "opened": self.opened,
            "seconds": round(self.seconds, 3),
            "setback": self.setback,
            **traffic_json(self.traffic),
        }


def concern_json(concern: Concern | None) -> Json:
    """The first paths and changesets that need an object, and how many; nothing of a key."""
    found = concern or Concern()
    return {
        "paths": [path_json(path) for path in found.paths],
        "path_count": found.path_count,
        "changeset_ids": [one.hex() for one in found.changeset_ids],
        "changeset_count": found.changeset_count,
    }


class ObjectsView:
    """The objects of a catalogue; implements flows.verify.ObjectCatalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """The catalogue stays the caller's."""
        self._catalogue = catalogue
        self._damages = catalogue.damages

    def key_objects(self) -> list[tuple[bytes, bytes]]:
        """Digest and bytes of the key objects."""
        return self._catalogue.key_objects()

    def in_folder(self, shelf: str, first: int | None) -> list[Remembered]:
        """Objects of a shelf whose BLAKE3 begins with a byte, or all of them."""
        return self._damages.in_folder(shelf, first)

    def oldest(self, before_ns: int) -> Iterator[ObjectRow]:
        """Those that were not read since then, oldest first."""
        return self._damages.oldest(before_ns)

    def damaged(self) -> set[int]:
        """Those that are known to be missing or damaged."""
        return self._damages.numbers()

    def note_sized(self, shelf: str, first: int | None, time_ns: int) -> None:
        """A folder was listed and compared."""
        self._damages.note_sized(shelf, first, time_ns)

    def note_verified(self, object_nos: list[int], time_ns: int, how: str) -> None:
        """Remember that these were read and found whole."""
        self._damages.note_verified(object_nos, time_ns, how)

    def note_damages(self, found: Iterable[tuple[int, str, str]]) -> None:
        """Remember what is wrong."""
        self._damages.note(found)

    def note_losses(self, object_nos: set[int]) -> None:
        """What is in these objects is to be stored again by the next push."""
        note_losses(self._catalogue.db, object_nos)

    def settle(self) -> None:
        """Objects that were thought lost are whole."""
        settle_losses(self._catalogue.db)

    def affected(self, object_nos: set[int]) -> Iterator[Affected]:
        """Versions that need one of these objects."""
        return self._damages.affected(object_nos)

    def changeset_ids(self) -> dict[int, bytes]:
        """The changesets, oldest first."""
        return self._damages.changeset_ids()


def verify(
    space: Workspace,
    *,
    percent: float,
    older_than_ns: int | None,
    report: Report,
    most_bytes: int | None = None,
) -> VerifyAnswer:
    """Run it. Raises N2sError; damage is in the answer. A wrong passphrase is a KeyProblem."""
    if not 0 <= percent <= WHOLE:
        message = f"--data takes a percentage from 0 to 100, not {percent:g}."
        raise UsageError(message)
    started_ns = now_ns()
    note = begin_unlock(space, ask=percent > 0)
    dataset = space.dataset
    before_ns = None if older_than_ns is None else started_ns - older_than_ns
    flow = Verify(
        catalogue=ObjectsView(space.catalogue),
        store=space.store,
        master_key=None if note else space.master_key(),
        wish=VerifyWish(percent, before_ns, most_bytes),
        report=report,
    )
    found = flow.run()
    space.catalogue.note_verify(dataset.dataset_no)
    setback = setback_of(space, space.store)
    seconds = (now_ns() - started_ns) / 1e9
    traffic = space.traffic()
    return VerifyAnswer(found, percent, note is None, note, seconds, setback, traffic)


def begin_unlock(space: Workspace, *, ask: bool) -> str | None:
    """Start to derive the key; why that is not possible, in a sentence.

    Without `ask` nobody is asked for a passphrase, because names and sizes need none.
    """
    key = space.config.key
    given = secrets.names_a_source(key) or key.push_credential
    hashes_only = "Records were not opened, only their hashes were compared." if ask else ""
    if not given and not ask:
        return f"No passphrase was given. {hashes_only}".strip()
    try:
        space.begin_unlock()
    except KeyProblem as error:
        return f"{error} {hashes_only}".strip()
    return None
