"""The answer of one `zfs send -i`, of which only the headers are kept."""

import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import IO

from n2s_core.errors import DiscoveryError
from n2s_core.model import Source
from n2s_core.relpath import ROOT, RelPath
from n2s_plugins.zfs.commands import Zfs
from n2s_plugins.zfs.feed import Feed, Pair
from n2s_plugins.zfs.options import Limits, Options
from n2s_plugins.zfs.sent import Inode, Sent, Tree
from n2s_plugins.zfs.snapshots import Machine
from n2s_plugins.zfs.stream import Object, Stream

_KEPT = struct.Struct("<Q?Q??")
_AT_A_TIME = 4096 * _KEPT.size


def read_stream(
    stack: ExitStack, zfs: Zfs, machine: Machine, options: Options, pair: Pair, *, source: Source
) -> Feed:
    """Run `zfs send` to its end; `pair.new` has been entered.

    Raises DiscoveryError when it does not tell everything. What the hints are read from is closed
    with `stack`.
    """
    place = pair.place
    if pair.base.guid == pair.new.guid:
        return Feed(iter(()), pair.doubts, doubts_links=False)
    root = machine.inode(place.mountpoint, ROOT)
    if root is None:
        message = f"The root of {place.dataset} cannot be looked at."
        raise DiscoveryError(message)
    old_inode: Inode = _unknown
    if not pair.base.is_bookmark:
        before = stack.enter_context(machine.entered(zfs, place.mountpoint, pair.base))
        old_inode = partial(machine.inode, before)
    limits = options.limits(machine.objects(place.mountpoint))
    try:
        spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - entered
        _keep(zfs, pair, spool, limits)
    except OSError as error:
        message = f"The answer of zfs send could not be kept: {error.strerror}."
        raise DiscoveryError(message) from error
    tree = Tree(
        root=root,
        entries=partial(machine.entries, pair.root),
        old_inode=old_inode,
        new_inode=partial(machine.inode, pair.root),
        names_of=source.names_of,
        search=source.search,
    )
    changes = Sent(tree).changes(lambda: _kept(spool))
    return Feed(changes, pair.doubts, doubts_links=False)


def _unknown(_path: RelPath) -> None:
    """Nothing can be asked of the old snapshot; more is searched in the catalogue then."""


def _keep(zfs: Zfs, pair: Pair, spool: IO[bytes], limits: Limits) -> None:
    """Write the objects to `spool`. Raises DiscoveryError when a limit is passed."""
    count = 0

    def keep(found: Object) -> None:
        nonlocal count
        count += 1
        spool.write(_KEPT.pack(*found))

    def take(data: bytes) -> bool:
        stream.take(data)
        return count <= limits.objects

    base, new = pair.base, pair.new
    stream = Stream(keep, base=int(base.guid), new=int(new.guid))
    try:
        zfs.send(base.name, new.name, take=take, wait_s=limits.wait_s)
        stream.end()
    except DiscoveryError as error:
        if count <= limits.objects:
            raise
        message = (
            f"zfs send from {base.name} to {new.name} named more than {limits.objects} objects;"
            " a walk costs less then (option max-changes)."
        )
        raise DiscoveryError(message) from error


def _kept(spool: IO[bytes]) -> Iterator[Object]:
    spool.seek(0)
    while data := spool.read(_AT_A_TIME):
        yield from map(Object._make, _KEPT.iter_unpack(data))
