"""The command about the catalogue as a whole: info, upgrade, copy."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.text import size_text, table
from n2s_core.errors import UsageError

if TYPE_CHECKING:
    from n2s_core.app.cataloguing import CatalogueAnswer, CopyAnswer, UpgradeAnswer

ACTIONS = ("info", "upgrade", "copy")


def catalogue_command(
    out: Output,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="info, upgrade or copy.")],
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS", parser=str, help="Another catalogue than the configured one."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Argument(metavar="TO", parser=str, help="copy: from ADDRESS to here.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="upgrade: only say what would be done.")
    ] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="copy: use the copy from now on, FROM no more.")
    ] = False,
) -> int:
    """The catalogue as a whole: look at it, make it one of this version, copy it elsewhere."""
    from n2s_core.app import cataloguing

    if action not in ACTIONS:
        message = f"There is no action {action!r}; there are {', '.join(ACTIONS)}."
        raise UsageError(message)
    if dry_run and action != "upgrade":
        message = "--dry-run is for 'n2s catalogue upgrade'."
        raise UsageError(message)
    if (switch or target is not None) and action != "copy":
        message = "--switch and a second address are for 'n2s catalogue copy FROM TO'."
        raise UsageError(message)
    config = None if out.config is None else Path(out.config)
    if action == "copy":
        if address is None or target is None:
            message = "A copy needs two addresses: 'n2s catalogue copy FROM TO'."
            raise UsageError(message)
        with out.progress() as report:
            copied = cataloguing.copy(address, target, config, switch=switch, report=report)
        _say_copied(out, copied)
    elif action == "upgrade":
        done = cataloguing.upgrade(address, config, dry_run=dry_run)
        _say_upgraded(out, done)
    else:
        _say_info(out, cataloguing.info(address, config))
    return 0


def _say_upgraded(out: Output, done: "UpgradeAnswer") -> None:
    if out.json:
        out.document(done.to_json())
        return
    for version, what in done.steps:
        out.summary(f"version {version}: {what}")
    if not done.steps:
        out.summary(f"{done.address} is of version {done.was_version}; there is nothing to do")
    elif done.dry_run:
        out.summary(f"{done.address} is of version {done.was_version}; nothing was changed")
    else:
        out.summary(
            f"{done.address}: version {done.was_version} became {done.version},"
            f" {done.seconds:.1f} s"
        )


def _say_copied(out: Output, done: "CopyAnswer") -> None:
    if out.json:
        out.document(done.to_json())
    else:
        count = sum(done.rows.values())
        out.summary(f"{count} rows copied to {done.target} and compared, {done.seconds:.1f} s")
        if done.switched is not None:
            out.summary(f"{done.switched} names it now; {done.source} tells whoever opens it")
    for note in done.notes:
        out.note(note)


def _say_info(out: Output, done: "CatalogueAnswer") -> None:
    if out.json:
        out.document(done.to_json())
        return
    found = done.found
    out.line(f"{done.address}: {found.kind}, {size_text(found.size_bytes)}")
    out.line(f"version {found.version}, this n2s uses {done.known_version}")
    if found.moved_to is not None:
        out.line(f"moved to {found.moved_to}")
    about = dict.fromkeys(found.estimated, "about ")
    rows = [(name, about.get(name, "") + str(count)) for name, count in found.rows.items() if count]
    for line in table(("table", "rows"), rows, right="rows"):
        out.line(line)
