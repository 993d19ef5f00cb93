"""A discovery plugin that names every path of a synthetic catalogue, as a walk of its tree would.

Its options are those of the plan that the catalogue was filled with (scale_data.py).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from n2s_core.model import LIVE, Change, ChangeKind, Discovery, FileType, Mark, Source
from n2s_plugins import hookimpl
from scale_data import Plan, Tallies, rows_of

NAME = "scale"
_KIND = {FileType.FILE: stat.S_IFREG, FileType.DIRECTORY: stat.S_IFDIR}


def plan_of(options: Mapping[str, str]) -> Plan:
    """The plan in the options of the plugin."""
    return Plan(
        rows=int(options["rows"]),
        shape=options.get("shape", "usual"),
        changesets=int(options.get("changesets", "100")),
        linked=float(options.get("linked", "0")),
    )


def walk(plan: Plan) -> Iterator[Change]:
    """The tree of the newest changeset, with what lstat would say of each path."""
    kinds = {int(kind): bits for kind, bits in _KIND.items()}
    written = ChangeKind.WRITTEN
    for row in rows_of(plan, Tallies.of(plan.changesets)):
        path, _, ends, kind, size, mtime_ns, ctime_ns, mode, uid, gid, _, _, inode, links = row[:14]
        if ends != LIVE:
            continue
        seconds = (0, 0, 0, 0.0, 0.0, 0.0, 0, mtime_ns, ctime_ns)
        first = (kinds[kind] | mode, inode, 1, links, uid, gid, size)
        yield Change(path, written, os.stat_result(first + seconds))


class SyntheticWalk:
    """Answers whatever the plan says."""

    name = NAME

    def check(self, source: Source) -> None:
        """Raises ValueError for a plan that is none."""
        plan_of(source.options)

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """Every path."""
        del since
        changes = walk(plan_of(source.options))
        return nullcontext(Discovery(source.root, None, complete=True, changes=changes))


@hookimpl
def n2s_discoverers() -> Iterable[SyntheticWalk]:
    """One discoverer."""
    return [SyntheticWalk()]
