"""Every recorded failure of zfs gives a sentence that says what to do."""

from typing import Any

import pytest

from n2s_core.errors import DiscoveryError
from n2s_plugins.zfs.command import Ran, Runner
from n2s_plugins.zfs.commands import Zfs
from n2s_plugins.zfs.plugin import ZfsDiff
from n2s_plugins.zfs.refusals import advice, refusal
from tests.plugins.zfs.recordings import VERSIONS, Asker, PlayedMachine, PlayedZfs, recorded

FAILED = [
    pytest.param(one, id=f"{version}-{one['title']}")
    for version in VERSIONS
    for one in recorded(version)["commands"]
    if "title" in one and one["rc"]
]

TO_DO = {
    "diff, same snapshot twice": "an earlier and a later one",
    "diff, no such second snapshot": "not there any more",
    "diff, no such pool": "zpool import",
    "diff, bookmark": "cannot start from it",
    "diff, volume": "is a volume",
    "diff, unknown flag": "OpenZFS 2.1 and 2.3 do",
    "diff, user without permission": "zfs allow USER send,diff,hold,release,snapshot,mount,destroy",
    "snapshot, user without permission": "zfs allow USER send,diff,hold,",
    "diff, user, /dev/zfs closed to him": "/dev/zfs is closed",
    "destroy held snapshot": "zfs holds SNAPSHOT says who",
    "diff, dataset not mounted": "zfs mount tank",
    "diff, mountpoint=none": "give it a mount point",
    "diff, mountpoint=legacy, not mounted": "mount -t zfs",
    "diff, canmount=off": "canmount=off",
    "diff, encrypted, not mounted, key not loaded": "zfs load-key tank",
    "snapshot that exists": "choose another prefix",
    "diff, pool not imported": "zpool import",
    "diff, module not loaded": "modprobe zfs",
    "diff, module not loaded and not loadable": "modprobe zfs",
    "destroy, no such snapshot": "gone already",
}


@pytest.mark.parametrize("command", FAILED)
def test_a_recorded_failure_is_known(command: dict[str, Any]) -> None:
    assert advice(command["stderr"].encode(), "tank/data") is not None
    text = refusal("zfs", "tank/data", exit_code=command["rc"], stderr=command["stderr"].encode())
    assert TO_DO.get(command["title"], "") in text
    assert "\n" not in text


def test_each_thing_to_do_belongs_to_a_recorded_failure() -> None:
    commands = [one for version in VERSIONS for one in recorded(version)["commands"]]
    assert {one.get("title") for one in commands if one.get("rc")} >= TO_DO.keys()


def test_what_zfs_said_is_passed_on() -> None:
    text = refusal("zfs diff", "tank", exit_code=7, stderr=b"strange\n\tthings\xff\n")
    assert "does not know this message" in text
    assert "strange things\\xff" in text


class Mute:
    """A Runner that says one thing."""

    def __init__(self, stdout: bytes, stderr: bytes = b"") -> None:
        self._stdout = stdout
        self._stderr = stderr

    def run(self, arguments: object, *, take: Any, wait_s: float) -> Ran:
        take(self._stdout)
        return Ran(0, self._stderr)


def test_a_word_on_stderr_spoils_a_diff_that_ended_well() -> None:
    runner: Runner = Mute(b"", b"Unable to determine path or stats for object 128 in tank@a: x\n")
    with pytest.raises(DiscoveryError, match="its answer is incomplete"):
        Zfs(runner).diff("tank@a", "tank@b", take=lambda _: True, wait_s=1)


@pytest.mark.parametrize("table", [b"tank@a\t1\t2\n", b"tank@a\t1\t2\t0", b"warning\n"])
def test_a_list_that_is_no_table_is_refused(table: bytes) -> None:
    with pytest.raises(DiscoveryError, match="no table"):
        Zfs(Mute(table)).snapshots("tank")


@pytest.mark.parametrize("name", ["tank", "tank/data", "tank@a%b", "tank@a,b", "tank#mark"])
def test_nothing_but_one_snapshot_is_ever_destroyed(name: str) -> None:
    zfs = PlayedZfs("tank", [])
    with pytest.raises(DiscoveryError, match="nothing was destroyed"):
        Zfs(zfs).destroy(name)
    assert zfs.ran == []


ROOT = b"ext4 / ext4 rw 0 0\n"
POOL = b"tank /tank zfs rw 0 0\n"


def check(mounts: bytes, filesystems: str, **options: str) -> str:
    zfs = PlayedZfs("tank/data", [], filesystems=filesystems)
    plugin = ZfsDiff(zfs, PlayedMachine(mounts))
    with pytest.raises(DiscoveryError) as error:
        plugin.check(Asker(b"/tank/data", options).source)
    return str(error.value)


@pytest.mark.parametrize(
    ("mounts", "filesystems", "sentence"),
    [
        (ROOT + POOL, "tank/data\t/tank/data\tno\ton\t-\n", "zfs mount tank/data"),
        (ROOT, "tank/data\t/tank/data\tno\ton\tunavailable\n", "zfs load-key tank/data"),
        (ROOT, "tank/data\t/tank/data\tno\toff\t-\n", "zfs set canmount=on tank/data"),
        (ROOT, "tank/data\tlegacy\tno\ton\t-\n", "tank/data; as root: mount -t zfs DATASET"),
        (ROOT, "tank/data\tnone\tno\ton\t-\n", "zfs set mountpoint=DIRECTORY DATASET"),
        (ROOT, "", "zpool import"),
        (ROOT, "tank\t/tank\tyes\ton\t-\n", "a filesystem of type ext4"),
        (ROOT + POOL, "tank\t/tank\tyes\ton\t-\n", "a directory in the dataset tank"),
        (ROOT + b"tank@a /tank/data zfs ro 0 0\n", "", "snapshot=tank@a"),
        (ROOT + b"tank/data /tank/data zfs rw 0 0\nt /tank/data tmpfs rw 0 0\n", "", "type tmpfs"),
    ],
)
def test_a_root_that_is_no_mounted_dataset_is_explained(
    mounts: bytes, filesystems: str, sentence: str
) -> None:
    assert sentence in check(mounts, filesystems)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"newer": "1"}, "has no option 'newer'"),
        ({"keep": "-1"}, "no number from 0"),
        ({"keep": "two"}, "no number"),
        ({"max-changes": "\u0661"}, "no number"),
        ({"max-minutes": "0"}, "no number from 1"),
        ({"prefix": "a b"}, "cannot be part"),
        ({"prefix": "a@b"}, "cannot be part"),
        ({"snapshot": "tank/data"}, "write POOL/DATASET@NAME"),
        ({"snapshot": "tank/data@a@b"}, "write POOL/DATASET@NAME"),
        ({"snapshot": "tank/data@a", "keep": "2"}, "keep means nothing"),
        ({"snapshot": "tank/other@a"}, "is no snapshot of tank/data"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, str], sentence: str) -> None:
    mounts = ROOT + b"tank/data /tank/data zfs rw 0 0\n"
    assert sentence in check(mounts, "", **options)
