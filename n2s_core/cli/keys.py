"""The command about the keys of a store: list, add, remove, change-passphrase, export, import."""
# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.text import parse_seconds, table, time_text
from n2s_core.cli.words import KdfTimeWord
from n2s_core.errors import UsageError
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.key_objects import KeyAnswer, KeyRow

SHOWN_ID = 16
STDOUT = "-"
_OPENS = {True: "yes", False: "no", None: "?"}


def key_command(
    out: Output,
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION", help="list, add, remove, change-passphrase, export or import."
        ),
    ],
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|FILE",
            parser=str,
            help="The key to remove, the key file to write or read.",
        ),
    ] = None,
    *,
    label: Annotated[
        str | None, typer.Option("--label", metavar="TEXT", help="What the new key is for.")
    ] = None,
    new_passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--new-passphrase-file", metavar="FILE", parser=str, help="It holds the new passphrase."
        ),
    ] = None,
    new_passphrase_command: Annotated[
        str | None,
        typer.Option(
            "--new-passphrase-command", metavar="LINE", help="It prints the new passphrase."
        ),
    ] = None,
    kdf_time: KdfTimeWord = None,
    paper: Annotated[
        str | None,
        typer.Option(
            "--paper", metavar="FILE", parser=str, help="Write the key as a page; - is stdout."
        ),
    ] = None,
    push_credential: Annotated[
        str | None,
        typer.Option(
            "--push-credential",
            metavar="FILE",
            parser=str,
            help="Write what a machine needs that may push and not read.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", parser=str, help="import: without a dataset here."),
    ] = None,
) -> int:
    """The keys of a store: passphrases, key files, key pages, push credentials."""
    from n2s_core.app.api import key
    from n2s_core.app.keying import KeyOrder

    if paper == STDOUT and out.json:
        message = "A key page is a secret and no part of a JSON document; write it to a file."
        raise UsageError(message)
    order = KeyOrder(
        what=what,
        label=label,
        new_passphrase_file=new_passphrase_file,
        new_passphrase_command=new_passphrase_command,
        kdf_s=parse_seconds(kdf_time, "--kdf-time"),
        paper=paper,
        push_credential=push_credential,
        store=store,
    )
    done = key(action, order, config=out.config)
    if out.json:
        out.document(done.to_json())
    else:
        _say(out, done)
    for note in done.notes:
        out.problem(note)
    return done.exit_code


def _say(out: Output, done: "KeyAnswer") -> None:
    if done.rows:
        heads = ("key", "state", "opens", "created", "argon2id", "label")
        for line in table(heads, map(_cells, done.rows)):
            out.line(line)
    if done.added is not None:
        out.summary(f"key {done.added.hex()[:SHOWN_ID]} is new in {done.store}; it opens")
    for one in done.removed:
        out.summary(f"key {one.hex()[:SHOWN_ID]} is removed")
    for path in done.files:
        out.summary(f"written: {path}")
    if done.text is not None:
        out.line(done.text)


def _cells(row: "KeyRow") -> tuple[str, ...]:
    facts = row.facts
    if facts is None:
        return row.digest.hex()[:SHOWN_ID], row.state, _OPENS[row.opens], "?", "?", ""
    cost = f"{facts.cost.memory_kib >> 10} MiB x {facts.cost.iterations}"
    label = show(facts.label.encode("utf-8", "surrogateescape"))
    made = "?" if facts.created_ns is None else time_text(facts.created_ns)
    return row.digest.hex()[:SHOWN_ID], row.state, _OPENS[row.opens], made, cost, label
