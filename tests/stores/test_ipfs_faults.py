"""What an IPFS node may answer and a real one does not on demand.

The sentences of the node are those of kubo.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.model import ObjectStat
from n2s_core.stores.ipfs import IpfsStore
from n2s_core.stores.ipfs_cid import RAW_SHA256, cid_text
from n2s_core.stores.ipfs_errors import judge
from tests.contracts.store import CONTENT, FOLDER, NAME

ROOT = cid_text(RAW_SHA256 + bytes(32))
CID = cid_text(RAW_SHA256 + hashlib.sha256(CONTENT).digest())
OTHER = cid_text(RAW_SHA256 + bytes([1]) * 32)
NO_NAME = f'no link named "data" under {ROOT}'
LOST = f"block was not found locally (offline): ipld: could not find {CID}"


Reply = tuple[int, bytes]
Asked = dict[str, list[str]]


def said(**fields: object) -> Reply:
    return 200, json.dumps(fields).encode()


def failed(sentence: str) -> Reply:
    return 500, json.dumps({"Message": sentence, "Code": 0, "Type": "error"}).encode()


class FakeNode:
    """Holds one object, and says `answers[command]` instead of its own answer."""

    def __init__(self) -> None:
        self.linked = False
        self.answers: dict[str, Callable[[Asked], Reply | None]] = {}
        self.seen: list[str] = []
        self.authorization: list[str | None] = []

    def reply(self, command: str, asked: Asked) -> Reply:
        self.seen.append(command)
        answer = self.answers.get(command)
        own = None if answer is None else answer(asked)
        return self._plainly(command, asked.get("arg", [])) if own is None else own

    def _plainly(self, command: str, arguments: list[str]) -> Reply:
        entry = {"Hash": CID, "Size": len(CONTENT), "Type": "file"}
        if command == "files/stat" and arguments[0].startswith("/n2s/"):
            return said(Hash=ROOT, Size=0, Type="directory")
        if command == "files/stat" and arguments[0] == f"/ipfs/{CID}":
            return said(**entry)
        if command in {"files/stat", "cat", "ls"} and not self.linked:
            return failed(NO_NAME)
        if command == "files/cp":
            self.linked = True
        link = {"Name": NAME.rpartition("/")[2], "Hash": CID, "Size": len(CONTENT), "Type": 2}
        return {
            "add": said(Name="object", Hash=CID, Size="10248"),
            "files/stat": said(**entry),
            "ls": said(Objects=[{"Hash": ROOT, "Links": [link]}]),
            "cat": (200, CONTENT),
        }.get(command, (200, b""))


class Handler(BaseHTTPRequestHandler):
    """Speaks for the FakeNode of its server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        node: FakeNode = self.server.node  # type: ignore[attr-defined]
        node.authorization.append(self.headers["Authorization"])
        self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path)
        command = path.path.removeprefix("/api/v0/")
        status, body = node.reply(command, parse_qs(path.query))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def port(node: FakeNode) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.node = node  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def store(port: int) -> Iterator[IpfsStore]:
    made = IpfsStore(f"ipfs://127.0.0.1:{port}/fake")
    yield made
    made.close()


def put(store: IpfsStore) -> None:
    store.put(NAME, [CONTENT], len(CONTENT))


def test_the_fake_node_is_good_enough_for_a_put(store: IpfsStore) -> None:
    """So what the other tests see is due to what they change."""
    put(store)
    assert store.get(NAME) == CONTENT
    assert list(store.list(FOLDER)) == [ObjectStat(NAME, len(CONTENT))]


@pytest.mark.parametrize("command", ["add", "files/cp"])
@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("write /data/ipfs/blocks/put-123: no space left on device", Refused),
        ("open /data/ipfs/blocks/X: read-only file system", Refused),
        ("open /data/ipfs/blocks/X: permission denied", Refused),
        ("context deadline exceeded", Unavailable),
        ("something that nobody has seen before", Unavailable),
        (LOST, Unavailable),
    ],
)
def test_a_put_that_the_node_fails_is_no_object(
    node: FakeNode, store: IpfsStore, command: str, sentence: str, kind: type[StoreError]
) -> None:
    node.answers[command] = lambda _: failed(sentence)
    with pytest.raises(kind):
        put(store)
    with pytest.raises(Missing):
        store.stat(NAME)


