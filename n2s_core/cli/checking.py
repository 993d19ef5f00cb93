"""The commands that compare with the store: verify, rebuild."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.spending import say_traffic
from n2s_core.cli.text import parse_percent, size_text
from n2s_core.clock import parse_age
from n2s_core.relpath import show


def verify_command(
    out: Output,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="[PERCENT]",
            help="Read this share of the objects; all without a number.",
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Only what was verified longer ago, such as 30d."
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option("--max-bytes", metavar="SIZE", help="Read no more than this, such as 10G."),
    ] = None,
) -> int:
    """Compare store and catalogue; exit 3 when something is missing or damaged."""
    from n2s_core.app.api import verify
    from n2s_core.sizes import parse_size

    if data is None and max_bytes is not None:
        data = "100"
    percent = 0.0 if data is None else parse_percent(data, "--data")
    most = None if max_bytes is None else parse_size(max_bytes, where="--max-bytes")
    with out.progress() as report:
        done = verify(
            None,
            config=out.config,
            percent=percent,
            older_than_ns=None if older_than is None else parse_age(older_than),
            most_bytes=most,
            report=report,
        )
    found = done.found
    if done.note and percent:
        out.note(done.note)
    if done.setback:
        out.problem(done.setback)
    for kind, names in (("missing", found.missing), ("damaged", found.damaged)):
        for name, why in names.items():
            out.problem(f"{kind}: {name}: {why}{_concern(done.concerned_by(name))}")
    for path in found.affected_paths:
        out.problem(f"affected: {show(path) or '.'}")
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    well = f"{len(found.missing)} missing, {len(found.damaged)} damaged"
    if not done.exit_code:
        well = "nothing missing, nothing damaged"
    else:
        well += f", {found.concerns.path_count} paths affected"
    orphans = f", {found.orphans} unknown to the catalogue" if found.orphans else ""
    left = f", {found.unread} left to read" if percent and found.unread else ""
    out.summary(
        f"{found.objects} objects, {found.checked} checked, {size_text(found.bytes)} read:"
        f" {well}{orphans}{left}, {done.seconds:.1f} s"
    )
    say_traffic(out, done.traffic)
    if done.exit_code:
        out.problem(
            "Keep the store as it is: 'n2s repair' heals what can be healed, and a push stores"
            " again what the source still has."
        )
    return done.exit_code


def _concern(counts: tuple[int, int] | None) -> str:
    """How much depends on an object."""
    return "" if counts is None else f" ({counts[0]} paths, {counts[1]} changesets)"


def rebuild_command(out: Output) -> int:
    """Make the catalogue anew from the store."""
    from n2s_core.app.api import rebuild

    with out.progress() as report:
        done = rebuild(None, config=out.config, report=report)
    for problem in done.problems:
        out.problem(problem)
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    out.summary(
        f"{done.catalogue}: {done.changesets} changesets, {done.files} files"
        f" ({size_text(done.bytes)}), {done.objects} objects, {done.seconds:.1f} s"
    )
    return done.exit_code
