"""What is decided about changesets: which are forgotten, brought back, pinned, tagged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from n2s_core.app.answers import Json
from n2s_core.app.delivering import deliver
from n2s_core.app.listings import ChangesetAnswer
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue.queries import SHORTEST_PREFIX
from n2s_core.catalogue.verdicts import Seal
from n2s_core.clock import now_ns
from n2s_core.errors import UsageError
from n2s_core.facts import Changeset, Dataset
from n2s_core.faults import crash_point
from n2s_core.packs import Keyring
from n2s_core.retention import Candidate, Policy, judge
from n2s_core.sealing import Kind
from n2s_core.verdicts import KEPT, Standing, Verdict, check_tags

SHOWN_ID = 16
NAMELESS = "no id"
"""Why a changeset is kept that a rebuild took from records alone: a decision names ids."""
Known = Sequence[tuple[Changeset, Standing]]


@dataclass(frozen=True, slots=True)
class Judged:
    """One changeset, and why it is kept; for no reason when it is forgotten."""

    changeset: ChangesetAnswer
    reasons: tuple[str, ...]

    def to_json(self) -> Json:
        """The changeset with its reasons."""
        return {**self.changeset.to_json(), "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class ForgetAnswer:
    """What a policy keeps and forgets, newest first."""

    dataset: str
    kept: tuple[Judged, ...]
    forgotten: tuple[Judged, ...]
    dry_run: bool

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "dataset": self.dataset,
            "kept": [one.to_json() for one in self.kept],
            "forgotten": [one.to_json() for one in self.forgotten],
            "dry_run": self.dry_run,
        }


def known(space: Workspace, dataset: Dataset) -> list[tuple[Changeset, Standing]]:
    """The changesets of a dataset and how they stand, oldest first."""
    standings = space.catalogue.verdicts.standings(dataset.dataset_no)
    found = space.catalogue.queries.changesets(dataset.dataset_no)
    return [(one, standings.get(one.changeset_no, KEPT)) for one in reversed(found)]


def forget(space: Workspace, policy: Policy, *, dry_run: bool) -> ForgetAnswer:
    """Forget what a policy does not keep. Raises UsageError when it would keep nothing."""
    if policy.is_empty():
        message = (
            "Nothing says what to keep. Give --keep-daily 7 or another rule, or write rules into"
            " [retention] of the configuration; docs/retention.md explains them."
        )
        raise UsageError(message)
    judged: list[tuple[Changeset, Standing, tuple[str, ...]]] = []

    def decide(rows: Known, _made_ns: int) -> dict[str, Iterable[bytes]]:
        present = [one for one in rows if one[1].forgotten_ns is None]
        candidates = [Candidate(row.created_ns, how.tags, how.pinned) for row, how in present]
        reasons = judge(policy, candidates, now_ns())
        judged[:] = [
            (*one, why or (() if one[0].changeset_id else (NAMELESS,)))
            for one, why in zip(present, reasons, strict=True)
        ]
        return {"forgotten": [_id(row) for row, _, why in judged if not why]}

    if dry_run:
        decide(known(space, space.dataset), 0)
    else:
        give(space, space.dataset, decide)
    answers = [Judged(ChangesetAnswer.of(row, how), why) for row, how, why in reversed(judged)]
    return ForgetAnswer(
        space.dataset.name,
        tuple(one for one in answers if one.reasons),
        tuple(one for one in answers if not one.reasons),
        dry_run,
    )


def forget_these(space: Workspace, ids: Sequence[str], *, dry_run: bool) -> ForgetAnswer:
    """Forget changesets by id. Raises UsageError for the newest one and for pinned ones."""
    chosen: list[tuple[Changeset, Standing]] = []

    def decide(rows: Known, _made_ns: int) -> dict[str, Iterable[bytes]]:
        chosen[:] = _named(rows, ids)
        for row, how in chosen:
            if row is rows[-1][0]:
                message = f"Changeset {_short(row)} is the newest; it is never forgotten."
                raise UsageError(message)
            if how.pinned:
                message = f"Changeset {_short(row)} is pinned; 'n2s unpin {_short(row)}' first."
                raise UsageError(message)
        return {"forgotten": [_id(row) for row, how in chosen if how.forgotten_ns is None]}

    if dry_run:
        decide(known(space, space.dataset), 0)
    else:
        give(space, space.dataset, decide)
    gone = tuple(Judged(ChangesetAnswer.of(row, how), ()) for row, how in chosen)
    return ForgetAnswer(space.dataset.name, (), gone, dry_run)


def bring_back(space: Workspace, ids: Sequence[str]) -> list[ChangesetAnswer]:
    """Forgotten changesets are kept again. Raises UsageError when that is not possible."""

    def decide(rows: Known, _made_ns: int) -> dict[str, Iterable[bytes]]:
        chosen = _named(rows, ids)
        for row, how in chosen:
            if how.swept:
                message = (
                    f"Changeset {_short(row)} cannot be brought back: what only it needed has been"
                    " pruned."
                )
                raise UsageError(message)
            if how.forgotten_ns is None:
                message = f"Changeset {_short(row)} is not forgotten."
                raise UsageError(message)
        return {"brought_back": [_id(row) for row, _ in chosen]}

    return _change(space, ids, decide)


def pin(space: Workspace, ids: Sequence[str], *, key: str) -> list[ChangesetAnswer]:
    """Pin changesets, or unpin them; `key` is "pinned" or "unpinned"."""

    def decide(rows: Known, _made_ns: int) -> dict[str, Iterable[bytes]]:
        chosen = _named(rows, ids)
        for row, how in chosen:
            if how.forgotten_ns is not None:
                message = f"Changeset {_short(row)} is forgotten; bring it back first."
                raise UsageError(message)
        return {key: [_id(row) for row, how in chosen if how.pinned != (key == "pinned")]}

    return _change(space, ids, decide)


def tag(
    space: Workspace, ids: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> list[ChangesetAnswer]:
    """Add tags to changesets, or remove them."""
    check_tags([*add, *remove])

    def decide(rows: Known, made_ns: int) -> Verdict | None:
        dataset = space.dataset
        changed = {
            _id(row): tuple(sorted(tags))
            for row, how in _named(rows, ids)
            if (tags := (how.tags | set(add)) - set(remove)) != how.tags
        }
        if not changed:
            return None
        return Verdict(dataset.dataset_id, dataset.name, made_ns, tags=changed)

    _give(space, space.dataset, decide)
    return [ChangesetAnswer.of(row, how) for row, how in _named(known(space, space.dataset), ids)]


def _change(
    space: Workspace,
    ids: Sequence[str],
    decide: Callable[[Known, int], dict[str, Iterable[bytes]]],
) -> list[ChangesetAnswer]:
    give(space, space.dataset, decide)
    return [ChangesetAnswer.of(row, how) for row, how in _named(known(space, space.dataset), ids)]


def _named(rows: Known, ids: Sequence[str]) -> list[tuple[Changeset, Standing]]:
    """The changesets with these ids or prefixes of them. Raises UsageError."""
    found: list[tuple[Changeset, Standing]] = []
    for wanted in ids:
        prefix = wanted.lower()
        fits = [one for one in rows if (one[0].changeset_id or b"").hex().startswith(prefix)]
        if wanted == "latest":
            fits = list(rows[-1:])
            _refuse_nameless(fits)
        if len(fits) != 1 or len(prefix) < SHORTEST_PREFIX:
            what = "no changeset" if not fits else f"{len(fits)} changesets"
            message = (
                f"{wanted!r} names {what}; 'n2s changesets --all' lists them,"
                f" {SHORTEST_PREFIX} digits are the least."
            )
            raise UsageError(message)
        found.extend(one for one in fits if one not in found)
    return found


def _refuse_nameless(found: Known) -> None:
    if any(row.changeset_id is None for row, _ in found):
        message = (
            "The newest changeset has no id, because its head is lost and a rebuild took it from"
            " records alone. Nothing can be decided about it; the next push makes one that has an"
            " id."
        )
        raise UsageError(message)


def _id(row: Changeset) -> bytes:
    assert row.changeset_id is not None
    return row.changeset_id


def _short(row: Changeset) -> str:
    return _id(row).hex()[:SHOWN_ID]


# -- verdicts and the store ------------------------------------------------------------------


def give(
    space: Workspace,
    dataset: Dataset,
    decide: Callable[[Known, int], dict[str, Iterable[bytes]]],
) -> None:
    """Decide, write it down, and tell the store; `decide` gives lists of ids by field."""

    def verdict(rows: Known, made_ns: int) -> Verdict | None:
        lists = {name: tuple(ids) for name, ids in decide(rows, made_ns).items()}
        if not any(lists.values()):
            return None
        return Verdict(dataset.dataset_id, dataset.name, made_ns, **lists)  # type: ignore[arg-type]

    _give(space, dataset, verdict)


def _give(
    space: Workspace, dataset: Dataset, decide: Callable[[Known, int], Verdict | None]
) -> None:
    seal = _sealing(space)
    space.catalogue.verdicts.give(
        dataset, now_ns(), lambda made_ns: decide(known(space, dataset), made_ns), seal
    )
    crash_point("verdict-given")
    deliver(space)


def _sealing(space: Workspace) -> Seal:
    """Verdicts are sealed with the master key: who may only add does not decide."""
    keyring = Keyring(space.master_key())

    def seal(verdict: Verdict) -> tuple[bytes, bytes]:
        pack = keyring.begin()
        pack.add(Kind.FORGET, verdict.pack())
        sealed = pack.finish()
        return sealed.digest, b"".join(sealed.chunks)

    return seal
