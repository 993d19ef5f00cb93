"""The answer of one `zfs diff`, and what is remembered of it.

All of it is kept in a temporary file and understood to its last line before the first hint is
given: an answer that ends in an error has told nothing.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import IO

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change
from n2s_core.relpath import RelPath
from n2s_plugins.zfs.commands import Snapshot, Zfs
from n2s_plugins.zfs.diff import hints
from n2s_plugins.zfs.doubts import looks, refuse_too_many, told_wrongly
from n2s_plugins.zfs.mounts import Place
from n2s_plugins.zfs.options import Limits, Options
from n2s_plugins.zfs.snapshots import Machine


@dataclass(frozen=True, slots=True)
class Pair:
    """What zfs diff compares: `base` and `new`, which can be read at `root`.

    `doubts` are the paths that it was wrong about before.
    """

    place: Place
    base: Snapshot
    new: Snapshot
    doubts: frozenset[RelPath]
    root: bytes


@dataclass(frozen=True, slots=True)
class Feed:
    """What to look at now, and what to look at in each push to come.

    `doubts_links`: of files with several names it may not tell everything.
    """

    changes: Iterator[Change]
    doubts: frozenset[RelPath]
    doubts_links: bool = True


def read_feed(stack: ExitStack, zfs: Zfs, machine: Machine, options: Options, pair: Pair) -> Feed:
    """Run `zfs diff` to its end; `pair.new` has been entered.

    Raises DiscoveryError when it does not tell everything. What the hints are read from is closed
    with `stack`.
    """
    refuse_too_many(pair.doubts)
    place, base, new = pair.place, pair.base, pair.new
    if base.guid == new.guid:
        return Feed(looks(pair.doubts), pair.doubts)
    # Unless both are mounted zfs diff opens them anew for each object.
    before = stack.enter_context(machine.entered(zfs, place.mountpoint, base))
    limits = options.limits(machine.objects(place.mountpoint))
    try:
        spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - entered
        _keep(zfs, pair, spool, limits)
        spool.seek(0)
        for _ in hints(spool, place.printed):
            pass
        spool.seek(0)
        old_inode, new_inode = partial(machine.inode, before), partial(machine.inode, pair.root)
        wrong = told_wrongly(spool, place.printed, old_inode, new_inode)
        spool.seek(0)
    except OSError as error:
        message = f"The answer of zfs diff could not be kept: {error.strerror}."
        raise DiscoveryError(message) from error
    doubts = {path for path in pair.doubts if new_inode(path) is not None} | wrong
    changes = chain(looks(pair.doubts), hints(spool, place.printed))
    return Feed(changes, frozenset(doubts))


def _keep(zfs: Zfs, pair: Pair, spool: IO[bytes], limits: Limits) -> None:
    """Write what zfs diff prints to `spool`. Raises DiscoveryError when a limit is passed."""
    lines = 0

    def take(data: bytes) -> bool:
        nonlocal lines
        spool.write(data)
        lines += data.count(b"\n")
        return lines <= limits.changes

    try:
        zfs.diff(pair.base.name, pair.new.name, take=take, wait_s=limits.wait_s)
    except DiscoveryError as error:
        if lines <= limits.changes:
            raise
        message = (
            f"zfs diff from {pair.base.name} to {pair.new.name} named more than {limits.changes}"
            " changes; a walk costs less then (option max-changes)."
        )
        raise DiscoveryError(message) from error
