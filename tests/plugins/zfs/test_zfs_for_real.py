"""Promise: between two snapshots of a real ZFS, the feed names all that changed.

Needs a kernel with OpenZFS; `make test-zfs` runs it in a virtual machine that has one. It makes a
pool of its own from a file.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from n2s_core import keys
from n2s_core.app.preparing import InitOrder, init
from n2s_core.app.pushing import PushOrder, push
from n2s_core.flows.push import Outcome
from n2s_plugins.zfs.mounts import parse_mounts
from tests.conftest import Dataset, quiet
from tests.edits import Editor
from tests.plugins.zfs.recordings import recorded
from tests.trees import describe, differences

pytestmark = [
    pytest.mark.skipif(
        not Path("/dev/zfs").exists() or os.geteuid() != 0,
        reason="There is no ZFS here, or no root; make test-zfs runs this where there is.",
    ),
    pytest.mark.xdist_group("zfs"),
]

POOL = "n2stest"
SEEDS = range(int(os.environ.get("N2S_TEST_SEEDS", "5")))
ONLY = os.environ.get("N2S_TEST_CASES", "").split()
CASES: dict[str, dict[str, Any]] = {
    name: case
    for name, case in recorded("2.1")["cases"].items()
    if not ONLY or any(one in name for one in ONLY)
}
PRELUDE = """
set -eu
umask 022
snap() { sync; zfs snapshot "$DS@$1"; sleep 0.05; }
"""


def zfs(*arguments: str) -> str:
    command = ["zfs", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", name="pool")
def pool_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the pool is mounted."""
    base = tmp_path_factory.mktemp("zfs")
    image, mounted = base / "image", Path(f"/{POOL}")
    with image.open("wb") as file:
        file.truncate(3 << 30)
    Path("/run/zfs.key").write_bytes(b"k" * 32)  # some recorded scripts use it
    make = ["zpool", "create", "-O", "atime=off", "-O", "acltype=posixacl"]
    make += ["-O", "compression=off", "-m", str(mounted), POOL, str(image)]
    subprocess.run(make, check=True)
    yield mounted
    subprocess.run(["zpool", "destroy", "-f", POOL], check=True)


