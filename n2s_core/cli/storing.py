"""The command about the remotes of a store: list, status, sync, verify, repair."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.text import parse_percent, size_text, time_text

if TYPE_CHECKING:
    from n2s_core.app.storing import StoreAnswer

MOST_SHOWN = 20
RemoteWord = Annotated[
    str | None, typer.Option("--remote", metavar="NAME", help="Only this remote.")
]
PercentWord = Annotated[
    str | None,
    typer.Option("--percent", metavar="PERCENT", help="Read this share of what every remote has."),
]


def store_command(
    out: Output,
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="list, status, sync, verify or repair.")
    ],
    *,
    remote: RemoteWord = None,
    percent: PercentWord = None,
) -> int:
    """The remotes of a store: list, status, sync (pay what is owed), verify, repair."""
    return _act(out, action, remote, percent)


def rebuild_objects_command(
    out: Output,
    *,
    remote: RemoteWord = None,
    percent: PercentWord = None,
) -> int:
    """The same as `store repair`: what remotes lack is made anew from the others."""
    return _act(out, "repair", remote, percent)


def _act(out: Output, action: str, remote: str | None, percent: str | None) -> int:
    from n2s_core.app.api import store

    with out.progress() as report:
        done = store(
            action,
            config=out.config,
            remote=remote,
            percent=0.0 if percent is None else parse_percent(percent, "--percent"),
            report=report,
        )
    _say_problems(out, done)
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    _say_remotes(out, done)
    if action == "status":
        _say_owed(out, done)
    if action == "verify":
        out.summary(
            f"{done.objects} objects, {done.checked} copies read: {len(done.missing)} missing,"
            f" {len(done.damaged)} damaged, {done.seconds:.1f} s"
        )
    if action in {"sync", "repair"}:
        out.summary(
            f"{done.paid.objects} objects ({size_text(done.paid.bytes)}) written,"
            f" {done.debts} owed, {done.seconds:.1f} s"
        )
    return done.exit_code


def _say_problems(out: Output, done: "StoreAnswer") -> None:
    for kind, found in (("missing", done.missing), ("damaged", done.damaged)):
        for one in found:
            out.problem(f"{kind} on {one.remote}: {one.error}")
    for name, why in {**done.away, **done.paid.away}.items():
        out.problem(f"remote {name}: {why}")
    for name, why in done.paid.problems.items():
        out.problem(f"{name}: {why}")


def _say_owed(out: Output, done: "StoreAnswer") -> None:
    for one in done.owed[:MOST_SHOWN]:
        out.line(f"owed by {one.remote}: {one.name}: {one.error}")
    if done.debts > MOST_SHOWN:
        out.line(f"... {done.debts} in all")
    if done.owed:
        out.line("'n2s store sync' stores them now; every push stores some of them.")


def _say_remotes(out: Output, done: "StoreAnswer") -> None:
    out.line(done.store)
    for one in done.remotes:
        group = f" in {one.group}" if one.group else ""
        debts = f", owes {one.debts} object(s)" if one.debts else ""
        since = "" if one.away_ns is None else f", away since {time_text(one.away_ns)}"
        out.line(f"  {one.name}{group}: {one.status}{since}{debts}  {one.url}".rstrip())
        if one.status == "retired":
            out.line("    It is not in the configuration; 'n2s store repair' forgets it.")
