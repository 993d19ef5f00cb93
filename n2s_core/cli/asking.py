"""The commands that ask."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

import n2s_core
from n2s_core.cli.running import Output
from n2s_core.cli.text import size_text, table, time_text
from n2s_core.cli.words import ChangesetWord, changeset_ids
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.listings import ChangesetAnswer, StatusAnswer, Version

SHOWN_ID = 16
_KIND = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "character-device": stat.S_IFCHR,
    "block-device": stat.S_IFBLK,
    "socket": stat.S_IFSOCK,
}
PathWord = Annotated[
    str, typer.Argument(metavar="PATH", parser=str, help="Relative to the root, or absolute.")
]


def status_command(out: Output, *, changeset_id: ChangesetWord = None) -> int:
    """What is stored, confirmed, pending and failed."""
    from n2s_core.app.standing import status

    found = status(None, config=out.config, changeset_id=changeset_id)
    if out.json:
        out.document(found.to_json())
        return 0
    store = "reachable" if found.store.reachable else f"not reachable: {found.store.error}"
    if found.store.setback:
        out.problem(found.store.setback)
    latest = found.changeset
    lines = [
        ("dataset", f"{found.dataset} ({show(found.root)})"),
        ("store", f"{found.store.url} ({store})"),
        ("changesets", str(found.changesets)),
        (
            "changeset",
            f"{latest.changeset_id[:SHOWN_ID]} {latest.changeset_name}" if latest else "none yet",
        ),
        ("files", f"{found.files}, {size_text(found.bytes)}"),
        ("objects", f"{found.objects}, {size_text(found.stored_bytes)} stored"),
        *_cost_line(found),
        ("pending", f"{found.pending} rows of an unfinished push" if found.pending else "nothing"),
        ("failed", f"{len(found.failures)} files" if found.failures else "nothing"),
        ("last push", time_text(found.last_push_ns)),
        ("last verify", time_text(found.last_verify_ns)),
    ]
    if found.audited:
        lines.append(("audit", f"{found.audit_misses} of {found.audited} paths had been missed"))
    for name, text in lines:
        out.line(f"{name + ':':<13}{text.rstrip()}")
    if out.verbose:
        for failure in found.failures:
            out.line(f"  {show(failure.path)}: {failure.error}")
    return 0


def _cost_line(found: "StatusAnswer") -> "Iterator[tuple[str, str]]":
    """Nothing without prices."""
    if found.upkeep is not None:
        from n2s_core.cli.spending import money

        each = ", ".join(
            f"{name} {money(one, found.upkeep.currency)}"
            for name, one in found.upkeep.remotes.items()
        )
        text = f"{money(found.upkeep.monthly, found.upkeep.currency)} a month"
        yield "cost", f"{text} ({each})" if each else text


def changesets_command(
    out: Output,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also those that were forgotten.")] = False,
) -> int:
    """All changesets, newest first."""
    from n2s_core.app.asking import changesets

    found = changesets(None, config=out.config, forgotten=every)
    if out.json:
        out.documents(one.to_json() for one in found)
        return 0
    rows = [
        (
            one.changeset_id[:SHOWN_ID],
            time_text(one.created_ns),
            one.using,
            str(one.written + one.touched),
            str(one.removed),
            size_text(one.bytes_stored),
            one.changeset_name,
            ",".join(one.tags),
            _standing_text(one),
        )
        for one in found
    ]
    heads = ("id", "created", "using", "written", "removed", "stored", "name", "tags", "")
    for line in table(heads, rows, right="written,removed,stored"):
        out.line(line)
    return 0


def _standing_text(one: "ChangesetAnswer") -> str:
    if one.forgotten_ns is not None:
        return "pruned" if one.swept else "forgotten"
    return "pinned" if one.pinned else ""


def list_command(
    out: Output,
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", parser=str, help="Only this path and what is below.")
    ] = "",
    *,
    changeset_id: ChangesetWord = None,
) -> int:
    """The tree at a changeset."""
    from n2s_core.app.asking import list_files

    found = list_files(None, path, config=out.config, changeset_id=changeset_id)
    return _say_versions(out, found)


def search_command(
    out: Output,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", parser=str, help="A glob.")],
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Changesets from then on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Changesets up to then.")
    ] = None,
) -> int:
    """A glob over all versions of all paths."""
    from n2s_core.app.asking import search

    found = search(pattern, None, config=out.config, since=since, until=until)
    return _say_versions(out, found, with_changeset=True)


def _say_versions(out: Output, found: "Iterator[Version]", *, with_changeset: bool = False) -> int:
    """One by one, so that memory does not follow the tree."""
    if out.json:
        out.documents(one.to_json() for one in found)
        return 0
    for one in found:
        head = (one.changeset_id or b"").hex()[:SHOWN_ID] + "  " if with_changeset else ""
        out.line(head + _version_text(one))
    return 0


def _version_text(one: "Version") -> str:
    mode = stat.filemode(one.mode | _KIND.get(one.type, 0))
    owner = f"{one.user_name or one.uid} {one.group_name or one.gid}"
    end = "/" if one.type == "directory" else ""
    return f"{mode} {owner:<13} {one.size:>13} {time_text(one.mtime_ns)} {show(one.path)}{end}"


def history_command(out: Output, path: PathWord) -> int:
    """The versions of a path, newest first."""
    from n2s_core.app.asking import history

    found = history(path, None, config=out.config)
    if out.json:
        out.documents(one.history_json() for one in found)
        return 0
    rows = [
        (
            (one.changeset_id or b"").hex()[:SHOWN_ID],
            time_text(one.created_ns),
            one.type,
            str(one.size),
            time_text(one.mtime_ns),
            _fate(one),
        )
        for one in found
    ]
    for line in table(("id", "stored", "type", "size", "modified", ""), rows, right="size"):
        out.line(line)
    return 0


def _fate(one: "Version") -> str:
    if one.until_id is None:
        return "current"
    return f"{'removed' if one.removed else 'replaced'} in {one.until_id.hex()[:SHOWN_ID]}"


def where_command(out: Output, path: PathWord) -> int:
    """The objects that hold a path: offsets, sizes, when they were confirmed and verified."""
    from n2s_core.app.asking import where

    found = where(path, None, config=out.config)
    if out.json:
        out.document(found.to_json())
        return 0
    gone = "" if found.current else " (removed since)"
    out.line(f"{show(found.version.path) or '.'}{gone} in {found.store_url}")
    rows = [
        (
            one.kind,
            one.object,
            str(one.offset),
            str(one.length),
            str(one.object_size),
            time_text(one.confirmed_ns),
            time_text(one.verified_ns),
        )
        for one in found.places
    ]
    heads = ("record", "object", "offset", "length", "of", "confirmed", "verified")
    for line in table(heads, rows, right="offset,length,of"):
        out.line(line)
    return 0


def diff_command(
    out: Output,
    a: Annotated[
        str, typer.Argument(metavar="A", help="A changeset id.", autocompletion=changeset_ids)
    ],
    b: Annotated[
        str, typer.Argument(metavar="[B]", help="Another one.", autocompletion=changeset_ids)
    ] = "latest",
) -> int:
    """What was added (+), removed (-) and changed (M) from changeset A to B."""
    from n2s_core.app.diffing import differences
    from n2s_core.cli.diffing import say_differences

    with differences(a, b, None, config=out.config) as between:
        return say_differences(out, between)


def plugins_command(out: Output) -> int:
    """What is installed, and whether it works here."""
    from n2s_core.app.api import list_plugins

    found = list_plugins(None, config=out.config)
    if out.json:
        out.document([one.to_json() for one in found])
        return 0
    rows = [
        (
            one.name,
            one.origin,
            ", ".join(one.discoverers),
            "works here" if one.works else one.error or "",
        )
        for one in found
    ]
    for line in table(("plugin", "from", "discovers by", "state"), rows):
        out.line(line)
    return 0


def doctor_command(out: Output) -> int:
    """Look at tools, store, catalogue, key, clock and space; exit 2 when something fails."""
    from n2s_core.app.api import doctor

    found = doctor(None, config=out.config)
    if out.json:
        out.document({"version": n2s_core.__version__, **found.to_json()})
        return found.exit_code
    out.line(f"n2s {n2s_core.__version__}")
    for line in table(
        ("", "", ""), [(one.verdict.value, one.name, one.text) for one in found.probes]
    )[1:]:
        out.line(line)
    return found.exit_code
