"""Promise: the contract's reading of hints is the one of the core."""

import dataclasses
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import pytest

from n2s_core.app.pushing import PushOrder, push
from n2s_core.errors import DiscoveryError
from n2s_core.excludes import NOTHING
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.plugins import Host
from n2s_core.testing.edits import EDITS, plant
from n2s_core.testing.hints import Tree, differing, tree_of, unnamed
from n2s_core.testing.trial import let_time_pass
from n2s_core.walking import walk
from tests.conftest import Dataset, MakeDataset, quiet

KINDS = (ChangeKind.WRITTEN, ChangeKind.REMOVED, ChangeKind.SUBTREE_WRITTEN, ChangeKind.ENTRIES)
SEED = 17
STRUCTURAL = (
    "create below new directories",
    "rename over another",
    "rename a directory and write inside",
    "swap two directories",
    "replace a directory by a file",
    "replace a directory by a symlink",
    "add a hard link to several",
    "remove the first hard link and write",
    "delete a subtree",
    "delete a subtree and make it again",
)


@dataclasses.dataclass
class Partial:
    """A discoverer that names what the test tells it."""

    name = "partial"
    hints: list[Change] = dataclasses.field(default_factory=list)
    doubts_links: bool = False

    def check(self, source: Source) -> None:
        """Works everywhere."""

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        complete = since is None
        changes: Iterator[Change] = source.walk(source.root) if complete else iter(self.hints)
        found = Discovery(source.root, b"mark", complete=complete, changes=changes)
        return nullcontext(dataclasses.replace(found, doubts_links=self.doubts_links))


def look(dataset: Dataset) -> Tree:
    def report(path: bytes, error: str) -> None:
        message = f"{path!r}: {error}"
        raise AssertionError(message)

    return tree_of(walk(os.fsencode(dataset.root), NOTHING, report))


@pytest.mark.parametrize("doubts_links", [False, True])
@pytest.mark.parametrize("edit", STRUCTURAL)
def test_what_the_contract_misses_is_what_the_audit_of_a_push_misses(
    make_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
    edit: str,
    doubts_links: bool,
) -> None:
    """Some of the right hints are left out, so that there is something to miss."""
    dice = random.Random(SEED + len(edit))
    partial = Partial(doubts_links=doubts_links)
    monkeypatch.setattr(Host, "discoverer", lambda _self, _name: partial)
    dataset = make_dataset()
    plant(dataset.root)
    let_time_pass()
    order = PushOrder(using="partial")
    with dataset.space() as space:
        push(space, order, quiet)
    before = look(dataset)
    EDITS[edit](dataset.root)
    let_time_pass()
    after = look(dataset)
    paths = differing(before, after)
    chosen = dice.sample(paths, dice.randrange(1 + len(paths) // 2))
    partial.hints = [Change(path, dice.choice(KINDS)) for path in chosen]
    missed = unnamed(before, after, partial.hints, doubts_links=doubts_links)
    with dataset.space() as space:
        done = push(space, order, quiet)[0]
    assert done.audit.missed == len(missed)
    assert (done.fallback is None) == (not missed)
    dataset.assert_restores()


@pytest.mark.parametrize("path", [b"../outside", b"a/../../outside", b"./a", b"/etc"])
def test_a_hint_that_is_no_relative_path_is_not_followed(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    partial = Partial([Change(path)])
    monkeypatch.setattr(Host, "discoverer", lambda _self, _name: partial)
    (dataset.root / "a").mkdir()
    (dataset.root.parent / "outside").write_bytes(b"not of this tree")
    order = PushOrder(using="partial")
    for _ in range(2):
        with dataset.space() as space:
            done = push(space, order, quiet)[0]
    assert done.written == 0
    dataset.assert_restores()


@dataclasses.dataclass
class Everything(Partial):
    """Says that it names everything, and then one path more."""

    path: bytes = b""

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        more = Change(self.path, stat=os.lstat(source.root + b"/../outside"))
        changes = chain([more], source.walk(source.root))
        return nullcontext(Discovery(source.root, b"mark", complete=True, changes=changes))


@pytest.mark.parametrize("path", [b"../outside", b"a/../../outside", b"/outside"])
def test_a_complete_discovery_that_leaves_the_root_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    everything = Everything(path=path)
    monkeypatch.setattr(Host, "discoverer", lambda _self, _name: everything)
    (dataset.root.parent / "outside").write_bytes(b"not of this tree")
    with dataset.space() as space, pytest.raises(DiscoveryError, match="no path in the tree"):
        push(space, PushOrder(using="everything"), quiet)
