"""The command that serves pushes of other machines: worker."""

# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

import os
import sys
from typing import Annotated

import typer

from n2s_core.cli.running import Output
from n2s_core.cli.watching import tell_systemd
from n2s_core.errors import UsageError


def worker_command(
    out: Output,
    *,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="URL", help="Its address; else that of the configuration."
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="DIR", parser=str, help="Where this machine has the tree."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the worker is called.")
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option("--processes", metavar="N", help="How many batches are sealed at a time."),
    ] = None,
) -> int:
    """Seal and store for pushes that run on other machines, until it is stopped."""
    from n2s_core.app.working import WorkerOrder, work

    if processes is not None and (not processes.isdecimal() or not int(processes)):
        message = f"--processes takes a number from 1 on, not {processes!r}."
        raise UsageError(message)
    order = WorkerOrder(
        scheduler=scheduler,
        root=None if root is None else os.path.abspath(os.fsencode(root)),
        name=name,
        processes=None if processes is None else int(processes),
    )
    work(order, lambda event, sentence: _say(out, event, sentence), config=out.config)
    return 0


def _say(out: Output, event: str, sentence: str) -> None:
    tell_systemd(f"STATUS={sentence}" if event != "ready" else f"READY=1\nSTATUS={sentence}")
    if out.json:
        out.document({"event": event, "text": sentence})
    elif event in {"warning", "refused", "lost"}:
        out.problem(sentence)
    else:
        out.note(sentence)
    sys.stdout.flush()
    sys.stderr.flush()
