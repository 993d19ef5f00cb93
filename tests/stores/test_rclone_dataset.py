"""Whole datasets on real servers: pushed, restored, read by another client, damaged, healed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RECOVER, Dataset, MakeDataset
from tests.servers import rclones
from tests.stores.conftest import Servers
from tests.trees import describe, differences

HARD_NAMES = (b"plain", b"no \xff\xfe utf-8", b"two\nlines", b" leading", b"\xc3\xa9 and \\ and '")
both = pytest.mark.parametrize("age", ["newest", "old"])
newest = pytest.mark.parametrize("age", ["newest"])


@pytest.fixture(autouse=True)
def _rclone(
    request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_new = request.getfixturevalue("age") == "newest"
    monkeypatch.setenv("N2S_RCLONE", rclones.newest() if is_new else rclones.old())
    monkeypatch.setenv("RCLONE_CONFIG", str(servers.configuration))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stored"


def grown(dataset: Dataset) -> Dataset:
    """With a tree of names and sizes that make packs, segments and records."""
    root = os.fsencode(dataset.root)
    for number, name in enumerate(HARD_NAMES):
        with open(root + b"/" + name, "wb") as file:
            file.write(name * (1 << (4 * number)))
    (dataset.root / "folder").mkdir()
    os.symlink(b"\xff", root + b"/folder/link")
    (dataset.root / "large").write_bytes(os.urandom(3 << 20))
    return dataset


@pytest.fixture
def on_disk(make_dataset: MakeDataset, folder: Path, age: str) -> Dataset:
    return grown(make_dataset(store=Path(f"rclone:disk:{folder}"), pack_size=1 << 20))


def stored(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.glob("data/*/*")) if path.is_file())


@pytest.mark.parametrize(
    ("age", "kind"),
    [("newest", "crypt"), ("newest", "s3"), ("newest", "dav"), ("old", "s3"), ("old", "sftp")],
)
def test_a_dataset_comes_back_from_each_kind_of_remote(
    servers: Servers, make_dataset: MakeDataset, folder: Path, age: str, kind: str
) -> None:
    unique = os.urandom(8).hex()
    places = {"disk": str(folder), "s3": f"datasets/{unique}", "sftp": str(folder)}
    remote = f"rclone:{kind}:{places.get(kind, unique)}"
    dataset = grown(make_dataset(store=Path(remote), pack_size=1 << 20))
    assert dataset.push().failures == []
    dataset.assert_restores()
    dataset.rebuild_from_store()
    dataset.assert_restores()
    assert dataset.push().objects_stored == 0


@newest
def test_a_bucket_is_read_with_another_client_and_recovered_without_n2s(
    servers: Servers, make_dataset: MakeDataset, folder: Path, age: str
) -> None:
    dataset = grown(make_dataset(store=Path("rclone:s3:others/store"), pack_size=1 << 20))
    dataset.push()
    client = servers.s3.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="others", Prefix="store/")
    keys = [one["Key"] for page in pages for one in page["Contents"]]
    for key in keys:
        target = folder / key.removeprefix("store/")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file("others", key, str(target))
    for key in keys:
        client.delete_object(Bucket="others", Key=key)
    target = dataset.new_folder("recover")
    command = [sys.executable, str(RECOVER), str(folder), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert differences(describe(dataset.root), describe(target)) == []


@both
def test_a_flipped_bit_is_found_and_healed_by_the_next_push(
    on_disk: Dataset, folder: Path, age: str
) -> None:
    on_disk.push()
    victim = next(stored(folder))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert list(on_disk.verify().damaged) == [str(victim.relative_to(folder))]
    on_disk.push()
    on_disk.assert_restores()


@newest
def test_an_object_removed_behind_our_back_is_found_and_stored_again(
    on_disk: Dataset, folder: Path, age: str
) -> None:
    on_disk.push()
    victim = next(stored(folder))
    victim.unlink()
    assert list(on_disk.verify().missing) == [str(victim.relative_to(folder))]
    on_disk.push()
    on_disk.assert_restores()


@newest
def test_what_a_kill_left_behind_disturbs_nobody_and_is_cleaned_with_one_command(
    on_disk: Dataset, folder: Path, age: str
) -> None:
    on_disk.push()
    whole = set(folder.rglob("*"))
    victim = next(stored(folder))
    left = [victim.with_name(f"{victim.name}.0badcafe.partial"), victim.with_name(".tmp-0123")]
    for path in left:
        path.write_bytes(b"half")
    findings = on_disk.verify()
    assert not findings.missing
    assert not findings.damaged
    on_disk.assert_restores()
    patterns = ("--include", "*.partial", "--include", ".tmp-*")
    rclones.run(rclones.newest(), "delete", f":local:{folder}", *patterns)
    assert set(folder.rglob("*")) == whole
