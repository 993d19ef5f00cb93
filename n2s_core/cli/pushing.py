"""The push command, and the way to it that cron takes: without typer.

Typer takes longer to import than a push that finds nothing to do. So a command line that is
nothing but `push` and plain options is read here; every other one goes to typer.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from n2s_core.cli.running import Output, Setting, run
from n2s_core.cli.text import parse_options, size_text
from n2s_core.errors import UsageError
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.answers import PushAnswer

SHOWN_ID = 16
_FLAGS = {
    "--json": "json",
    "-q": "quiet",
    "--quiet": "quiet",
    "-v": "verbose",
    "--verbose": "verbose",
    "--full": "full",
    "--dry-run": "dry_run",
    "--allow-mass-removal": "allow_mass_removal",
}
_VALUES = {
    "-c": "config",
    "--config": "config",
    "--changeset-name": "changeset_name",
    "--using": "using",
    "--paths-from": "paths_from",
}
_SEVERAL = frozenset({"-o", "--tag"})
_OF_PUSH = frozenset(
    {
        "--full", "--dry-run", "--allow-mass-removal", "--changeset-name", "--using",
        "--paths-from", "-o", "--tag",
    }
)  # fmt: skip


def shortcut(given: list[str]) -> int | None:
    """The exit code of a plain push; None when the command line is for typer to read."""
    found: dict[str, str] = {}
    options: list[str] = []
    tags: list[str] = []
    seen = False
    words = iter(given)
    for word in words:
        if word == "push" and not seen:
            seen = True
        elif word in _OF_PUSH and not seen:
            return None
        elif word in _FLAGS:
            found[_FLAGS[word]] = word
        elif word in _SEVERAL or word in _VALUES:
            value = next(words, "-")
            if value.startswith("-"):
                return None
            if word in _SEVERAL:
                (options if word == "-o" else tags).append(value)
            else:
                found[_VALUES[word]] = value
        else:
            return None
    if not seen:
        return None
    setting = Setting(
        found.get("config"),
        json="json" in found,
        quiet="quiet" in found,
        verbose="verbose" in found,
    )
    return run(
        setting,
        lambda out: push_with(
            out,
            paths_from=found.get("paths_from"),
            changeset_name=found.get("changeset_name", ""),
            using=found.get("using"),
            o=options,
            full="full" in found,
            dry_run="dry_run" in found,
            allow_mass_removal="allow_mass_removal" in found,
            tag=tags,
        ),
    )


def _paths_in(file: str) -> list[bytes]:
    """The NUL-separated paths in a file, or on stdin for "-"."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(file, "rb") as lines:
                data = lines.read()
    except OSError as error:
        message = f"The list of paths {file!r} cannot be read: {error.strerror}."
        raise UsageError(message) from error
    return [path for path in data.split(b"\0") if path]


def push_with(
    out: Output,
    paths: Sequence[str | bytes] | None = None,
    *,
    paths_from: str | None = None,
    changeset_name: str = "",
    using: str | None = None,
    o: list[str] | None = None,
    full: bool = False,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
    tag: Sequence[str] | None = None,
) -> int:
    """A push whose options have been read."""
    from n2s_core.app.api import push  # noqa: PLC0415 - not for a command line that is wrong

    options = parse_options(o or ())
    if paths_from is not None:
        paths = [*(paths or ()), *_paths_in(paths_from)]
    with out.progress() as report:
        done = push(
            None,
            paths or None if paths_from is None else paths,
            config=out.config,
            changeset_name=changeset_name,
            using=using,
            exclude=options.pop("exclude", []),
            options={key: values[-1] for key, values in options.items()},
            full=full,
            dry_run=dry_run,
            allow_mass_removal=allow_mass_removal,
            tags=tag or (),
            report=report,
        )
    return say_push(out, done)


def say_push(out: Output, done: "PushAnswer") -> int:
    """What a push did; its exit code."""
    _say_problems(out, done)
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    if done.catalogue_upgraded:
        out.note("The catalogue was upgraded; an older n2s does not open it any more.")
    if done.debts:
        out.note(f"Remotes owe {done.debts} object(s); 'n2s store status' says which, and why.")
    if done.fallback:
        out.note(f"The whole tree was walked: {done.fallback}")
    counts = (
        f"{done.written} written, {done.touched} touched, {done.removed} removed,"
        f" {done.unchanged} unchanged"
    )
    if done.failed:
        counts += f", {done.failed} failed"
    if done.dry_run:
        out.summary(f"dry run: {counts}; up to {size_text(done.bytes_read)} would be read")
    elif done.changeset_id is None:
        out.summary(f"nothing to store: {counts}, {done.seconds:.1f} s")
    else:
        stored = f"{size_text(done.bytes_stored)} stored in {done.objects_stored} objects"
        out.summary(
            f"changeset {done.changeset_id[:SHOWN_ID]}: {counts},"
            f" {size_text(done.bytes_read)} read, {stored}, {done.seconds:.1f} s"
        )
    _say_traffic(out, done)
    if done.store_address is not None:
        out.summary(f"to recover: {done.store_address}")
    return done.exit_code


def _say_traffic(out: Output, done: "PushAnswer") -> None:
    if out.verbose or done.traffic.prices is not None:
        from n2s_core.cli.spending import say_traffic  # noqa: PLC0415 - only for who wants it

        say_traffic(out, done.traffic)


def _say_problems(out: Output, done: "PushAnswer") -> None:
    for failure in done.failures:
        out.problem(f"{show(failure.path)}: {failure.error}")
    if done.failed > len(done.failures):
        out.problem(f"... and {done.failed - len(done.failures)} more")
    if done.setback:
        out.problem(done.setback)
    for note in done.notes:
        out.problem(note)
