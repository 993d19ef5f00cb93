"""The few commands of zfs that the plugin needs, with their arguments and answers as types."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from n2s_core.errors import DiscoveryError
from n2s_plugins.zfs.command import LONGEST_WAIT_S, Runner, Take
from n2s_plugins.zfs.refusals import refusal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot. `name` is POOL/DATASET@NAME; `guid` stays when it is renamed.

    `created_txg` orders the snapshots of one dataset; `holds` counts who holds it. What is left of
    a snapshot as a bookmark (POOL/DATASET#NAME) can be neither held nor read.
    """

    name: str
    guid: str
    created_txg: int
    holds: int

    @property
    def short(self) -> str:
        """What comes after the @."""
        return self.name.partition("@")[2]

    @property
    def is_bookmark(self) -> bool:
        """Whether only a bookmark is left of it."""
        return "#" in self.name


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One dataset as `zfs list` shows it."""

    name: str
    mountpoint: str
    mounted: bool
    can_mount: str
    key_status: str


class Zfs:
    """Every method raises DiscoveryError, with what to do, when zfs refuses."""

    def __init__(self, runner: Runner) -> None:
        """`runner` runs the command lines."""
        self._runner = runner

    def filesystems(self, dataset: str | None = None) -> list[Filesystem]:
        """All filesystem datasets of the imported pools, or one of them."""
        command = ["list", "-Hp", "-t", "filesystem"]
        columns = ("name", "mountpoint", "mounted", "canmount", "keystatus")
        only = [] if dataset is None else [dataset]
        return [
            Filesystem(name, mountpoint, mounted == "yes", can_mount, key_status)
            for name, mountpoint, mounted, can_mount, key_status in self._table(
                command, columns, only
            )
        ]

    def snapshots(self, dataset: str) -> list[Snapshot]:
        """The snapshots of the dataset itself, oldest first."""
        command = ["list", "-Hp", "-t", "snapshot", "-d", "1", "-s", "createtxg"]
        columns = ("name", "guid", "createtxg", "userrefs")
        return [
            Snapshot(name, guid, _number(txg), _number(holds))
            for name, guid, txg, holds in self._table(command, columns, [dataset])
        ]

    def bookmarks(self, dataset: str) -> dict[str, str]:
        """Names of the bookmarks of the dataset, by guid of the snapshot they were made from."""
        command = ["list", "-Hp", "-t", "bookmark", "-d", "1"]
        table = self._table(command, ("name", "guid"), [dataset])
        return {guid: name for name, guid in table}

    def snapshot(self, name: str) -> None:
        """Take a snapshot."""
        self._output(["snapshot", name], name)

    def destroy(self, name: str) -> None:
        """Destroy one snapshot, and never anything else."""
        if "@" not in name or any(char in name for char in "%,#"):
            message = f"{name} is no name of one snapshot; nothing was destroyed."
            raise DiscoveryError(message)
        self._output(["destroy", name], name)

    def tags(self, names: Sequence[str]) -> dict[str, set[str]]:
        """The tags that hold each of the snapshots."""
        found: dict[str, set[str]] = {name: set() for name in names}
        if names:
            for line in self._output(["holds", "-H", *names], names[0]).splitlines():
                name, tag, *_ = [*line.split("\t"), ""]
                found.setdefault(name, set()).add(tag)
        return found

    def hold(self, tag: str, name: str) -> None:
        """Keep the snapshot from being destroyed."""
        self._output(["hold", tag, name], name)

    def release(self, tag: str, name: str) -> None:
        """Give up the hold `tag`."""
        self._output(["release", tag, name], name)

    def diff(self, old: str, new: str, *, take: Take, wait_s: float) -> None:
        """Hand over the whole output of `zfs diff -FHt`.

        Raises DiscoveryError unless it ended well and without a word on stderr: messages of
        missing objects come with status 0.
        """
        ran = self._runner.run(["zfs", "diff", "-FHt", old, new], take=take, wait_s=wait_s)
        if ran.stopped is not None:
            message = f"zfs diff from {old} to {new} was stopped: {ran.stopped}."
            raise DiscoveryError(message)
        if ran.exit_code or ran.stderr:
            what, dataset = f"zfs diff from {old} to {new}", _dataset(new)
            message = refusal(what, dataset, exit_code=ran.exit_code, stderr=ran.stderr)
            raise DiscoveryError(message)

    def send(self, old: str, new: str, *, take: Take, wait_s: float) -> None:
        """Hand over the stream from `old` (or a bookmark) to `new`, as it lies on disk: compressed.

        Raises DiscoveryError unless it ended well.
        """
        command = ["zfs", "send", "-L", "-e", "-c", "-i", old, new]
        ran = self._runner.run(command, take=take, wait_s=wait_s)
        what = f"zfs send from {old} to {new}"
        if ran.stopped is not None:
            message = f"{what} was stopped: {ran.stopped}."
            raise DiscoveryError(message)
        if ran.exit_code:
            message = refusal(what, _dataset(new), exit_code=ran.exit_code, stderr=ran.stderr)
            raise DiscoveryError(message)

    def mount(self, name: str, directory: str) -> None:
        """Mount a snapshot on an empty directory."""
        self._run(["mount", "-t", "zfs", name, directory], name)

    def unmount(self, directory: str) -> None:
        """Undo `mount`."""
        self._run(["umount", directory], directory)

    def _table(
        self, command: list[str], columns: Sequence[str], names: Iterable[str]
    ) -> list[list[str]]:
        names = list(names)
        text = self._output([*command, "-o", ",".join(columns), *names], "".join(names))
        rows = [line.split("\t") for line in text.split("\n")[:-1]]
        whole = text.endswith("\n") or not text
        if not whole or any(len(row) != len(columns) for row in rows):
            message = f"zfs list printed something that is no table: {text[:200]!r}"
            raise DiscoveryError(message)
        return rows

    def _output(self, arguments: list[str], about: str) -> str:
        return self._run(["zfs", *arguments], about)

    def _run(self, arguments: list[str], about: str) -> str:
        output = bytearray()

        def take(data: bytes) -> bool:
            output.extend(data)
            return True

        ran = self._runner.run(arguments, take=take, wait_s=LONGEST_WAIT_S)
        what = " ".join(arguments[:2])
        if ran.stopped is not None:
            message = f"{what} of {about} was stopped: {ran.stopped}."
            raise DiscoveryError(message)
        if ran.exit_code:
            what = f"{what} of {about}"
            message = refusal(what, _dataset(about), exit_code=ran.exit_code, stderr=ran.stderr)
            raise DiscoveryError(message)
        return output.decode("utf-8", "surrogateescape")


def _dataset(name: str) -> str:
    return name.partition("@")[0]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
