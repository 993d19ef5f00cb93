"""The command that heals a store: repair."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.text import parse_percent, size_text
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
    if done.unhealed:
        out.problem(
            "Keep the store as it is. The next push stores again what the source still has; a"
            " repair after it finds more."
        )
    return done.exit_code
