"""What the plugin reads out of `.dsg`, whole and damaged."""

import gzip
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import orjson
import pytest

from n2s_core.errors import DiscoveryError
from n2s_core.model import ChangeKind
from n2s_plugins.dsg import manifest
from n2s_plugins.dsg.config import repository_name
from n2s_plugins.dsg.nofeed import NoFeed
from n2s_plugins.dsg.plugin import Dsg
from tests.plugins.dsg.repositories import (
    CHANGES,
    MANIFESTS,
    discover,
    entries_of,
    extract,
    mark_of,
    signed,
    source_of,
    sync,
    why_not,
)

PAIRS = [
    (folder, pair) for folder in ("desaparecidos", "clone") for pair in CHANGES[folder]
    if pair["from"]
]  # fmt: skip
PDF = "frozen/2019-report.pdf"
KINDS = ("added", "modified", "removed", "touched")


def load(folder: str, snapshot: str) -> manifest.Manifest:
    data = (MANIFESTS / folder / f"{snapshot}.json").read_bytes()
    return manifest.parse(data, name=snapshot)


def reason(root: Path, since: bytes, **options: str) -> str:
    """Why the tree is walked; it is, and all of it."""
    discovery, changes = discover(root, since, **options)
    assert discovery.complete
    paths = [change.path for change in changes]
    assert {b"", b".dsgconfig.yml", b"frozen", b"note/todo.txt"} <= set(paths)
    assert paths == sorted(paths)
    assert discovery.fallback is not None
    assert discovery.fallback.endswith(".")
    return discovery.fallback


def assert_feeds(root: Path, since: bytes, **options: str) -> set[bytes]:
    discovery, changes = discover(root, since, **options)
    assert discovery.fallback is None
    assert not discovery.complete
    assert all(
        change.kind in (ChangeKind.WRITTEN, ChangeKind.SUBTREE_WRITTEN) for change in changes
    )
    return {change.path for change in changes}


@pytest.mark.parametrize(("folder", "pair"), PAIRS)
def test_what_changed_between_manifests_is_what_was_expected(
    folder: str, pair: dict[str, Any]
) -> None:
    found = manifest.changed(load(folder, pair["from"]), load(folder, pair["to"]))
    assert list(found) == sorted(path.encode() for kind in KINDS for path in pair[kind])


@pytest.mark.parametrize("folder", ["desaparecidos", "clone"])
def test_the_hashes_of_every_recorded_manifest_are_those_of_its_content(folder: str) -> None:
    previous = ""
    for number in range(1, len(list((MANIFESTS / folder).iterdir())) + 1):
        found = load(folder, f"s{number}")
        found.follows({previous})
        previous = found.snapshot_hash


def test_snapshots_of_one_id_are_told_apart_by_their_hash() -> None:
    ours, theirs = load("desaparecidos", "s2"), load("clone", "s2")
    assert ours.snapshot_id == theirs.snapshot_id
    with pytest.raises(NoFeed, match="is not that of its content"):
        theirs.follows({load("desaparecidos", "s1").snapshot_hash})


def test_a_new_user_in_every_entry_is_no_change(repository: Path) -> None:
    since = mark_of(repository)
    entries = {path: {**entry, "user": "x@example.org"} for path, entry in
               entries_of(repository).items()}  # fmt: skip
    sync(repository, 7, dict(reversed(entries.items())))
    assert assert_feeds(repository, since, look="manifest") == {b".dsgconfig.yml", b".dsg"}


def test_the_project_configuration_is_part_of_the_hash(repository: Path) -> None:
    since = mark_of(repository)
    sync(repository, 7, entries_of(repository), project_config={"b": 1, "a": {"d": 2, "c": []}})
    assert_feeds(repository, since)


def test_metadata_that_old_versions_do_not_have_may_be_absent(repository: Path) -> None:
    last = repository / ".dsg" / "last-sync.json"
    whole = orjson.loads(last.read_bytes())
    about = whole["metadata"]
    whole["metadata"] = {
        key: about[key]
        for key in ("entries_hash", "snapshot_hash", "snapshot_previous", "snapshot_message")
    }
    last.write_bytes(orjson.dumps(whole))
    assert_feeds(repository, mark_of(repository))


