"""`diff`: what leads from one changeset to another, path by path."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from n2s_core.app.answers import PathLike
from n2s_core.app.api import workspace
from n2s_core.app.listings import ChangesetAnswer, DiffAnswer, Version
from n2s_core.app.naming import Naming
from n2s_core.app.workspace import Workspace
from n2s_core.facts import Changeset
from n2s_core.model import FileRow


class Kind(StrEnum):
    """What became of a path."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Different(NamedTuple):
    """A path that is not the same in both; `version` is that of the second changeset.

    Of a removed path it is that of the first.
    """

    kind: Kind
    version: Version


@dataclass(frozen=True, slots=True)
class Differences:
    """Two changesets, and the paths that differ, in byte order and one by one."""

    older: ChangesetAnswer
    newer: ChangesetAnswer
    found: Iterator[Different]


@contextmanager
def differences(
    older: str,
    newer: str = "latest",
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
) -> Iterator[Differences]:
    """What leads from one changeset to another; memory does not follow the number of paths."""
    with workspace(root, config) as space:
        dataset, queries = space.dataset, space.catalogue.queries
        one, two = queries.changeset(dataset, older), queries.changeset(dataset, newer)
        yield Differences(
            ChangesetAnswer.of(one), ChangesetAnswer.of(two), _between(space, one, two)
        )


def _between(space: Workspace, one: Changeset, two: Changeset) -> Iterator[Different]:
    dataset, queries = space.dataset, space.catalogue.queries
    naming = Naming(queries, dataset)
    for before, after in queries.differences(
        dataset.dataset_no, one.changeset_no, two.changeset_no
    ):
        if before is None:
            assert after is not None
            yield Different(Kind.ADDED, naming.version(after))
        elif after is None:
            yield Different(Kind.REMOVED, naming.version(before))
        elif _facts(before) != _facts(after):
            yield Different(
                Kind.CHANGED, naming.version(after if one.number <= two.number else before)
            )


def _facts(row: FileRow) -> tuple[object, ...]:
    """What a restore brings back."""
    return (row.type, row.size, row.mtime_ns, row.mode, row.uid, row.gid, row.file_hash, row.extra)


def diff(
    older: str,
    newer: str = "latest",
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
) -> DiffAnswer:
    """The same as lists; `differences` gives the paths one by one."""
    lists: dict[Kind, list[Version]] = {kind: [] for kind in Kind}
    with differences(older, newer, root, config=config) as between:
        for one in between.found:
            lists[one.kind].append(one.version)
        return DiffAnswer(
            between.older,
            between.newer,
            tuple(lists[Kind.ADDED]),
            tuple(lists[Kind.REMOVED]),
            tuple(lists[Kind.CHANGED]),
        )
