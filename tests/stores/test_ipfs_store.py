"""The store on an IPFS node, with a real node (js-ipfs)."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest

from n2s_core.errors import Missing, Refused, Unavailable
from n2s_core.layout import Shelf, object_name
from n2s_core.ports import Store
from n2s_core.stores.ipfs import IpfsStore
from n2s_core.stores.ipfs_cid import RAW_SHA256, cid_text, parse_cid
from tests.conftest import environment
from tests.contracts.store import CONTENT, FOLDER, NAME, Plant, StoreContract, name_of
from tests.servers.ipfs import IpfsNode, collect_garbage, file_of, ipfs_node, rpc, write_file

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    with ipfs_node(tmp_path_factory.mktemp("ipfs") / "node") as running:
        yield running


@pytest.fixture
def folder() -> str:
    return f"store-{next(_NUMBERS)}"


@pytest.fixture
def store(node: IpfsNode, folder: str) -> Iterator[IpfsStore]:
    made = IpfsStore(f"{node.url}/{folder}")
    made.create()
    yield made
    made.close()


class TestIpfs(StoreContract):
    @pytest.fixture
    def store(self, store: IpfsStore) -> Store:
        return store

    @pytest.fixture
    def plant(self, node: IpfsNode, folder: str) -> Plant:
        return lambda path, content: write_file(node, f"/n2s/{folder}/{path}", content)


def put(store: Store, content: bytes, name: str | None = None) -> str:
    """Store it under a name of the layout; gives the name."""
    name = name or name_of(content)
    store.put(name, [content], len(content))
    return name


def large(seed: bytes) -> bytes:
    """Of more than one block."""
    return hashlib.shake_256(seed).digest(700_000)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[IpfsNode]:
    """A node of its own, for tests that harm it."""
    with ipfs_node(tmp_path / "node") as running:
        yield running


def store_of(node: IpfsNode) -> IpfsStore:
    made = IpfsStore(f"{node.url}/mine/of-two-parts")
    made.create()
    return made


def test_what_was_put_survives_a_power_failure_of_the_node(own: IpfsNode) -> None:
    store = store_of(own)
    contents = [b"small", large(b"1")]
    names = [put(store, content) for content in contents]
    own.kill()
    own.start()
    assert [store.get(name) for name in names] == contents
    put(store, b"more")
    assert store.get(name_of(b"more")) == b"more"


def test_while_the_node_is_away_everything_is_unavailable_and_works_when_it_is_back(
    own: IpfsNode,
) -> None:
    store = store_of(own)
    name = put(store, CONTENT)
    own.kill()
    calls: list[Callable[[], object]] = [
        lambda: put(store, CONTENT),
        lambda: store.get(name),
        lambda: store.get(name, 5, 5),
        lambda: store.stat(name),
        lambda: list(store.list(FOLDER)),
        store.address,
        store.create,
        lambda: store.delete(name),
    ]
    for call in calls:
        with pytest.raises(Unavailable, match="is it running"):
            call()
    own.start()
    for call in calls:
        call()


def test_a_node_killed_among_puts_has_each_object_whole_or_not_at_all(own: IpfsNode) -> None:
    store = store_of(own)
    contents = {name_of(each): each for each in (large(bytes([number])) for number in range(24))}
    enough, done = threading.Event(), list[str]()

    def put_it(name: str) -> None:
        with suppress(Unavailable):
            put(store, contents[name])
            done.append(name)
            if len(done) == 5:
                enough.set()

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(put_it, name) for name in contents]
        assert enough.wait(60)
        own.kill()
        for one in running:
            one.result()
    own.start()
    found = set()
    for name, content in contents.items():
        with suppress(Missing):
            assert store.get(name) == content
            found.add(name)
    assert found >= set(done)
    for name, content in contents.items():
        put(store, content)
        assert store.get(name) == content


@pytest.mark.parametrize("point", ["store-put-written", "store-put-renamed"])
def test_an_agent_killed_while_it_puts_leaves_the_object_whole_or_none(
    store: IpfsStore, point: str
) -> None:
    content = large(point.encode())
    name = name_of(content)
    script = (
        "import sys; from n2s_core.stores.ipfs import IpfsStore; data = sys.stdin.buffer.read()"
    )
    script += "; IpfsStore(sys.argv[1]).put(sys.argv[2], [data], len(data))"
    command = [sys.executable, "-c", script, store.url, name]
    environ = environment(N2S_CRASH_AT=point)
    done = subprocess.run(command, input=content, env=environ, check=False)
    assert done.returncode == -signal.SIGKILL
    if point == "store-put-written":
        with pytest.raises(Missing):
            store.stat(name)
    else:
        assert store.get(name) == content
    put(store, content)
    assert store.get(name) == content


def test_garbage_collection_keeps_what_is_stored_and_drops_what_was_deleted(
    own: IpfsNode,
) -> None:
    store = store_of(own)
    kept = {put(store, content): content for content in (b"a", b"b", large(b"a"), large(b"b"))}
    gone = [put(store, content) for content in (b"c", large(b"c"))]
    for name in gone:
        store.delete(name)
    address = store.address()
    collect_garbage(own)
    blocks = {path.read_bytes() for path in own.blocks()}
    assert blocks >= {b"a", b"b", large(b"a")[:262144], large(b"b")[:262144]}
    assert not blocks & {b"c", large(b"c")[:262144]}
    for store_or_state in (store, IpfsStore(address)):
        assert {name: store_or_state.get(name) for name in kept} == kept
        for name in gone:
            with pytest.raises(Missing):
                store_or_state.get(name)


def put_all(url: str, numbers: range) -> None:
    store = IpfsStore(url)
    for number in numbers:
        put(store, CONTENT, object_name(Shelf.DATA, bytes([number // 20, number]) * 16))
    store.close()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_that_put_at_once_lose_nothing(store: IpfsStore, method: str) -> None:
    put(store, b"The connection of the parent is in use.")
    spans = [range(40), range(20, 60), range(60)]
    with ProcessPoolExecutor(3, mp_context=get_context(method)) as workers:
        for one in [workers.submit(put_all, store.url, span) for span in spans]:
            one.result()
    folders = [f"data/{number:02x}" for number in range(3)]
    assert [len(list(store.list(folder))) for folder in folders] == [20, 20, 20]


def test_a_forked_child_does_not_speak_on_the_connection_of_its_parent(store: IpfsStore) -> None:
    name = put(store, CONTENT)
    ours = store._client._connections.ready(1.0).sock.getsockname()
    child = os.fork()
    if child == 0:
        right = store.get(name) == CONTENT
        theirs = store._client._connections.ready(1.0).sock.getsockname()
        os._exit(0 if right and theirs != ours else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert store.get(name) == CONTENT


def test_threads_that_put_at_once_lose_nothing(store: IpfsStore) -> None:
    """Into an empty folder, so that all of them want to make the same folders."""
    names = [object_name(Shelf.META, bytes([7, number]) * 16) for number in range(32)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: put(store, CONTENT, name), names))
    assert sorted(stat.name for stat in store.list("meta/07")) == sorted(names)


def test_an_address_is_the_state_of_a_moment_and_can_only_be_read(store: IpfsStore) -> None:
    name = put(store, CONTENT)
    state = IpfsStore(store.address())
    later = put(store, b"later")
    store.delete(name)
    assert state.address() == state.url
    assert state.get(name, 3, 4) == CONTENT[3:7]
    assert state.stat(name).size == len(CONTENT)
    assert [stat.name for stat in state.list(FOLDER)] == [name]
    with pytest.raises(Missing):
        state.get(later)
    state.create()
    for call in (lambda: put(state, CONTENT), lambda: state.delete(name)):
        with pytest.raises(Refused, match="can only be read"):
            call()


def test_a_folder_that_was_never_made_or_was_removed_is_not_made_by_a_put(
    node: IpfsNode, folder: str
) -> None:
    store = IpfsStore(f"{node.url}/{folder}")
    for _ in range(2):
        calls = (lambda: put(store, CONTENT), lambda: store.get(NAME), lambda: store.stat(NAME),
                 lambda: list(store.list(FOLDER)), store.address)  # fmt: skip
        for call in calls:
            with pytest.raises(Unavailable, match="has no folder"):
                call()
        store.create()
        put(store, CONTENT)
        rpc(node, f"files/rm?arg=/n2s/{folder}&recursive=true")


def test_creating_a_store_that_is_there_changes_nothing(store: IpfsStore) -> None:
    name = put(store, CONTENT)
    store.create()
    assert store.get(name) == CONTENT


def test_an_object_of_which_a_block_was_lost_is_missing_until_it_is_put_again(
    own: IpfsNode,
) -> None:
    store = store_of(own)
    content = large(b"x")
    name = put(store, content)
    file_of(own, content[262144:524288]).unlink()
    for offset, length in ((0, None), (300_000, 5)):
        with pytest.raises(Missing):
            store.get(name, offset, length)
    assert store.stat(name).size == len(content)
    put(store, content)
    assert store.get(name) == content


def test_a_small_object_whose_block_was_lost_is_missing_until_it_is_put_again(
    own: IpfsNode,
) -> None:
    store = store_of(own)
    name = put(store, CONTENT)
    file_of(own, CONTENT).unlink()
    calls: list[Callable[[], object]] = [
        lambda: store.get(name),
        lambda: store.get(name, 1, 1),
        lambda: store.stat(name),
    ]
    for call in calls:
        with pytest.raises(Missing):
            call()
    put(store, CONTENT)
    assert store.get(name) == CONTENT


def test_putting_again_heals_a_block_that_the_node_has_damaged(own: IpfsNode) -> None:
    store = store_of(own)
    name = put(store, CONTENT)
    block = file_of(own, CONTENT)
    damaged = b"\xff" + CONTENT[1:]
    block.write_bytes(damaged)
    assert store.get(name) == damaged
    put(store, CONTENT)
    assert store.get(name) == CONTENT


def test_the_cid_of_a_small_object_is_its_sha256_and_of_a_large_one_what_the_node_says(
    node: IpfsNode, store: IpfsStore
) -> None:
    folder = f"/n2s/{store.url.rpartition('/')[2]}"
    for content in (CONTENT, large(b"cid")):
        said = json.loads(rpc(node, f"files/stat?arg={folder}/{put(store, content)}"))["Hash"]
        cid = parse_cid(said)
        assert parse_cid(cid_text(cid)) == cid
        assert (cid == RAW_SHA256 + hashlib.sha256(content).digest()) == (content is CONTENT)