@pytest.mark.parametrize(
    "name", ["s6-sync.json.lz4", "s6.json.lz4", "6-sync.json.lz4", "6.json.lz4",
             "s6-sync.json.gz", "s6.json.gz", "6-sync.json.gz", "6.json.gz"],
)  # fmt: skip
def test_archived_manifests_are_found_under_every_name_of_dsg(repository: Path, name: str) -> None:
    since = mark_of(repository)
    content = (repository / ".dsg" / "last-sync.json").read_bytes()
    entries = entries_of(repository)
    del entries["frozen/2019-report.pdf"]
    sync(repository, 7, entries)
    archive = repository / ".dsg" / "archive"
    (archive / "s6-sync.json.lz4").unlink()
    packed = gzip.compress(content) if name.endswith("gz") else lz4.frame.compress(content)
    (archive / name).write_bytes(packed)
    paths = assert_feeds(repository, since, look="manifest")
    assert paths == {b".dsgconfig.yml", b".dsg", b"frozen/2019-report.pdf"}


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    middle = len(data) // 2
    if how == "emptied":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[:middle])
    elif how == "flipped":
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x15]) + data[middle + 1 :])
    elif how == "other":
        path.write_bytes(b'["something else"]')
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")


HOWS = ["emptied", "cut", "flipped", "other", "fifo", "folder", "dangling", "deleted"]


@pytest.mark.parametrize("how", HOWS)
def test_damage_to_the_last_manifest_is_a_reason_to_walk(repository: Path, how: str) -> None:
    since = mark_of(repository)
    spoil(repository / ".dsg" / "last-sync.json", how)
    assert "last-sync.json" in reason(repository, since)
    discovery, _ = discover(repository, None)
    assert (discovery.complete, discovery.fallback) == (True, None)


@pytest.mark.parametrize("how", HOWS)
def test_damage_to_the_archived_manifest_is_a_reason_to_walk(repository: Path, how: str) -> None:
    since = mark_of(repository)
    sync(repository, 7, entries_of(repository))
    spoil(repository / ".dsg" / "archive" / "s6-sync.json.lz4", how)
    told = reason(repository, since)
    assert "s6-sync.json.lz4" in told or "is not in .dsg/archive" in told


@pytest.mark.parametrize(
    "name",
    ["last-sync.json", "sync-messages.json", "archive/s6-sync.json.lz4", "../.dsgconfig.yml"],
)
def test_no_flipped_byte_hides_a_change(repository: Path, name: str) -> None:
    since = mark_of(repository)
    entries = entries_of(repository)
    entries[PDF]["hash"] = "0" * 16
    sync(repository, 7, entries)
    path = repository / ".dsg" / name
    whole = path.read_bytes()
    chance = random.Random(name)
    for _ in range(60):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :])
        discovery, changes = discover(repository, since, look="manifest")
        assert discovery.complete == (discovery.fallback is not None)
        assert PDF.encode() in {change.path for change in changes}


@pytest.mark.parametrize("how", HOWS)
def test_messages_that_are_damaged_are_replaced_by_the_archive(repository: Path, how: str) -> None:
    since = mark_of(repository)
    sync(repository, 7, entries_of(repository))
    spoil(repository / ".dsg" / "sync-messages.json", how)
    if how == "flipped":  # which may still be JSON, with another hash for an older snapshot
        (repository / ".dsg" / "sync-messages.json").write_bytes(b'{"snapshots": {"s1": 7}}')
    assert_feeds(repository, since)


@pytest.mark.parametrize("key", ["messages", "legacy_messages"])
def test_messages_in_legacy_forms_are_understood(repository: Path, key: str) -> None:
    path = repository / ".dsg" / "sync-messages.json"
    told = list(json.loads(path.read_text())["snapshots"].values())
    path.write_text(json.dumps({"format_version": 1, key: [*told, None, {"note": "old"}]}))
    since = mark_of(repository)
    assert_feeds(repository, since)


def test_a_chain_that_is_broken_is_a_reason_to_walk(repository: Path) -> None:
    since = mark_of(repository)
    (repository / ".dsg" / "sync-messages.json").unlink()
    (repository / ".dsg" / "archive" / "s5-sync.json.lz4").unlink()
    assert "chain of snapshots is broken" in reason(repository, since)


