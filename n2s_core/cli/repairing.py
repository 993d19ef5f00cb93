"""The commands that put a store right: repair, reconcile."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.spending import say_traffic
from n2s_core.cli.text import parse_percent, size_text, time_text
from n2s_core.relpath import show


def repair_command(
    out: Output,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="[PERCENT]",
            help="Read this share of the objects first; all without a number.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
) -> int:
    """Heal missing and damaged objects from remotes, the tree, and other records."""
    from n2s_core.app.api import repair

    with out.progress() as report:
        done = repair(
            None,
            config=out.config,
            percent=0.0 if data is None else parse_percent(data, "--data"),
            dry_run=dry_run,
            report=report,
        )
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    healed = "would be healed" if dry_run else "healed"
    for name, why in done.healed.items():
        out.note(f"{healed}: {name} ({why})")
    for name, why in done.unhealed.items():
        out.problem(f"not healed: {name}: {why}")
    for path in done.concerns.paths:
        out.problem(f"affected: {show(path) or '.'}")
    out.summary(
        f"{done.found.objects} objects compared: {len(done.healed)} {healed}"
        f" ({size_text(done.bytes)}), {done.relinked} contents found elsewhere,"
        f" {len(done.unhealed)} not healed, {done.concerns.path_count} paths affected,"
        f" {done.seconds:.1f} s"
    )
    say_traffic(out, done.traffic)
    if done.unhealed:
        out.problem(
            "Keep the store as it is. The next push stores again what the source still has; a"
            " repair after it finds more."
        )
    return done.exit_code


def reconcile_command(
    out: Output,
    *,
    delete_quarantined: Annotated[
        bool,
        typer.Option(
            "--delete-quarantined", help="Remove what is in quarantine for longer than the grace."
        ),
    ] = False,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="DURATION", help="How long that is; 7d without it."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
) -> int:
    """Find what only the catalogue or only the store has; adopt, leave or quarantine it."""
    from n2s_core.app.keeping import QUARANTINE_GRACE, reconcile

    with out.progress() as report:
        found = reconcile(
            config=out.config,
            grace=QUARANTINE_GRACE if grace is None else grace,
            delete_quarantined=delete_quarantined,
            dry_run=dry_run,
            report=report,
        )
    if out.json:
        out.document(found.to_json())
        return found.exit_code
    done, would = found.done, "would be " if dry_run else ""
    for name, why in found.phantoms.items():
        out.problem(f"phantom: {name}: {why}")
    for path in found.found.affected_paths:
        out.problem(f"affected: {show(path) or '.'}")
    for one in done.names:
        since = time_text(one.since_ns)
        out.problem(f"quarantined: {one.name} ({size_text(one.size)}, since {since}): {one.why}")
    for name in done.deleted_names:
        out.note(f"{would}deleted: {name}")
    for name in found.unknown:
        out.problem(f"unknown changeset: {name}")
    if found.advice:
        out.problem(found.advice)
    out.summary(
        f"{found.found.objects} objects compared: {len(found.phantoms)} phantoms, {done.adopted}"
        f" orphans ({size_text(done.adopted_bytes)}) {would}adopted, {done.strangers} of others"
        f" or lists, {done.unjudged} not judged, {done.quarantined} in quarantine, {done.deleted}"
        f" {would}deleted, {found.seconds:.1f} s"
    )
    return found.exit_code
