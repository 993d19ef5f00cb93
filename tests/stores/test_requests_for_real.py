"""Promise: requests are counted as the server sees them, and a push never lists the store."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from n2s_core.app.api import pull, push, verify
from n2s_core.model import ObjectStat
from n2s_core.stores.counting import LIST_PAGE, CountingStore, Requests
from tests.conftest import MakeDataset
from tests.fakes import MemoryStore
from tests.servers import rclones
from tests.servers.proxy import Proxy, proxy
from tests.servers.seaweed import Seaweed
from tests.stores.conftest import s3_settings

_REQUEST = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP/1\.1\r\n")
BUCKET = "counted"


@pytest.fixture
def seen(weed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server, to which the remote `s3` leads."""
    with proxy(weed.port) as between:
        settings = s3_settings(weed) | {"endpoint": f"http://127.0.0.1:{between.port}"}
        rclones.write_configuration(tmp_path / "rclone.conf", {"s3": settings})
        monkeypatch.setenv("N2S_RCLONE", rclones.newest())
        monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
        yield between


def kinds(between: Proxy) -> Counter[str]:
    """What the server was asked since the last time, in the words of n2s."""
    found: Counter[str] = Counter()
    for piece in between.sent:
        request = _REQUEST.match(piece)
        if request is not None:
            found[_kind(request[1].decode(), request[2].decode())] += 1
    between.sent.clear()
    return found


def _kind(method: str, target: str) -> str:
    is_list = "prefix" in parse_qs(urlsplit(target).query)
    words = {"HEAD": "stat", "POST": "put", "GET": "list" if is_list else "get"}
    return words.get(method, method.lower())


def test_requests_are_those_that_the_server_saw(
    seen: Proxy, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    store = Path(f"rclone:s3:{BUCKET}/{os.urandom(8).hex()}")
    dataset = make_dataset(store=store, pack_size=1 << 20)
    kinds(seen)
    for number in range(3):
        (dataset.root / f"file {number}").write_bytes(os.urandom(900_000))
    for number in range(2):
        done = push(config=dataset.config)
        counted: Counter[str] = +Counter(done.traffic.to_json()["requests"])
        assert counted == kinds(seen)
        assert counted["put"] == done.objects_stored
        assert counted["list"] == 0
        (dataset.root / f"one more {number}").write_bytes(os.urandom(900_000))
    assert push(config=dataset.config, dry_run=True).traffic.counts == kinds(seen)
    back = pull(tmp_path / "back", config=dataset.config)
    assert back.traffic is not None
    assert +Counter(back.traffic.to_json()["requests"]) == kinds(seen)
    assert back.traffic.counts["bytes_received"] > back.bytes
    found = verify(config=dataset.config, percent=100)
    assert found.traffic is not None
    assert +Counter(found.traffic.to_json()["requests"]) == kinds(seen)
    assert found.traffic.counts["list"] > 0


def test_long_listings_are_several_requests() -> None:
    requests = Requests()
    store = CountingStore(Long(), requests)
    assert sum(1 for _ in store.list("data/00")) == 2 * LIST_PAGE + 1
    assert requests.take()["list"] == 3


class Long(MemoryStore):
    """Names as many objects as come in three answers."""

    heads: ClassVar = {"put": 2}

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        return (ObjectStat(f"{prefix}/{number}", 1) for number in range(2 * LIST_PAGE + 1))