def edit(root: Path, change: Any) -> None:
    """Change the last manifest and sign it again."""
    last = root / ".dsg" / "last-sync.json"
    whole = orjson.loads(last.read_bytes())
    change(whole["entries"])
    previous = json.loads((MANIFESTS / "desaparecidos" / "s5.json").read_text())
    before = previous["metadata"]["snapshot_hash"]
    last.write_bytes(orjson.dumps(signed(whole["entries"], before, number=6)))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda all_: all_[PDF].update(type="socket"), "unknown type"),
        (lambda all_: all_.update({PDF: "text"}), "unknown type"),
        (lambda all_: all_.update({PDF: {"type": ["file"]}}), "unknown type"),
        (lambda all_: all_[PDF].pop("hash"), "has no hash"),
        (lambda all_: all_["import/input/dangling.csv"].update(reference=None), "no reference"),
        (lambda all_: all_[PDF].update(path="other"), "another path"),
        (lambda all_: all_.update({"../x": all_[PDF]}), "no path below the root"),
        (lambda all_: all_.update({"/etc/passwd": all_[PDF]}), "no path below the root"),
        (lambda all_: all_.update({"": all_[PDF]}), "no path below the root"),
        (lambda all_: all_.update({"a\0b": all_[PDF]}), "no path below the root"),
    ],
)
def test_an_entry_that_is_not_understood_is_a_reason_to_walk(
    repository: Path, change: Any, word: str
) -> None:
    since = mark_of(repository)
    edit(repository, change)
    assert word in reason(repository, since)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("entry_count", 12, "11 entries"),
        ("entries_hash", "0" * 16, "entries_hash"),
        ("entries_hash", None, "has no entries_hash"),
        ("snapshot_hash", "0" * 16, "is not that of its content"),
        ("snapshot_hash", 7, "is no text"),
        ("snapshot_message", "another", "is not that of its content"),
        ("snapshot_previous", None, "is not that of its content"),
        ("snapshot_previous", "s99", "chain of snapshots is broken"),
        ("project_config", {"a": 1}, "is not that of its content"),
    ],
)
def test_metadata_that_do_not_fit_are_a_reason_to_walk(
    repository: Path, key: str, value: object, word: str
) -> None:
    since = mark_of(repository)
    last = repository / ".dsg" / "last-sync.json"
    whole = orjson.loads(last.read_bytes())
    whole["metadata"][key] = value
    last.write_bytes(orjson.dumps(whole))
    assert word in reason(repository, since)


@pytest.mark.usefixtures("no_slack")
def test_times_and_sizes_that_make_no_sense_are_looked_at(repository: Path) -> None:
    edit(repository, lambda all_: all_[PDF].update(mtime=[7], filesize="many"))
    time.sleep(0.02)  # the clock of the filesystem has ticks
    assert_names(repository, PDF.encode())


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path, target: str = "somewhere") -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.usefixtures("no_slack")
@pytest.mark.parametrize(
    ("path", "change"),
    [
        (PDF, lambda path: path.write_text("longer or shorter")),
        (PDF, lambda path: os.utime(path, (1, 1))),
        (PDF, Path.unlink),
        (PDF, replace_by_folder),
        (PDF, replace_by_link),
        ("clean/input/dir-link", replace_by_link),
        ("clean/input/dir-link", replace_by_folder),
        ("clean/input/dir-link", Path.unlink),
        ("import/input/dangling.csv", lambda path: replace_by_link(path, "../output/other.csv")),
    ],
)
def test_a_tracked_path_that_is_not_as_the_manifest_says_is_named_each_time(
    repository: Path, path: str, change: Any
) -> None:
    change(repository / path)
    time.sleep(0.02)  # the clock of the filesystem has ticks
    assert_names(repository, path.encode())


def assert_names(root: Path, path: bytes) -> None:
    """Although its change time is older than the mark."""
    since = mark_of(root)
    assert assert_feeds(root, since) == {b".dsgconfig.yml", b".dsg", path}


@pytest.mark.usefixtures("no_slack")
def test_a_tree_in_which_nothing_changed_names_the_files_of_dsg_only(repository: Path) -> None:
    time.sleep(0.02)
    assert assert_feeds(repository, mark_of(repository)) == {b".dsgconfig.yml", b".dsg"}


