"""Whole pushes with the plugin: what is stored is what is there, whatever zfs diff says.

The snapshots are the live tree, which nobody changes while it is pushed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from n2s_core.app.pushing import PushOrder, push
from n2s_core.flows.push import Outcome
from n2s_core.plugins import Host
from n2s_plugins.zfs.commands import Snapshot, Zfs
from n2s_plugins.zfs.plugin import ZfsDiff
from tests.conftest import Dataset, quiet
from tests.plugins.zfs.recordings import PlayedMachine, PlayedZfs


class LiveMachine(PlayedMachine):
    """A machine whose snapshots are the live tree."""

    @contextmanager
    def entered(self, zfs: Zfs, mountpoint: bytes, snapshot: Snapshot) -> Iterator[bytes]:
        yield mountpoint

    def inode(self, directory: bytes, path: bytes) -> int | None:
        try:
            return os.lstat(directory + b"/" + path).st_ino
        except OSError:
            return None


@dataclass
class Pool:
    """A dataset of n2s on a played dataset of ZFS."""

    dataset: Dataset
    zfs: PlayedZfs

    def push(self, *lines: str) -> Outcome:
        """`lines` have M for the mount point, and blanks for tabs."""
        text = "".join(f"1795205118.920000000 {line}\n" for line in lines).replace(" ", "\t")
        self.zfs.stdout = text.replace("MNT", str(self.dataset.root)).encode()
        with self.dataset.space() as space:
            return push(space, PushOrder(using="zfs", options={"feed": "diff"}), quiet)[0]


@pytest.fixture
def pool(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Pool:
    zfs = PlayedZfs("tank/data", [])
    machine = LiveMachine(b"tank/data %s zfs rw 0 0\n" % os.fsencode(dataset.root))
    monkeypatch.setattr(Host, "discoverer", lambda _self, _name: ZfsDiff(zfs, machine))
    return Pool(dataset, zfs)


def test_what_zfs_diff_names_is_stored(pool: Pool) -> None:
    root = pool.dataset.root
    for name in ("d/e/f", "d/g", "gone", "same"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"1")
    assert pool.push().fallback is None
    (root / "d").rename(root / "n")
    (root / "n/g").write_bytes(b"22")
    (root / "gone").unlink()
    (root / "a b").mkdir()
    done = pool.push(
        "R / MNT/d MNT/n", "R F MNT/d/g MNT/n/g", "- F MNT/gone", "+ / MNT/a\\0040b", "M / MNT/"
    )
    assert done.fallback is None
    assert not done.complete
    pool.dataset.assert_restores()


def test_names_that_zfs_diff_does_not_tell_are_stored(pool: Pool) -> None:
    root = pool.dataset.root
    (root / "d").mkdir()
    (root / "e").mkdir()
    (root / "d/f").write_bytes(b"1")
    (root / "e/g").hardlink_to(root / "d/f")
    pool.push()
    (root / "d/f").rename(root / "d/n")
    done = pool.push("M / MNT/d", "R F MNT/e/g MNT/d/n")
    assert done.fallback is None
    pool.dataset.assert_restores()
    (root / "e/g").write_bytes(b"22")
    assert pool.push().fallback is None  # not a word of it
    pool.dataset.assert_restores()


def test_an_answer_that_cannot_be_read_is_a_walk_that_says_why(pool: Pool) -> None:
    (pool.dataset.root / "f").write_bytes(b"1")
    pool.push()
    (pool.dataset.root / "f").write_bytes(b"22")
    done = pool.push("+ F MNT/other", "what is this")
    assert done.complete
    assert done.fallback is not None
    assert "a line that nobody understands" in done.fallback
    pool.dataset.assert_restores()
