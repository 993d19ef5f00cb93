"""Pushes of real dsg repositories, state after state."""

import os
from pathlib import Path

import pytest

from n2s_plugins.dsg import feed
from tests.conftest import Dataset
from tests.plugins.dsg.repositories import (
    CHANGES,
    assert_pushes,
    discover,
    entries_of,
    extract,
    push_dsg,
    put,
    sync,
    why_not,
    without_scratch,
)
from tests.trees import describe

SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
PAIRS = [(pair["from"], pair["to"]) for pair in CHANGES["desaparecidos"] if pair["from"]]
PAIRS += [(f"clone-{pair['from']}", f"clone-{pair['to']}") for pair in CHANGES["clone"][1:]]


@pytest.mark.usefixtures("no_slack")
@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_push_from_snapshot_to_snapshot_stores_exactly_what_changed(
    dataset: Dataset, before: str, after: str
) -> None:
    put(dataset, before)
    push_dsg(dataset)
    assert_pushes(dataset, put(dataset, after))


def test_a_chain_of_pushes_gives_back_every_state(dataset: Dataset) -> None:
    history = {}
    for state in ("s1", "s3-nfd", "s4", "s6"):
        put(dataset, state)
        outcome = push_dsg(dataset)
        assert outcome.changeset_id is not None
        history[outcome.changeset_id.hex()] = describe(dataset.root)
    for changeset, tree in history.items():
        assert describe(dataset.pull(changeset)) == tree
    assert describe(dataset.recover_py()) == tree


def test_a_restored_repository_is_a_dsg_repository(dataset: Dataset) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    restored = dataset.pull()
    assert why_not(restored) == ""
    assert discover(restored)[0].complete
    assert (restored / ".dsg" / "archive" / "s5-sync.json.lz4").is_file()


def test_the_manifests_alone_name_all_that_a_sync_brought(dataset: Dataset) -> None:
    put(dataset, "s5")
    push_dsg(dataset)
    assert_pushes(dataset, put(dataset, "s6"), look="manifest")


def test_a_sync_that_changes_nothing_stores_only_the_manifests(dataset: Dataset) -> None:
    put(dataset, "s4")
    push_dsg(dataset)
    outcome = assert_pushes(dataset, put(dataset, "s5"))
    assert outcome.bytes_read < 6000


def test_a_clone_in_place_of_the_repository_is_walked(dataset: Dataset) -> None:
    put(dataset, "s2")
    push_dsg(dataset)
    assert_pushes(dataset, put(dataset, "clone-s2"), fallback="is not in .dsg/archive")


def test_an_interrupted_sync_is_walked_and_its_scratch_is_not_stored(dataset: Dataset) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    assert_pushes(dataset, put(dataset, "s6-interrupted"), fallback="not quiescent")
    assert not (dataset.pull() / ".dsg" / "backup" / "transaction-in-progress").exists()
    assert_pushes(dataset, put(dataset, "s6"), fallback="in a sync")
    assert push_dsg(dataset).fallback is None


def test_a_first_push_in_the_middle_of_a_sync_is_no_base_for_a_feed(dataset: Dataset) -> None:
    put(dataset, "s6-interrupted")
    outcome = push_dsg(dataset)
    assert outcome.fallback is None
    assert_pushes(dataset, put(dataset, "s6"), fallback="in a sync")


def test_files_that_left_the_manifest_but_not_the_disk_are_kept(dataset: Dataset) -> None:
    put(dataset, "s1")
    push_dsg(dataset)
    put(dataset, "s2")
    assert push_dsg(dataset).removed == 0
    restored = dataset.pull()
    assert (restored / "README.md").is_file()
    assert (restored / "import" / "src" / "import.py").is_file()