def test_a_node_that_says_yes_and_keeps_nothing_is_found_out(
    node: FakeNode, store: IpfsStore
) -> None:
    node.answers["files/cp"] = lambda _: (200, b"")
    with pytest.raises(Unavailable, match="did not keep"):
        put(store)


def test_a_small_object_that_arrived_with_other_bytes_gets_no_name(
    node: FakeNode, store: IpfsStore
) -> None:
    node.answers["add"] = lambda _: said(Name="object", Hash=OTHER)
    with pytest.raises(Unavailable, match="as it was sent"):
        put(store)
    assert "files/cp" not in node.seen


def test_an_object_that_arrived_shorter_gets_no_name(node: FakeNode, store: IpfsStore) -> None:
    node.answers["files/stat"] = lambda asked: (
        said(Hash=CID, Size=len(CONTENT) - 1) if asked["arg"] == [f"/ipfs/{CID}"] else None
    )
    with pytest.raises(Unavailable, match="bytes long"):
        put(store)
    assert "files/cp" not in node.seen


def test_two_who_make_the_same_folder_at_once_both_succeed(
    node: FakeNode, store: IpfsStore
) -> None:
    node.answers["files/cp"] = lambda _: (
        failed("file already exists") if node.seen.count("files/cp") == 1 else None
    )
    put(store)
    assert store.get(NAME) == CONTENT


def test_who_is_told_that_the_name_exists_looks_whether_it_is_the_same(
    node: FakeNode, store: IpfsStore
) -> None:
    def linked_by_another(_: Asked) -> Reply:
        node.linked = True
        return failed("cp: cannot put node in path: directory already has entry by that name")

    node.answers["files/cp"] = linked_by_another
    put(store)
    assert "files/rm" not in node.seen


def test_a_block_that_the_node_damaged_and_keeps_is_not_called_healed(
    node: FakeNode, store: IpfsStore
) -> None:
    put(store)
    node.answers["cat"] = lambda _: (200, b"\xff" + CONTENT[1:])
    with pytest.raises(Refused, match="blocks are damaged"):
        put(store)


def test_what_came_too_short_is_asked_for_again(node: FakeNode, store: IpfsStore) -> None:
    """A node that fails while it sends ends the answer as if that were all."""
    put(store)

    def at_most_3000(asked: Asked) -> Reply:
        offset, length = (int(asked.get(key, ["3000"])[0]) for key in ("offset", "length"))
        return 200, CONTENT[offset : offset + min(length, 3000)]

    node.answers["cat"] = at_most_3000
    assert store.get(NAME) == CONTENT
    assert store.get(NAME, 10, 7000) == CONTENT[10:7010]


@pytest.mark.parametrize(("sentence", "kind"), [(LOST, Missing), ("timeout", Unavailable)])
def test_why_it_came_too_short_is_what_the_node_says_of_the_rest(
    node: FakeNode, store: IpfsStore, sentence: str, kind: type[StoreError]
) -> None:
    put(store)
    node.answers["cat"] = lambda asked: (
        (200, CONTENT[:3000]) if asked["offset"] == ["0"] else failed(sentence)
    )
    with pytest.raises(kind):
        store.get(NAME)


def test_a_node_that_gives_nothing_for_ever_does_not_hold_us(
    node: FakeNode, store: IpfsStore
) -> None:
    put(store)
    node.answers["cat"] = lambda _: (200, b"")
    with pytest.raises(Unavailable, match="gave less"):
        store.get(NAME)


def test_more_than_was_asked_for_is_not_taken(node: FakeNode, store: IpfsStore) -> None:
    put(store)
    node.answers["cat"] = lambda _: (200, CONTENT)
    with pytest.raises(Unavailable, match="gave more"):
        store.get(NAME, 0, 10)


def test_a_listing_leaves_out_what_the_node_lost_and_no_more(
    node: FakeNode, store: IpfsStore
) -> None:
    lost = f"{FOLDER}/{FOLDER[-2:]}{'0' * 62}"
    links = [{"Name": name.rpartition("/")[2], "Hash": CID, "Size": 0} for name in (NAME, lost)]

    def listing(asked: Asked) -> Reply:
        if asked.get("resolve-type") == ["false"]:
            return said(Objects=[{"Hash": ROOT, "Links": links}])
        return failed(LOST)

    put(store)
    node.answers["ls"] = listing
    node.answers["files/stat"] = lambda asked: failed(LOST) if lost in asked["arg"][0] else None
    assert list(store.list(FOLDER)) == [ObjectStat(NAME, len(CONTENT))]