@pytest.fixture(autouse=True, scope="module")
def _derive_once() -> Iterator[None]:
    """The key is derived slowly on purpose; here once for each salt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "derive", cache(keys.derive))
        yield


@dataclass(frozen=True)
class Volume(Dataset):
    """A dataset of n2s on one of ZFS, which is called `name`."""

    name: str = ""

    def feed(self, snapshot: str | None = None, **options: str) -> Outcome:
        if snapshot is not None:
            options["snapshot"] = f"{self.name}@{snapshot}"
        with self.space() as space:
            return push(space, PushOrder(options=options), quiet)[0]

    def snapshots(self) -> list[str]:
        rows = zfs("list", "-Ht", "snapshot", "-d1", "-s", "createtxg", "-o", "name", self.name)
        return [one.partition("@")[2] for one in rows.split()]

    def compare(self, tree: Path) -> None:
        pulled = self.pull()
        subprocess.run(["zpool", "sync"], check=True)  # only then it is known what has holes
        assert differences(describe(tree), describe(pulled)) == []


def release(name: str) -> None:
    """Give up all holds on a snapshot."""
    for line in zfs("holds", "-H", name).splitlines():
        zfs("release", line.split("\t")[1], name)


def volume(root: Path, name: str) -> Volume:
    """Its store and what is restored lie on the pool as well, where all attributes can be set."""
    base = Path(f"/{POOL}/.of-n2s") / name.rpartition("/")[2]
    base.mkdir(parents=True)
    made = Volume(base, root, base / "store", base / "config" / "config.toml", name=name)
    order = InitOrder(root=root, store_url=str(made.store), config=made.config, using="zfs")
    init(order, quiet)
    return made


@pytest.fixture(name="new")
def new_volume(pool: Path, tmp_path: Path) -> Iterator[Volume]:
    name = f"{POOL}/{tmp_path.name}"
    zfs("create", name)
    made = volume(pool / tmp_path.name, name)
    yield made
    for snapshot in made.snapshots():
        release(f"{name}@{snapshot}")
    zfs("destroy", "-r", name)


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_script_is_stored_snapshot_by_snapshot(pool: Path, name: str) -> None:
    case = CASES[name]
    dataset, root = f"{POOL}/{name}", pool / name
    options = [word for option in case["options"] for word in ("-o", option)]
    zfs("create", *options, dataset)
    environment = {**os.environ, "DS": dataset, "MNT": str(root)}
    subprocess.run(["bash", "-c", PRELUDE + case["script"]], cwd=root, env=environment, check=True)
    mounts = parse_mounts(Path("/proc/self/mounts").read_bytes())
    root = next(
        Path(os.fsdecode(one.mountpoint)) for one in mounts if one.device == dataset.encode()
    )
    made = volume(root, dataset)
    names = made.snapshots()
    assert names == [one["name"].partition("@")[2] for one in case["snapshots"]]
    for number, snapshot in enumerate(names):
        done = made.feed(snapshot)
        assert (done.fallback, done.audit.missed) == (None, 0)
        assert done.complete is (number == 0 and not done.failures)
        assert all("another dataset" in one.error for one in done.failures)
        made.compare(root / ".zfs/snapshot" / snapshot)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_was_done_the_feed_names_it(new: Volume, seed: int) -> None:
    editor = Editor(new.root, seed)
    editor.edit(60)
    assert new.feed().complete
    for times in (1, 5, 25, 60):
        editor.edit(times)
        done = new.feed()
        assert (done.fallback, done.audit.missed, done.failures) == (None, 0, [])
        new.compare(new.root)
    assert new.feed().changeset_id is None
    with new.space() as space:
        walked = push(space, PushOrder(using="find"), quiet)[0]
    assert (walked.written, walked.removed) == (0, 0)


def test_a_file_whose_name_zfs_diff_has_lost_is_stored_when_it_changes(new: Volume) -> None:
    (new.root / "d").mkdir()
    (new.root / "f").write_bytes(b"1")
    (new.root / "d/link").hardlink_to(new.root / "f")
    (new.root / "d/link").unlink()
    (new.root / "other").write_bytes(b"1")
    new.feed()
    (new.root / "f").write_bytes(b"22")
    (new.root / "other").write_bytes(b"22")
    done = new.feed()
    assert (done.fallback, done.written) == (None, 2)
    new.compare(new.root)


def test_its_own_snapshots_are_kept_until_they_are_too_many(new: Volume) -> None:
    for number in range(5):
        (new.root / "f").write_bytes(b"%d" % number)
        assert new.feed(keep="2").failed == 0
    assert 2 <= len(new.snapshots()) <= 4
    held = [one for one in new.snapshots() if zfs("holds", "-H", f"{new.name}@{one}")]
    assert len(held) == 2
    assert subprocess.run(["zfs", "destroy", f"{new.name}@{held[0]}"], check=False).returncode


@pytest.mark.parametrize("feed", ["send", "diff"])
def test_of_a_base_that_is_gone_a_bookmark_is_enough_for_a_stream(new: Volume, feed: str) -> None:
    (new.root / "f").write_bytes(b"1")
    zfs("snapshot", f"{new.name}@one")
    new.feed("one")
    release(f"{new.name}@one")
    zfs("bookmark", f"{new.name}@one", f"{new.name}#one")
    zfs("destroy", f"{new.name}@one")
    (new.root / "f").write_bytes(b"22")
    done = new.feed(feed=feed)
    assert (done.complete, done.fallback is None) == (feed == "diff", feed == "send")
    new.compare(new.root)


def test_a_snapshot_that_was_renamed_is_still_the_base(new: Volume) -> None:
    (new.root / "f").write_bytes(b"1")
    zfs("snapshot", f"{new.name}@one")
    new.feed("one")
    zfs("rename", f"{new.name}@one", f"{new.name}@uno")
    (new.root / "f").write_bytes(b"22")
    assert new.feed().fallback is None
    new.compare(new.root)


def test_a_received_copy_has_its_own_transactions_and_is_pushed_all_the_same(
    new: Volume,
) -> None:
    Editor(new.root, 1).edit(40)
    zfs("snapshot", f"{new.name}@one")
    copy = f"{new.name}-copy"
    with subprocess.Popen(["zfs", "send", f"{new.name}@one"], stdout=subprocess.PIPE) as sending:
        subprocess.run(["zfs", "receive", copy], stdin=sending.stdout, check=True)
    made = volume(new.root.with_name(f"{new.root.name}-copy"), copy)
    made.feed()
    Editor(made.root, 2).edit(40)
    done = made.feed()
    assert (done.fallback, done.audit.missed) == (None, 0)
    made.compare(made.root)


def test_what_is_encrypted_is_pushed_while_its_key_is_loaded(pool: Path, tmp_path: Path) -> None:
    name, key = f"{POOL}/secret", tmp_path / "key"
    key.write_bytes(os.urandom(32))
    zfs(
        "create",
        "-o",
        "encryption=on",
        "-o",
        "keyformat=raw",
        "-o",
        f"keylocation=file://{key}",
        name,
    )
    made = volume(pool / "secret", name)
    editor = Editor(made.root, 3)
    editor.edit(30)
    made.feed()
    editor.edit(30)
    done = made.feed()
    assert (done.fallback, done.audit.missed) == (None, 0)
    made.compare(made.root)


def test_an_old_filesystem_keeps_its_attributes_elsewhere(pool: Path) -> None:
    name = f"{POOL}/old"
    zfs("create", "-o", "version=4", name)
    made = volume(pool / "old", name)
    (made.root / "d").mkdir()
    (made.root / "d/f").write_bytes(b"1")
    made.feed()
    (made.root / "d/f").write_bytes(b"22")
    (made.root / "d").rename(made.root / "e")
    done = made.feed()
    assert (done.fallback, done.audit.missed) == (None, 0)
    made.compare(made.root)
