"""Options that several commands have."""

from typing import Annotated

import typer


def changeset_ids(incomplete: str) -> list[str]:
    """For the shell: the ids that begin so, in the dataset around the current directory."""
    from n2s_core.app.api import N2sError  # noqa: PLC0415 - only when the shell asks
    from n2s_core.app.asking import changesets  # noqa: PLC0415

    try:
        found = [one.changeset_id for one in changesets() if one.changeset_id]
    except N2sError:
        return []
    return [one for one in ["latest", *found] if one.startswith(incomplete)]


ChangesetWord = Annotated[
    str | None,
    typer.Option(
        "--changeset-id",
        metavar="ID",
        help="An id, a unique prefix of one, or latest.",
        autocompletion=changeset_ids,
    ),
]

KdfTimeWord = Annotated[
    str | None,
    typer.Option(
        "--kdf-time",
        metavar="SECONDS",
        help="What a guess at the passphrase takes on this machine.",
    ),
]
