"""The commands about which changesets are kept: forget, prune, pin, unpin, tag."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.spending import money, say_traffic
from n2s_core.cli.text import size_text, table, time_text
from n2s_core.cli.words import changeset_ids
from n2s_core.errors import UsageError

if TYPE_CHECKING:
    from n2s_core.app.listings import ChangesetAnswer
    from n2s_core.app.retaining import ForgetAnswer

SHOWN_ID = 16
IdWords = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", parser=str, help="Changeset ids.", autocompletion=changeset_ids
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Count = Annotated[str | None, typer.Option(metavar="N", help="That many, or unlimited.")]
Within = Annotated[
    str | None, typer.Option(metavar="DURATION", help="As 1y6m, 14d, 36h before the newest.")
]


def forget_command(
    out: Output,
    *,
    keep_last: Count = None,
    keep_hourly: Count = None,
    keep_daily: Count = None,
    keep_weekly: Count = None,
    keep_monthly: Count = None,
    keep_yearly: Count = None,
    keep_within: Within = None,
    keep_within_hourly: Within = None,
    keep_within_daily: Within = None,
    keep_within_weekly: Within = None,
    keep_within_monthly: Within = None,
    keep_within_yearly: Within = None,
    keep_tag: Annotated[
        list[str] | None,
        typer.Option("--keep-tag", metavar="TAG[,TAG]", help="Those that have all of these tags."),
    ] = None,
    changeset: Annotated[
        list[str] | None,
        typer.Option("--changeset", metavar="ID", help="Forget this one, whatever the rules say."),
    ] = None,
    bring_back: Annotated[
        list[str] | None,
        typer.Option("--bring-back", metavar="ID", help="Keep this one again."),
    ] = None,
    dry_run: DryRun = False,
) -> int:
    """Forget the changesets that no rule keeps; without options by [retention] of the config."""
    from n2s_core.app import keeping

    given = {
        "keep_last": keep_last,
        "keep_hourly": keep_hourly,
        "keep_daily": keep_daily,
        "keep_weekly": keep_weekly,
        "keep_monthly": keep_monthly,
        "keep_yearly": keep_yearly,
        "keep_within": keep_within,
        "keep_within_hourly": keep_within_hourly,
        "keep_within_daily": keep_within_daily,
        "keep_within_weekly": keep_within_weekly,
        "keep_within_monthly": keep_within_monthly,
        "keep_within_yearly": keep_within_yearly,
        "keep_tag": keep_tag,
    }
    rules = {name: value for name, value in given.items() if value}
    if bring_back:
        if rules or changeset or dry_run:
            message = "--bring-back stands alone."
            raise UsageError(message)
        return _say_changed(out, keeping.bring_back(bring_back, config=out.config))
    done = keeping.forget(
        config=out.config, rules=rules, changeset_ids=changeset or (), dry_run=dry_run
    )
    return _say_forgotten(out, done)


def _say_forgotten(out: Output, done: "ForgetAnswer") -> int:
    if out.json:
        out.document(done.to_json())
        return 0
    both = [*done.kept, *done.forgotten]
    both.sort(key=lambda one: one.changeset.number, reverse=True)
    rows = [
        (
            "keep" if one.reasons else "forget",
            one.changeset.changeset_id[:SHOWN_ID],
            time_text(one.changeset.created_ns),
            one.changeset.changeset_name,
            ",".join(one.changeset.tags),
            ", ".join(one.reasons),
        )
        for one in both
    ]
    for line in table(("", "id", "created", "name", "tags", "because of"), rows) if both else ():
        out.line(line)
    would = "would be " if done.dry_run else ""
    out.summary(f"{len(done.kept)} kept, {len(done.forgotten)} {would}forgotten")
    if done.forgotten and not done.dry_run:
        out.note("'n2s prune' frees their room; until then 'n2s forget --bring-back ID' works.")
    return 0


def prune_command(
    out: Output,
    *,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace", metavar="DURATION", help="Remove what was marked so long ago, such as 24h."
        ),
    ] = None,
    max_unused: Annotated[
        str | None,
        typer.Option(
            "--max-unused",
            metavar="LIMIT",
            help="Repack until no more is unused: 5% (if not given), a size, or unlimited.",
        ),
    ] = None,
    max_repack_size: Annotated[
        str | None,
        typer.Option("--max-repack-size", metavar="SIZE", help="Repack no more than this."),
    ] = None,
    dry_run: DryRun = False,
) -> int:
    """Remove from the store what only forgotten changesets need."""
    from n2s_core.app.keeping import MAX_UNUSED, prune

    with out.progress() as report:
        found = prune(
            config=out.config,
            grace=grace,
            max_unused=max_unused or MAX_UNUSED,
            max_repack_size=max_repack_size,
            dry_run=dry_run,
            report=report,
        )
    if out.json:
        out.document(found.to_json())
        return 0
    done, would = found.done, "would be " if dry_run else ""
    out.summary(
        f"{done.removed.objects} objects ({size_text(done.removed.bytes)}) {would}removed,"
        f" {done.waiting.objects} ({size_text(done.waiting.bytes)}) wait for their time of grace;"
        f" {done.swept} changesets and {done.versions} versions {would}gone, {found.seconds:.1f} s"
    )
    say_traffic(out, found.traffic)
    if found.early_cost and found.traffic is not None and found.traffic.prices is not None:
        price = money(found.early_cost, found.traffic.prices.currency)
        out.summary(f"{would}removed before its time: {price}")
    copies, fixed = done.repacked.copies, done.repacked.fixed
    if copies.objects:
        out.summary(
            f"{copies.objects} objects ({size_text(copies.bytes)}) {would}made of"
            f" {size_text(done.repacked.old.bytes)} that are used in part;"
            f" {size_text(done.repacked.unused)} stay unused"
        )
    if fixed.objects:
        out.note(
            f"{fixed.objects} objects with {size_text(fixed.bytes)} unused cannot be repacked: they"
            " were written with a push credential."
        )
    return 0


def pin_command(out: Output, ids: IdWords) -> int:
    """Never forget these changesets."""
    from n2s_core.app.keeping import pin

    return _say_changed(out, pin(ids, config=out.config))


def unpin_command(out: Output, ids: IdWords) -> int:
    """Treat these changesets like the others again."""
    from n2s_core.app.keeping import unpin

    return _say_changed(out, unpin(ids, config=out.config))


def tag_command(
    out: Output,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="add or remove.")],
    changeset: Annotated[
        str, typer.Argument(metavar="ID", help="A changeset.", autocompletion=changeset_ids)
    ],
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Tags without commas.")],
) -> int:
    """Add tags to a changeset, or remove them."""
    from n2s_core.app.keeping import tag

    if action not in {"add", "remove"}:
        message = f"There is no action {action!r}; there are add and remove."
        raise UsageError(message)
    add, remove = (tags, []) if action == "add" else ([], tags)
    return _say_changed(out, tag([changeset], config=out.config, add=add, remove=remove))


def _say_changed(out: Output, changed: "list[ChangesetAnswer]") -> int:
    if out.json:
        out.document([one.to_json() for one in changed])
        return 0
    for one in changed:
        how = "forgotten" if one.forgotten_ns is not None else "kept"
        pinned = ", pinned" if one.pinned else ""
        tags = f", tags {','.join(one.tags)}" if one.tags else ""
        out.summary(f"{one.changeset_id[:SHOWN_ID]} {one.changeset_name}: {how}{pinned}{tags}")
    return 0
