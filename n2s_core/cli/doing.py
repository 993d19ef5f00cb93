"""The commands that move data: init, push, pull, recover."""

# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.pushing import SHOWN_ID, push_with
from n2s_core.cli.running import Output
from n2s_core.cli.spending import say_traffic
from n2s_core.cli.text import parse_options, parse_seconds, parse_yes, size_text
from n2s_core.cli.words import ChangesetWord, KdfTimeWord
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.answers import PullAnswer

OptionWords = Annotated[
    list[str] | None,
    typer.Option(
        "-o", metavar="KEY=VALUE", parser=str, help="An option of the plugin, or exclude=GLOB."
    ),
]
UsingWord = Annotated[
    str | None, typer.Option("--using", metavar="PLUGIN", help="The discovery plugin.")
]
AtWord = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="The state at an ISO 8601 time.")
]
PathWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATHS", parser=str, help="Relative to the root, or absolute below it."),
]
StoreOptionWords = Annotated[
    list[str] | None,
    typer.Option(
        "--store-option",
        metavar="KEY=VALUE",
        parser=str,
        help="A key of [store], such as bwlimit=10M, timeout=5m or flags.tpslimit=8.",
    ),
]
TargetWord = Annotated[
    str, typer.Option("--target-path", metavar="DIR", parser=str, help="Where to restore.")
]


def init_command(
    out: Output,
    root: Annotated[
        str, typer.Argument(metavar="[ROOT]", parser=str, help="The directory to keep.")
    ] = ".",
    *,
    store: Annotated[
        str,
        typer.Option(
            "--store", metavar="URL", parser=str, help="A folder, rclone:REMOTE:PATH or set:FILE."
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Name of the dataset.")
    ] = None,
    using: UsingWord = None,
    o: OptionWords = None,
    catalogue: Annotated[
        str | None,
        typer.Option(
            "--catalogue",
            metavar="URL",
            parser=str,
            help="A file, or postgresql+psycopg://USER@HOST/DATABASE.",
        ),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Store the same content at two paths once.")
    ] = False,
    pack_size: Annotated[
        str | None,
        typer.Option(
            "--pack-size", metavar="SIZE", help="Size of objects, such as 16M; 0 for one blob each."
        ),
    ] = None,
    store_option: StoreOptionWords = None,
    push_credential: Annotated[
        str | None,
        typer.Option(
            "--push-credential", metavar="FILE", parser=str, help="Only push, and never read here."
        ),
    ] = None,
    kdf_time: KdfTimeWord = None,
) -> int:
    """Prepare a dataset; join the store if it exists."""
    from n2s_core.app.api import init
    from n2s_core.sizes import parse_size

    options = parse_options(o or ())
    with out.progress() as report:
        made = init(
            root,
            store,
            dataset=dataset,
            using=using or "find",
            exclude=options.pop("exclude", []),
            exclude_if_present=options.pop("exclude-if-present", []),
            exclude_caches=parse_yes("exclude-caches", options.pop("exclude-caches", [])),
            one_file_system=parse_yes("one-file-system", options.pop("one-file-system", [])),
            options={key: values[-1] for key, values in options.items()},
            catalogue=catalogue,
            share=share,
            pack_size=None if pack_size is None else parse_size(pack_size, where="--pack-size"),
            store_options=_last_words("--store-option", store_option),
            push_credential=push_credential,
            kdf_s=parse_seconds(kdf_time, "--kdf-time"),
            config=out.config,
            report=report,
        )
    if out.json:
        out.document(made.to_json())
    else:
        what = "continues in" if made.adopted else "is new in"
        how = "the store" if made.joined else "the new store"
        out.summary(f"dataset {made.dataset!r} {what} {how} {made.shown_store}")
        out.summary(f"configuration: {made.config}")
        if push_credential is not None:
            out.note("This machine can store and not read; restore where the passphrase is.")
        elif not made.joined:
            out.note(
                "Without the passphrase nothing can be restored; keep it in another place too."
            )
    for problem in made.problems:
        out.problem(problem)
    return 3 if made.problems else 0


def _last_words(option: str, given: list[str] | None) -> dict[str, str]:
    """The last value of each KEY of an option that takes KEY=VALUE."""
    found = parse_options(given or (), option)
    return {key: values[-1] for key, values in found.items()}


def push_command(
    out: Output,
    paths: PathWords = None,
    *,
    changeset_name: Annotated[
        str, typer.Option("--changeset-name", metavar="NAME", help="A name for people.")
    ] = "",
    using: UsingWord = None,
    o: OptionWords = None,
    paths_from: Annotated[
        str | None,
        typer.Option(
            "--paths-from", metavar="FILE", parser=str, help="NUL-separated paths; - is stdin."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read every file again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    allow_mass_removal: Annotated[
        bool, typer.Option("--allow-mass-removal", help="Go on when most files are gone.")
    ] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag for the changeset.")
    ] = None,
) -> int:
    """Store what changed."""
    return push_with(
        out,
        paths,
        paths_from=paths_from,
        changeset_name=changeset_name,
        using=using,
        o=o,
        full=full,
        dry_run=dry_run,
        allow_mass_removal=allow_mass_removal,
        tag=tag,
    )


def pull_command(
    out: Output,
    paths: PathWords = None,
    *,
    target_path: TargetWord,
    changeset_id: ChangesetWord = None,
    at: AtWord = None,
    force: Annotated[bool, typer.Option("--force", help="Replace different files.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove from the target what the changeset lacks.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
) -> int:
    """Restore; files that are right already are skipped."""
    from n2s_core.app.api import pull

    with out.progress() as report:
        done = pull(
            target_path,
            None,
            paths or (),
            config=out.config,
            changeset_id=changeset_id,
            at=at,
            force=force,
            delete=delete,
            dry_run=dry_run,
            report=report,
        )
    return _say_pulled(out, done)


def _say_pulled(out: Output, done: "PullAnswer") -> int:
    for problem in done.problems:
        out.problem(problem)
    for failure in done.failures:
        out.problem(f"{show(failure.path)}: {failure.error}")
    if out.json:
        out.document(done.to_json())
        return done.exit_code
    failed = f", {len(done.failures)} failed" if done.failures else ""
    what = "would be restored" if done.dry_run else "restored"
    out.summary(
        f"changeset {done.changeset_id[:SHOWN_ID]} of {done.dataset!r}: {done.files} files {what}"
        f" ({size_text(done.bytes)}), {done.skipped} right already{failed}, {done.seconds:.1f} s"
    )
    say_traffic(out, done.traffic)
    return done.exit_code


def recover_command(
    out: Output,
    *,
    store: Annotated[
        str, typer.Option("--store", metavar="URL", parser=str, help="The store to read.")
    ],
    target_path: TargetWord,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME", help="Which of several: name or id."),
    ] = None,
    changeset_id: ChangesetWord = None,
    at: AtWord = None,
    store_option: StoreOptionWords = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--words",
            "--key-file",
            metavar="FILE",
            parser=str,
            help="A key page, its words, or a key file, in the place of the passphrase.",
        ),
    ] = None,
) -> int:
    """Restore with nothing but the store and its passphrase, or a key page."""
    from n2s_core.app.api import recover

    with out.progress() as report:
        done = recover(
            store,
            target_path,
            dataset=dataset,
            changeset_id=changeset_id,
            at=at,
            store_options=_last_words("--store-option", store_option),
            words=words,
            report=report,
        )
    return _say_pulled(out, done)
