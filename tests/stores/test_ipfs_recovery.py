"""A backup on IPFS from the first push to the recovery, with a real node (js-ipfs)."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import shake_256
from pathlib import Path

import pytest

from n2s_core.app import api
from n2s_core.stores.ipfs import IpfsStore
from tests.archives import take_out
from tests.conftest import RECOVER, REPOSITORY, environment
from tests.servers.ipfs import IpfsNode, collect_garbage, file_of, ipfs_node, rpc
from tests.several import a_set
from tests.trees import describe, differences

HARD_NAMES = (b"plain", b"not utf-8 \xff\xfe", b"two\nlines", "übung".encode(), b"sub/deep")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[IpfsNode]:
    with ipfs_node(tmp_path / "node") as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "sub").mkdir(parents=True)
    for number, name in enumerate(HARD_NAMES):
        with open(bytes(made) + b"/" + name, "wb") as file:
            file.write(shake_256(bytes([number])).digest(300_000))
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


def n2s(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "n2s_core", *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def assert_same(restored: Path, root: Path) -> None:
    assert differences(describe(root), describe(restored)) == []


def new_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def test_the_address_that_a_push_shows_and_the_passphrase_are_enough(
    node: IpfsNode, root: Path, config: Path, tmp_path: Path
) -> None:
    assert n2s("-c", str(config), "init", str(root), "--store", f"{node.url}/mine").returncode == 0
    first = n2s("-c", str(config), "push", "--json")
    assert first.returncode == 0, first.stderr
    (root / "later").write_bytes(b"later")
    second = n2s("-c", str(config), "push")
    address = IpfsStore(f"{node.url}/mine").address()
    assert address in second.stderr + second.stdout
    assert json.loads(first.stdout)["store_address"] not in {address, None}
    collect_garbage(node)
    node.kill()
    node.start()
    done = n2s("recover", "--store", address, "--target-path", str(tmp_path / "restored"))
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "restored", root)


def test_a_mirror_of_which_one_is_ipfs_shows_an_address_too(
    node: IpfsNode, root: Path, config: Path, tmp_path: Path
) -> None:
    table = tmp_path / "set.toml"
    urls = {1: f"{node.url}/mine"}
    table.write_text('mode = "mirror"\n' + a_set(tmp_path / "stores", 2, urls=urls))
    api.init(root, f"set:{table}", config=config)
    address = api.push(config=config).store_address
    assert address is not None
    wanted = describe(root)
    (root / "later").write_bytes(b"later")
    api.push(config=config)
    shutil.rmtree(tmp_path / "stores")
    done = n2s("recover", "--store", address, "--target-path", str(tmp_path / "restored"))
    assert done.returncode == 0, done.stderr
    assert differences(wanted, describe(tmp_path / "restored")) == []


def test_a_push_is_verified_rebuilt_and_restored(
    node: IpfsNode, root: Path, config: Path, tmp_path: Path
) -> None:
    api.init(root, f"{node.url}/mine", config=config)
    done = api.push(config=config)
    assert done.failed == 0
    assert api.verify(config=config, percent=100).exit_code == 0
    for path in config.parent.glob("catalogue.db*"):
        path.unlink()
    assert api.rebuild(config=config).problems == ()
    again = api.push(config=config)
    assert (again.changeset_id, again.store_address) == (None, None)
    assert IpfsStore(f"{node.url}/mine").address() == done.store_address
    api.pull(tmp_path / "restored", config=config)
    assert_same(tmp_path / "restored", root)


def test_a_dry_run_says_no_address(node: IpfsNode, root: Path, config: Path) -> None:
    api.init(root, f"{node.url}/mine", config=config)
    assert api.push(config=config, dry_run=True).store_address is None


def test_what_is_removed_behind_our_back_is_named_and_stored_again(
    node: IpfsNode, root: Path, config: Path, tmp_path: Path
) -> None:
    api.init(root, f"{node.url}/mine", pack_size=0, config=config)
    api.push(config=config)
    store = IpfsStore(f"{node.url}/mine")
    folders = [f"data/{number:02x}" for number in range(256)]
    names = [stat.name for each in folders for stat in store.list(each) if stat.size > 262144]
    unlinked, broken = names[:2]
    rpc(node, f"files/rm?arg=/n2s/mine/{unlinked}")
    block = store.get(broken, 0, 262144)
    file_of(node, block).unlink()
    found = api.verify(config=config, percent=100)
    assert sorted(found.found.missing) == sorted([unlinked, broken])
    api.push(config=config)
    api.pull(tmp_path / "restored", config=config)
    assert_same(tmp_path / "restored", root)


def test_a_stranger_gets_the_folder_with_the_client_of_the_node(
    node: IpfsNode, root: Path, config: Path, tmp_path: Path
) -> None:
    """`ipfs get CID`, then contrib/recover.py, which knows nothing of IPFS."""
    api.init(root, f"{node.url}/mine", config=config)
    address = api.push(config=config).store_address
    assert address is not None
    cid = address.rpartition("/")[2]
    fetched = tmp_path / "fetched"
    with tarfile.open(fileobj=io.BytesIO(rpc(node, f"get?arg={cid}&archive=true"))) as archive:
        take_out(archive, fetched)
    restored = new_folder(tmp_path / "restored")
    command = [sys.executable, str(RECOVER), str(fetched / cid), str(restored)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(restored, root)


def test_the_commands_of_the_page_work_as_written(
    node: IpfsNode, root: Path, tmp_path: Path
) -> None:
    page = (REPOSITORY / "docs" / "stores.md").read_text()
    section = page.partition("\n## IPFS\n")[2].partition("\n## ")[0]
    init, push, recover = (line[4:] for line in section.splitlines() if line.startswith("    "))
    program = new_folder(tmp_path / "bin") / "n2s"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m n2s_core "$@"\n')
    program.chmod(0o755)
    ours = {
        "127.0.0.1:5001": f"127.0.0.1:{node.port}",
        "/srv/data": str(root),
        "/srv/restored": str(tmp_path / "restored"),
    }

    def run(line: str) -> None:
        for word, here in ours.items():
            line = line.replace(word, here)
        path = f"{program.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-euc", line], env=environment(PATH=path), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    run(f"{init}; {push}")
    state = IpfsStore(f"{node.url}/ada").address()
    ours["/CID"] = "/" + state.rpartition("/")[2]
    run(recover)
    restored = describe(tmp_path / "restored", ignore=frozenset({b".n2s"}))
    assert differences(describe(root, ignore=frozenset({b".n2s"})), restored) == []
