"""`store`: the remotes of a dataset, what they owe, and how that is put right."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from n2s_core.app.answers import Json
from n2s_core.app.comparing_remotes import RemotesComparison, objects_of
from n2s_core.app.paying import Paid, Paying
from n2s_core.app.workspace import Workspace
from n2s_core.clock import iso, now_ns
from n2s_core.config import shown_url
from n2s_core.errors import UsageError
from n2s_core.facts import RemoteFacts
from n2s_core.layout import Shelf
from n2s_core.model import Debt, Report
from n2s_core.remotes import PREFIX, RemoteSet
from n2s_core.stores import create_store
from n2s_core.stores.fleet import Fleet, SetStore

HEALTHY, DEGRADED, UNKNOWN, RETIRED = "healthy", "degraded", "unknown", "retired"
WHOLE = 100.0
MOST_OWED = 1000


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """One remote and how it stands; a retired one is known to the catalogue alone."""

    name: str
    url: str
    priority: int
    group: str
    status: str
    debts: int
    checked_ns: int | None
    error: str
    away_ns: int | None = None

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "name": self.name,
            "url": self.url,
            "priority": self.priority,
            "group": self.group,
            "status": self.status,
            "debts": self.debts,
            "checked_at": None if self.checked_ns is None else iso(self.checked_ns),
            "error": self.error,
            "away_since": None if self.away_ns is None else iso(self.away_ns),
        }


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """The remotes of a store, and what a command did with them.

    `missing` and `damaged` are the objects that a verify found, with remote and reason, `owed` the
    oldest of those that remotes owe now; `debts` counts all of these.
    """

    store: str
    remotes: tuple[RemoteAnswer, ...]
    objects: int = 0
    checked: int = 0
    missing: tuple[Debt, ...] = ()
    damaged: tuple[Debt, ...] = ()
    owed: tuple[Debt, ...] = ()
    paid: Paid = field(default_factory=Paid)
    away: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """3 when objects are missing or damaged and could not be written again, 1 when owed."""
        unpaid = (self.missing or self.damaged) and not self.paid.objects
        if self.paid.problems or (unpaid and self.debts):
            return 3
        return 1 if self.away or self.paid.away else 0

    @property
    def debts(self) -> int:
        """How many objects are owed now, by all remotes together."""
        return sum(one.debts for one in self.remotes)

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "store": self.store,
            "remotes": [one.to_json() for one in self.remotes],
            "objects": self.objects,
            "checked": self.checked,
            "missing": [_found_json(one) for one in self.missing],
            "damaged": [_found_json(one) for one in self.damaged],
            "written": self.paid.objects,
            "bytes": self.paid.bytes,
            "debts": self.debts,
            "owed": [_found_json(one) for one in self.owed],
            "away": {**self.away, **self.paid.away},
            "problems": [
                {"object": name, "problem": why} for name, why in self.paid.problems.items()
            ],
            "seconds": round(self.seconds, 3),
        }


def _found_json(one: Debt) -> Json:
    return {"remote": one.remote, "object": one.name, "problem": one.error}


def show(space: Workspace, *, ask: bool) -> StoreAnswer:
    """The remotes as the configuration has them; with `ask` each is asked whether it answers."""
    started_ns = now_ns()
    away: dict[str, str] = {}
    if ask:
        several = _several(space)
        keys = Shelf.KEYS.value
        answers = several.fleet.get(
            several.fleet.remotes, lambda remote: sum(1 for _ in remote.store.list(keys))
        )
        away = {name: str(error) for name, error in answers.errors.items()}
        away |= {
            name: "There is no key object on it; is it the right one, or new?"
            for name, count in answers.values.items()
            if not count
        }
        _note_asked(space, several.fleet, away)
    return _answer(space, started_ns, away=away)


def sync(space: Workspace, remote: str | None, report: Report) -> StoreAnswer:
    """Pay what is owed by all remotes, or by one."""
    started_ns = now_ns()
    several = _several(space)
    _judge_remote(several.fleet, remote)
    paid = Paying(several, space.catalogue.debts, report).run(remote)
    _note_asked(space, several.fleet, paid.away)
    return _answer(space, started_ns, paid=paid)


def verify(space: Workspace, remote: str | None, percent: float, report: Report) -> StoreAnswer:
    """Compare every remote, or one, with the catalogue; what is found wrong is owed from now on."""
    started_ns = now_ns()
    found = _compare(space, remote, percent, report)
    return _answer(space, started_ns, found=found)


def repair(space: Workspace, remote: str | None, percent: float, report: Report) -> StoreAnswer:
    """What a verify finds is written again from the other remotes.

    A `remote` that is named may be new or empty: its folder is made. What remotes that do not
    belong to the store any more owe is forgotten. When objects are to lie in another form than
    before, all of them are owed in it. What a remote had that is away for too long is made anew
    on others, where that can be.
    """
    started_ns = now_ns()
    several = _several(space)
    _judge_remote(several.fleet, remote)
    debts = space.catalogue.debts
    known = {one.name for one in several.fleet.remotes}
    for name in (debts.counts().keys() | debts.remotes().keys()) - known:
        debts.forget_remote(name)
    if remote is not None:
        create_store(replace(space.spec, url=several.fleet.named(remote).table.url))
    _owe_form(space, several)
    found = _compare(space, remote, percent, report, lost=_lost(space))
    paid = Paying(several, debts, report).run(remote)
    _note_asked(space, several.fleet, {**found.away, **paid.away})
    return _answer(space, started_ns, paid=paid, found=found)


def _owe_form(space: Workspace, several: SetStore) -> None:
    """Note that every object is owed in the form of the configuration, when that was changed."""
    debts, names = space.catalogue.debts, [one.name for one in several.fleet.remotes]
    before = debts.form()
    if before is not None and before != several.form:
        error = f"It lies in the form of before: {before}."
        for _, objects in objects_of(space.catalogue):
            debts.note([Debt(remote, name, error) for name in objects for remote in names])
    if before != several.form:
        debts.note_form(several.form)


def _lost(space: Workspace) -> set[str]:
    """Remotes that are away for longer than the configuration bears."""
    longest_ns = space.config.store.rebuild_after_ns
    if longest_ns is None:
        return set()
    latest_ns = now_ns() - longest_ns
    since = space.catalogue.debts.away_since()
    return {name for name, away_ns in since.items() if away_ns <= latest_ns}


def _compare(
    space: Workspace,
    remote: str | None,
    percent: float,
    report: Report,
    *,
    lost: Collection[str] = (),
) -> RemotesComparison:
    if not 0 <= percent <= WHOLE:
        message = f"--percent takes a percentage from 0 to 100, not {percent:g}."
        raise UsageError(message)
    several = _several(space)
    _judge_remote(several.fleet, remote)
    wanted = {one.name for one in several.fleet.remotes} if remote is None else {remote}
    found = RemotesComparison(space.catalogue, several, wanted, percent, report, lost)
    found.run()
    _note_asked(space, several.fleet, found.away)
    return found


# -- how remotes stand -----------------------------------------------------------------------------


def note_remotes(space: Workspace, fleet: Fleet) -> None:
    """Remember how remotes fared as this process saw it."""
    now = now_ns()
    space.catalogue.debts.note_remotes(
        RemoteFacts(
            one.name,
            DEGRADED if one.puts.failures else HEALTHY,
            now,
            one.puts.error,
            one.puts.failures,
        )
        for one in fleet.remotes
    )
    _note_away(space, fleet)


def _note_asked(space: Workspace, fleet: Fleet, away: Mapping[str, str]) -> None:
    now = now_ns()
    space.catalogue.debts.note_remotes(
        RemoteFacts(
            one.name,
            DEGRADED if one.name in away else HEALTHY,
            now,
            away.get(one.name, ""),
            int(one.name in away),
        )
        for one in fleet.remotes
    )
    _note_away(space, fleet)


def _note_away(space: Workspace, fleet: Fleet) -> None:
    found = {one.name: one.is_away for one in fleet.remotes}
    space.catalogue.debts.note_away({one: away for one, away in found.items() if away is not None})


def _several(space: Workspace) -> SetStore:
    several = space.store.several
    if several is None:
        message = (
            f"The store {space.store_url} is not one of several remotes; 'n2s verify' compares it"
            " with the catalogue. docs/stores.md tells how to have several."
        )
        raise UsageError(message)
    return several


def _judge_remote(fleet: Fleet, remote: str | None) -> None:
    names = [one.name for one in fleet.remotes]
    if remote is not None and remote not in names:
        message = f"There is no remote {remote!r}; there are {', '.join(names)}."
        raise UsageError(message)


def _answer(
    space: Workspace,
    started_ns: int,
    *,
    paid: Paid | None = None,
    away: Mapping[str, str] | None = None,
    found: RemotesComparison | None = None,
) -> StoreAnswer:
    """The remotes of the configuration in order, then those that only the catalogue knows."""
    counts, facts = space.catalogue.debts.counts(), space.catalogue.debts.remotes()
    url, since = space.store_url, space.catalogue.debts.away_since()
    tables = RemoteSet.from_url(url).remotes if url.startswith(PREFIX) else ()
    listed = []
    for one in sorted(tables, key=lambda one: one.priority):
        state = facts.pop(one.name, None)
        listed.append(
            RemoteAnswer(
                one.name,
                one.url,
                one.priority,
                one.group,
                UNKNOWN if state is None else state.status,
                counts.pop(one.name, 0),
                None if state is None else state.checked_ns,
                "" if state is None else state.error,
                since.get(one.name),
            )
        )
    listed += [
        RemoteAnswer(name, "", 0, "", RETIRED, counts.get(name, 0), None, "")
        for name in sorted(facts.keys() | counts.keys())
    ]
    if not tables:
        listed.append(RemoteAnswer("store", shown_url(url), 0, "", UNKNOWN, 0, None, ""))
    return StoreAnswer(
        store=shown_url(url),
        remotes=tuple(listed),
        objects=0 if found is None else found.objects,
        checked=0 if found is None else found.checked,
        missing=() if found is None else tuple(found.missing),
        damaged=() if found is None else tuple(found.damaged),
        owed=tuple(space.catalogue.debts.first(MOST_OWED)),
        paid=paid or Paid(),
        away=(away or {}) if found is None else found.away,
        seconds=(now_ns() - started_ns) / 1e9,
    )
