"""Promise: what is opened before its turn is closed, and its errors are those of its path."""

import os
from pathlib import Path

import pytest

from n2s_core.errors import Unavailable
from n2s_core.flows.ahead import FILES, opened_ahead
from n2s_core.jobs import Item
from n2s_core.reading import Directories
from tests.conftest import MakeDataset

COUNT = 3 * FILES
GONE = "The store is gone."


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for number in range(COUNT):
        (tmp_path / f"{number}").write_bytes(b"%d" % number)
    return [Item(b"%d" % number, b"", regular=True) for number in range(COUNT)]


def test_each_comes_in_turn_with_a_descriptor_and_few_are_open(
    tmp_path: Path, items: list[Item]
) -> None:
    with Directories(os.fsencode(tmp_path)) as source:
        before, most = open_files(), 0
        for number, (item, fd) in enumerate(opened_ahead(items, source)):
            assert isinstance(fd, int)
            most = max(most, open_files() - before)
            assert (item, os.read(fd, 10)) == (items[number], b"%d" % number)
            os.close(fd)
        assert 1 < most <= FILES + 1
        assert open_files() == before


def test_what_was_not_taken_is_closed(tmp_path: Path, items: list[Item]) -> None:
    with Directories(os.fsencode(tmp_path)) as source:
        before = open_files()
        opened = opened_ahead(items, source)
        _, fd = next(opened)
        assert isinstance(fd, int)
        os.close(fd)
        opened.close()
        assert open_files() == before


def test_an_error_comes_with_its_own_path_and_others_are_not_opened(
    tmp_path: Path, items: list[Item]
) -> None:
    (tmp_path / "3").unlink()
    (tmp_path / "4").unlink()
    (tmp_path / "4").mkdir()
    items[5] = Item(b"5", b"")
    with Directories(os.fsencode(tmp_path)) as source:
        found = dict(opened_ahead(items, source))
        assert isinstance(found.pop(items[3]), FileNotFoundError)
        assert found.pop(items[5]) is None
        for fd in found.values():
            assert isinstance(fd, int)
            os.close(fd)


def test_a_push_that_the_store_ends_leaves_nothing_open(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(pack_size=4000)

    def refuse(*_: object) -> None:
        raise Unavailable(GONE)

    for number in range(COUNT):
        (dataset.root / f"{number}").write_bytes(os.urandom(3000))
    dataset.push()
    for number in range(COUNT):
        (dataset.root / f"{number}").write_bytes(os.urandom(3000))
    before = open_files()
    monkeypatch.setattr("n2s_core.stores.file.FileStore.put", refuse)
    monkeypatch.setattr("n2s_core.stores.retrying.time.sleep", lambda _: None)
    with pytest.raises(Unavailable, match=GONE):
        dataset.push()
    assert open_files() == before