@pytest.mark.usefixtures("no_slack")
@pytest.mark.parametrize("keep_times", [False, True])
def test_edits_after_the_last_sync_are_stored_as_they_are(
    dataset: Dataset, keep_times: bool
) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    before = describe(dataset.root)
    dirty = dataset.root / "frozen" / "records-2025.csv"
    stat = dirty.stat()
    dirty.write_bytes(b"x" * stat.st_size)
    if keep_times:
        os.utime(dirty, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    outcome = assert_pushes(dataset, before)
    before = describe(dataset.root)
    assert outcome.written == 2  # it has two names
    dirty.write_bytes(b"undone")
    assert_pushes(dataset, before)


@pytest.mark.usefixtures("no_slack")
def test_untracked_files_follow_the_disk(dataset: Dataset) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    before = describe(dataset.root)
    (dataset.root / "note" / "todo.txt").write_text("something else")
    (dataset.root / "import" / "output" / "scratch.tmp").unlink()
    (dataset.root / "new" / "deep").mkdir(parents=True)
    (dataset.root / "new" / "deep" / "file").write_text("new")
    assert_pushes(dataset, before)
    before = describe(dataset.root)
    (dataset.root / "README.md").unlink()
    (dataset.root / "new").rename(dataset.root / "import" / "renamed")
    assert_pushes(dataset, before)
    before = describe(dataset.root)
    (dataset.root / "import" / "renamed").rename(dataset.root / "back")
    assert_pushes(dataset, before)


@pytest.mark.usefixtures("no_slack")
def test_a_tracked_file_that_vanished_without_a_sync_is_removed(dataset: Dataset) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    before = describe(dataset.root)
    (dataset.root / "frozen" / "2019-report.pdf").unlink()
    outcome = assert_pushes(dataset, before)
    assert outcome.removed == 1


def test_names_in_nfd_are_stored_in_their_own_bytes(dataset: Dataset) -> None:
    put(dataset, "s6")
    composed = "import/input/Córdova.csv".encode()
    other = "import/input/Co\u0301rdova.csv".encode()
    root = os.fsencode(dataset.root)
    os.rename(root + b"/" + composed, root + b"/" + other)
    push_dsg(dataset)
    before = describe(dataset.root)
    with open(root + b"/" + other, "ab") as file:
        file.write(b"more")
    entries = entries_of(dataset.root)
    entries[composed.decode()]["hash"] = "0" * 16
    sync(dataset.root, 7, entries)
    assert_pushes(dataset, before, look="manifest")
    assert other in describe(dataset.pull())


def test_links_of_every_kind_come_back_as_they_are(dataset: Dataset) -> None:
    put(dataset, "s3")
    push_dsg(dataset)
    before = describe(dataset.root)
    places = {
        "clean/input/absolute.csv": "/another/target",
        "clean/input/escaping.csv": "../../../../../../other",
        "clean/input/dir-link": "../../frozen",
        "clean/output/dangling.csv": "../nowhere",
    }
    for place, target in places.items():
        (dataset.root / place).unlink(missing_ok=True)
        (dataset.root / place).symlink_to(target)
    assert_pushes(dataset, before)
    restored = dataset.pull()
    assert {place: os.readlink(restored / place) for place in places} == places


@pytest.mark.parametrize("look", ["manifest", "tree"])
def test_leftover_scratch_is_not_stored_by_a_feed_nor_missed(dataset: Dataset, look: str) -> None:
    put(dataset, "s6")
    (dataset.root / ".dsg" / "sync.lock").write_text("{}")
    push_dsg(dataset)
    assert describe(dataset.pull()) == without_scratch(describe(dataset.root))
    for name in ("staging/tx-1/file", "tmp/x", "backup/last-sync.json.backup", "tag-messages.json"):
        path = dataset.root / ".dsg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    outcome = push_dsg(dataset, look=look)
    assert (outcome.fallback, outcome.audit.missed) == (None, 0)
    restored = describe(dataset.pull())
    assert restored == without_scratch(describe(dataset.root))
    assert b".dsg/tag-messages.json" in restored


def test_a_manifest_that_is_damaged_is_a_reason_to_walk_until_it_is_whole(
    dataset: Dataset,
) -> None:
    put(dataset, "s6")
    push_dsg(dataset)
    before = describe(dataset.root)
    last = dataset.root / ".dsg" / "last-sync.json"
    whole = last.read_bytes()
    last.write_bytes(whole[:100])
    assert_pushes(dataset, before, fallback="is not the JSON that it was")
    before = describe(dataset.root)
    assert_pushes(dataset, before, fallback="is not the JSON that it was")
    before = describe(dataset.root)
    last.write_bytes(whole)
    assert_pushes(dataset, before, fallback="without a sound manifest")
    before = describe(dataset.root)
    assert_pushes(dataset, before)


def test_a_sync_during_the_feed_makes_the_push_walk(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(dataset, "s5")
    push_dsg(dataset)
    entries = entries_of(dataset.root)
    original = feed.Feed._of_manifests

    def meanwhile(self: feed.Feed) -> object:
        sync(dataset.root, 6, entries)
        (dataset.root / "frozen" / "new.csv").write_text("new")
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(feed.Feed, "_of_manifests", meanwhile)
        outcome = push_dsg(dataset, look="manifest")
    assert "A dsg sync ran during the push" in str(outcome.fallback)
    assert (dataset.pull() / "frozen" / "new.csv").read_text() == "new"
    push_dsg(dataset, look="manifest")
    assert describe(dataset.pull()) == describe(dataset.root)


def test_the_repository_needs_to_be_there(dataset: Dataset, tmp_path: Path) -> None:
    assert "is no dsg repository" in why_not(tmp_path)
    assert "dsg init" in why_not(tmp_path)


def test_a_configuration_inside_of_the_root_is_no_change(tmp_path: Path) -> None:
    root = extract("s6", tmp_path)
    dataset = Dataset(tmp_path, root, tmp_path / "store", root / ".n2s" / "config.toml")
    dataset.init()
    assert push_dsg(dataset).fallback is None
    outcome = push_dsg(dataset)
    assert (outcome.changeset_id, outcome.fallback) == (None, None)


def test_tracked_files_that_the_user_excludes_are_not_stored(dataset: Dataset) -> None:
    put(dataset, "s6")
    (dataset.root / "frozen" / "CACHEDIR.TAG").write_text(SIGNATURE)
    text = dataset.config.read_text()
    more = 'exclude = ["mayo/"]\nexclude_caches = true\n'
    dataset.config.write_text(text.replace("[dataset]\n", f"[dataset]\n{more}"))
    push_dsg(dataset)
    entries = entries_of(dataset.root)
    for path in ("frozen/2019-report.pdf", "import/input/2025/mayo/acta nº 1.csv"):
        entries[path]["hash"] = "0" * 16
    sync(dataset.root, 7, entries)
    outcome = push_dsg(dataset)
    assert outcome.fallback is None
    restored = dataset.pull()
    assert os.listdir(restored / "frozen") == ["CACHEDIR.TAG"]
    assert not (restored / "import" / "input" / "2025" / "mayo").exists()