@pytest.mark.usefixtures("no_slack")
def test_what_the_manifests_alone_cannot_know_is_named_by_the_next_look_at_the_tree(
    repository: Path,
) -> None:
    time.sleep(0.02)
    first = mark_of(repository)
    time.sleep(0.02)
    (repository / "note" / "todo.txt").write_text("something else")
    time.sleep(0.02)
    discovery, changes = discover(repository, first, look="manifest")
    assert [change.path for change in changes] == [b".dsgconfig.yml", b".dsg"]
    assert discovery.until is not None
    assert b"note/todo.txt" in assert_feeds(repository, discovery.until)


@pytest.mark.parametrize(
    "mark", [b"", b"{}", b"[]", b"null", b"\xff", b'{"looked_ns": 1}', b"s6",
             b'{"repository": "", "snapshot_hash": "", "looked_ns": true, "x": 1}',
             b'{"repository": "", "snapshot_hash": "", "looked_ns": "1"}'],
)  # fmt: skip
def test_a_mark_that_is_none_of_ours_is_a_reason_to_walk(repository: Path, mark: bytes) -> None:
    assert "is not one of the dsg plugin" in reason(repository, mark)


def test_a_clock_that_was_put_back_is_a_reason_to_walk(repository: Path) -> None:
    mark = json.loads(mark_of(repository))
    mark["looked_ns"] += 10**15
    assert "clock" in reason(repository, json.dumps(mark).encode())


def test_another_repository_with_the_same_snapshot_is_a_reason_to_walk(repository: Path) -> None:
    since = mark_of(repository)
    (repository / ".dsgconfig.yml").write_text("name: another\n")
    assert "is called 'another' now" in reason(repository, since)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: plain\nrepository: {type: xfs, host: h, mountpoint: /m}\n", "plain"),
        ("project: {name: wrapped, transport: ssh}\n", "wrapped"),
        ("transport: ssh\nssh: {host: h, path: /p, name: of the transport}\n", "of the transport"),
        ("project: {transport: ssh, ssh: {repo_name: inside}}\n", "inside"),
        ("transport: rclone\nrclone: [remote]\n", ""),
        ("name: 7\n", ""),
    ],
)
def test_configurations_of_all_versions_give_the_name(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / ".dsgconfig.yml").write_text(text)
    assert repository_name(os.fsencode(tmp_path)) == name


@pytest.mark.parametrize("text", [b"", b"- a\n", b"a: [", b"\xff\xfe\x00", b"a: !!python/none 1"])
def test_a_configuration_that_is_damaged_is_a_reason_to_walk(repository: Path, text: bytes) -> None:
    since = mark_of(repository)
    (repository / ".dsgconfig.yml").write_bytes(text)
    assert why_not(repository) == ""
    assert ".dsgconfig.yml" in reason(repository, since)


def test_a_transaction_that_does_not_end_is_waited_for_and_then_walked(tmp_path: Path) -> None:
    root = extract("s6-interrupted", tmp_path)
    assert "after 0.2 s" in reason(root, mark_of(root), wait="0.2")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"lok": "tree"}, "no option 'lok'"),
        ({"look": "both"}, "look='both'"),
        ({"wait": "soon"}, "wait='soon'"),
        ({"wait": "-1"}, "wait='-1'"),
        ({"wait": "nan"}, "wait='nan'"),
    ],
)
def test_options_that_are_not_known_are_refused(
    repository: Path, options: dict[str, str], word: str
) -> None:
    assert word in why_not(repository, **options)


@pytest.mark.parametrize("gone", [".dsg", ".dsgconfig.yml"])
def test_a_folder_that_is_no_repository_is_refused_with_advice(repository: Path, gone: str) -> None:
    (repository / gone).rename(repository / "away")
    assert "Choose the top folder" in why_not(repository)


def test_a_sync_that_ends_in_time_is_waited_for(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = mark_of(repository)
    transaction = repository / ".dsg" / "backup" / "transaction-in-progress"
    transaction.parent.mkdir()
    transaction.write_text("started")
    monkeypatch.setattr("n2s_plugins.dsg.plugin.time.sleep", lambda _: transaction.unlink())
    assert_feeds(repository, since, wait="60")


def test_a_sync_during_the_feed_is_an_error(repository: Path) -> None:
    since = mark_of(repository)
    (repository / ".dsg" / "backup").mkdir(exist_ok=True)
    with Dsg().discover(source_of(repository), since) as discovery:
        next(discovery.changes)
        (repository / ".dsg" / "backup" / "transaction-in-progress").write_text("started")
        with pytest.raises(DiscoveryError, match="sync ran"):
            list(discovery.changes)