def test_a_folder_that_cannot_be_read_is_not_called_empty(node: FakeNode, store: IpfsStore) -> None:
    put(store)
    node.answers["ls"] = lambda _: failed(LOST)
    with pytest.raises(Unavailable, match="lost blocks of the folder"):
        list(store.list(FOLDER))


def test_when_the_folder_changed_while_it_was_read_the_new_one_is_asked(
    node: FakeNode, store: IpfsStore
) -> None:
    """The garbage collection took the old one away."""
    put(store)
    roots = iter([ROOT, OTHER, OTHER])
    node.answers["files/stat"] = lambda asked: (
        said(Hash=next(roots), Size=0) if asked["arg"][0].startswith("/n2s/") else None
    )
    node.answers["cat"] = lambda asked: failed(LOST) if ROOT in asked["arg"][0] else None
    assert store.get(NAME, 0, len(CONTENT)) == CONTENT


def test_a_block_that_nobody_in_the_network_gives_is_not_called_missing(
    node: FakeNode, port: int
) -> None:
    """Reading by CID, the node looks elsewhere; who has it may come back."""
    state = IpfsStore(f"ipfs://127.0.0.1:{port}/ipfs/{ROOT}")
    node.answers["files/stat"] = lambda _: failed("context deadline exceeded")
    with pytest.raises(Unavailable):
        state.stat(NAME)
    state.close()


def every_call(store: IpfsStore) -> list[Callable[[], object]]:
    return [
        lambda: put(store),
        lambda: store.get(NAME),
        lambda: store.stat(NAME),
        lambda: list(store.list(FOLDER)),
        lambda: store.delete(NAME),
        store.address,
        store.create,
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "N2S_IPFS_AUTH"),
        (403, "N2S_IPFS_AUTH"),
        (400, "right port"),
        (404, "right port"),
        (405, "right port"),
        (301, "right port"),
        (413, "larger requests"),
    ],
)
def test_what_will_never_work_is_refused_with_what_to_do(
    node: FakeNode, store: IpfsStore, status: int, words: str
) -> None:
    for command in ("files/stat", "files/mkdir"):
        node.answers[command] = lambda _: (status, b"<html>404 page not found")
    for call in every_call(store):
        with pytest.raises(Refused, match=words):
            call()


@pytest.mark.parametrize("status", [502, 503, 504, 429])
def test_a_proxy_without_its_node_is_unavailable(
    node: FakeNode, store: IpfsStore, status: int
) -> None:
    for command in ("files/stat", "files/mkdir"):
        node.answers[command] = lambda _: (status, b"Bad Gateway")
    for call in every_call(store):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Welcome to nginx!", Refused),
        (b"[]", Refused),
        (b"", Unavailable),
        (b"{}", Unavailable),
        (b'{"Hash": "not a cid", "Size": 3}', Unavailable),
        (b'{"Hash": 5}', Unavailable),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_no_state(
    node: FakeNode, store: IpfsStore, body: bytes, kind: type[StoreError]
) -> None:
    node.answers["files/stat"] = lambda _: (200, body)
    for call in every_call(store)[:-1]:
        with pytest.raises(kind):
            call()


@pytest.mark.parametrize(
    ("given", "header"),
    [("bearer:abc", "Bearer abc"), ("basic:me:a:b", "Basic bWU6YTpi"), ("", None)],
)
def test_the_node_is_told_who_we_are(
    node: FakeNode, port: int, monkeypatch: pytest.MonkeyPatch, given: str, header: str | None
) -> None:
    monkeypatch.setenv("N2S_IPFS_AUTH", given)
    store = IpfsStore(f"ipfs://127.0.0.1:{port}/x")
    store.create()
    store.close()
    assert node.authorization == [header]


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        (NO_NAME, Missing),
        ("file does not exist", Missing),
        (LOST, Missing),
        ("ipld: could not find QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", Missing),
        ("context deadline exceeded", Unavailable),
        ("cannot acquire lock: Lock FcntlFlock failed", Unavailable),
    ],
)
def test_kubos_sentences_tell_what_is_meant(sentence: str, kind: type[StoreError]) -> None:
    assert type(judge(500, sentence, "ipfs://a/b")) is kind


def test_a_long_call_gets_time_for_its_bytes() -> None:
    store = IpfsStore("ipfs://127.0.0.1/mine", timeout_s=9)
    assert store._limit_s(64 << 20) > store._limit_s(0) >= 9
