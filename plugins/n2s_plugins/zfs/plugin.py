"""The discoverer `zfs`: a snapshot to read, and the hints of ZFS since the last one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from n2s_core.clock import now_ns
from n2s_core.errors import DiscoveryError
from n2s_core.model import Discovery, Mark, Source
from n2s_core.relpath import RelPath, show
from n2s_plugins.zfs.command import Runner, ShRunner
from n2s_plugins.zfs.commands import Snapshot, Zfs
from n2s_plugins.zfs.feed import Feed, Pair, read_feed
from n2s_plugins.zfs.mounts import Place, find_place, left_out, parse_mounts, why_not
from n2s_plugins.zfs.options import Options
from n2s_plugins.zfs.sending import read_stream
from n2s_plugins.zfs.snapshots import (
    Holds,
    LinuxMachine,
    Machine,
    SnapshotMark,
    hold_tag,
    new_name,
    superfluous,
)


class ZfsDiff:
    """Asks ZFS what differs between two snapshots.

    Where ZFS cannot tell, the snapshot is walked, and the discovery says why.
    """

    name = "zfs"

    def __init__(
        self,
        runner: Runner | None = None,
        machine: Machine | None = None,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """Without arguments: on this machine, now."""
        self._zfs = Zfs(runner or ShRunner())
        self._machine = machine or LinuxMachine()
        self._clock = clock

    def check(self, source: Source) -> None:
        """Raise DiscoveryError when no dataset is mounted on the root, or an option is wrong."""
        options = Options.parse(source.options)
        place = self._place(source.root)
        listed = self._zfs.snapshots(place.dataset)
        if options.snapshot is not None:
            _named(options.snapshot, place, listed)

    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        """What differs between the snapshot of the mark and a newer one.

        Both are held, and stay held: which of them the next push starts from is known when it
        asks. It gives up the holds of all others. When the push fails the new one is given up.
        """
        options = Options.parse(source.options)
        place = self._place(source.root)
        for path, sentence in left_out(place, parse_mounts(self._machine.mounts())):
            if not source.leaves_out(path):
                source.report(path, sentence)
        new, listed = self._new_snapshot(options, place)
        mark, base, why = self._base(since, place, new, listed, by_stream=options.feed == "send")
        holds = Holds(self._zfs, hold_tag(source.dataset), listed)
        try:
            holds.take(new)
            base, why = _held(holds, base, why)
            wanted = [new] if base is None else [new, base]
            if since is not None:
                holds.release_all_but(*wanted)
            self._prune(options, place, wanted)
            with ExitStack() as stack:
                root = stack.enter_context(self._machine.entered(self._zfs, place.mountpoint, new))
                doubts: frozenset[RelPath] = frozenset() if mark is None else mark.doubts
                fed = None
                if base is not None:
                    pair = Pair(place, base, new, doubts, root)
                    try:
                        fed = self._fed(stack, options, pair, source)
                        doubts = fed.doubts
                    except DiscoveryError as error:
                        why = str(error)
                yield Discovery(
                    root,
                    SnapshotMark(place.dataset, new.guid, doubts).encode(),
                    complete=fed is None,
                    changes=source.walk(root) if fed is None else fed.changes,
                    fallback=why,
                    doubts_links=fed is not None and fed.doubts_links,
                )
        except BaseException:
            if base is None or base.guid != new.guid:
                with suppress(DiscoveryError):  # what went wrong before is what the user must see
                    holds.release(new.name)
            raise
        if source.dry_run and (base is None or base.guid != new.guid):
            holds.release(new.name)
            if options.snapshot is None:
                self._zfs.destroy(new.name)

    def _fed(self, stack: ExitStack, options: Options, pair: Pair, source: Source) -> Feed:
        if options.feed == "send":
            return read_stream(stack, self._zfs, self._machine, options, pair, source=source)
        return read_feed(stack, self._zfs, self._machine, options, pair)

    def _place(self, root: bytes) -> Place:
        root = self._machine.resolve(root)
        mounts = parse_mounts(self._machine.mounts())
        place = find_place(root, mounts)
        if place is None:
            message = why_not(root, mounts, self._zfs.filesystems())
            raise DiscoveryError(message)
        return place

    def _new_snapshot(self, options: Options, place: Place) -> tuple[Snapshot, list[Snapshot]]:
        """The snapshot to read, and all snapshots of the dataset."""
        name = options.snapshot
        if name is None:
            name = new_name(place.dataset, options.prefix, self._clock())
            self._zfs.snapshot(name)
        listed = self._zfs.snapshots(place.dataset)
        return _named(name, place, listed), listed

    def _base(
        self,
        since: Mark | None,
        place: Place,
        new: Snapshot,
        listed: Sequence[Snapshot],
        *,
        by_stream: bool,
    ) -> tuple[SnapshotMark | None, Snapshot | None, str | None]:
        """The mark and its snapshot, found by guid whatever it is called now, or why not.

        For a stream the bookmark of a snapshot will do.
        """
        if since is None:
            return None, None, None
        mark = SnapshotMark.decode(since)
        if mark is None:
            return None, None, "The mark of the last push is not one that this zfs plugin writes."
        base = next((one for one in listed if one.guid == mark.guid), None)
        if base is None:
            bookmark = self._zfs.bookmarks(place.dataset).get(mark.guid)
            if bookmark is not None and by_stream:
                return mark, Snapshot(bookmark, mark.guid, created_txg=0, holds=0), None
            return mark, None, _gone(mark, place, bookmark)
        if base.created_txg > new.created_txg:
            return mark, None, f"The last push read {base.name}, which is newer than {new.name}."
        return mark, base, None

    def _prune(self, options: Options, place: Place, wanted: Sequence[Snapshot]) -> None:
        """Destroy the plugin's own snapshots that are too many; holds protect the rest."""
        if options.snapshot is not None:
            return
        listed = self._zfs.snapshots(place.dataset)
        guids = {one.guid for one in wanted}
        for snapshot in superfluous(listed, options.prefix, keep=options.keep):
            if snapshot.guid not in guids:
                self._zfs.destroy(snapshot.name)


def _gone(mark: SnapshotMark, place: Place, bookmark: str | None) -> str:
    gone = (
        f"The snapshot that the last push read (guid {mark.guid} of {mark.dataset}) is not"
        f" among those of {place.dataset} any more"
    )
    if bookmark is not None:
        return f"{gone}; zfs diff cannot start from its bookmark {bookmark}, feed=send can."
    return f"{gone}."


def _held(
    holds: Holds, base: Snapshot | None, why: str | None
) -> tuple[Snapshot | None, str | None]:
    """The base, held, or why there is none; somebody may have destroyed it just now."""
    if base is None:
        return None, why
    try:
        holds.take(base)
    except DiscoveryError as error:
        return None, str(error)
    return base, None


def _named(name: str, place: Place, listed: Sequence[Snapshot]) -> Snapshot:
    for snapshot in listed:
        if snapshot.name == name:
            return snapshot
    message = (
        f"{name} is no snapshot of {place.dataset}, the dataset that is mounted on"
        f" {show(place.mountpoint)}; zfs list -t snapshot {place.dataset} shows them."
    )
    raise DiscoveryError(message)
