"""dsg repositories for tests: recorded states, and how to lead a tree from one to the next."""

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import orjson
import xxhash

from n2s_core.app.pushing import PushOrder, push
from n2s_core.errors import DiscoveryError
from n2s_core.flows.push import Outcome
from n2s_core.model import Change, Discovery, Mark, Source
from n2s_plugins.dsg.plugin import Dsg
from tests.archives import take_out
from tests.conftest import Dataset, quiet
from tests.trees import Description, describe

DATA = Path(__file__).parent / "data"
STATES = DATA / "states"
MANIFESTS = DATA / "manifests"
CHANGES = json.loads((DATA / "changes.json").read_text())


def extract(state: str, folder: Path) -> Path:
    """The working copy of a state in a new folder; s1 is made from s2, which remembers it."""
    with tarfile.open(STATES / f"{'s2' if state == 's1' else state}.tar") as tar:
        take_out(tar, folder)
        for member in tar:
            if member.issym():
                times = (member.mtime, member.mtime)
                os.utime(folder / member.name, times, follow_symlinks=False)
    root = folder / "desaparecidos"
    if state == "s1":
        shutil.rmtree(root / ".dsg" / "archive")
        copy = MANIFESTS / "desaparecidos" / "s1.json"
        (root / ".dsg" / "last-sync.json").write_bytes(copy.read_bytes())
        messages = root / ".dsg" / "sync-messages.json"
        told = json.loads(messages.read_text())
        told["snapshots"] = {"s1": told["snapshots"]["s1"]}
        messages.write_text(json.dumps(told))
    return root


def become(root: Path, wanted: Path) -> None:
    """Edit the tree `root` until it is the tree `wanted`; nothing else is touched."""
    before, after = describe(root), describe(wanted)
    for path in sorted(before, reverse=True):
        if path not in after or (before[path][0] != after[path][0]):
            _remove(os.fsencode(root) + b"/" + path)
    for path in sorted(after):
        if before.get(path) == after[path]:
            continue
        source, target = (os.fsencode(top) + b"/" + path for top in (wanted, root))
        if stat.S_ISDIR(after[path][0]):  # type: ignore[arg-type]
            os.makedirs(target, exist_ok=True)
            continue
        _remove(target)
        group = [one for one in _linked(after[path]) if one < path]
        if group:
            os.link(os.fsencode(root) + b"/" + group[0], target)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    for path in sorted(after, reverse=True):
        place = os.fsencode(root) + b"/" + path
        seconds = after[path][4]
        if stat.S_ISDIR(after[path][0]) and os.stat(place).st_mtime_ns != seconds:  # type: ignore[arg-type]
            os.utime(place, ns=(seconds, seconds))  # type: ignore[arg-type]


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _linked(facts: tuple[object, ...]) -> tuple[bytes, ...]:
    last = facts[-1]
    return last[1:] if isinstance(last, tuple) and last[:1] == ("linked",) else ()


def put(dataset: Dataset, state: str) -> Description:
    """Make the root of the dataset this state; what it was before."""
    before = describe(dataset.root)
    become(dataset.root, extract(state, dataset.new_folder("state")))
    return before


def push_dsg(dataset: Dataset, **options: str) -> Outcome:
    """A push that asks the plugin; no file may fail."""
    with dataset.space() as space:
        order = PushOrder(using="dsg", options={"wait": "0", **options})
        outcome = push(space, order, quiet)[0]
    assert outcome.failures == []
    return outcome


def assert_pushes(
    dataset: Dataset, before: Description, fallback: str = "None", **options: str
) -> Outcome:
    """A push stores what is new since the tree `before`, no more; it says `fallback`."""
    before = without_scratch(before)
    after = without_scratch(describe(dataset.root))
    outcome = push_dsg(dataset, **options)
    assert fallback in str(outcome.fallback)
    assert describe(dataset.pull()) == after
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    assert outcome.written + outcome.touched + outcome.removed == len(changed)
    return outcome


def without_scratch(tree: Description) -> Description:
    scratch = (b".dsg/staging/", b".dsg/tmp/", b".dsg/backup/", b".dsg/sync.lock")
    return {path: facts for path, facts in tree.items() if not path.startswith(scratch)}


def walked(root: bytes) -> Iterator[Change]:
    """A walk as that of the core."""
    for path in sorted(describe(root)):
        yield Change(path, stat=os.lstat(root + b"/" + path if path else root))


def source_of(root: Path, **options: str) -> Source:
    def report(path: bytes, error: str) -> None:
        message = f"{path!r}: {error}"
        raise AssertionError(message)

    return Source(os.fsencode(root), "dataset", walked, report, {"wait": "0", **options})


def discover(
    root: Path, since: Mark | None = None, **options: str
) -> tuple[Discovery, list[Change]]:
    """What the plugin says, all of it."""
    with Dsg().discover(source_of(root, **options), since) as discovery:
        return discovery, list(discovery.changes)


def mark_of(root: Path) -> Mark:
    """The mark of a push of this tree."""
    discovery, _ = discover(root)
    assert discovery.until is not None
    return discovery.until


def why_not(root: Path, **options: str) -> str:
    """Why the plugin cannot work there."""
    try:
        Dsg().check(source_of(root, **options))
    except DiscoveryError as error:
        return str(error)
    return ""


def sync(root: Path, number: int, entries: dict[str, dict[str, Any]], **about: Any) -> None:
    """What a sync does to `.dsg`: archive the last manifest, write the next one."""
    last = root / ".dsg" / "last-sync.json"
    before = orjson.loads(last.read_bytes())
    archive = root / ".dsg" / "archive"
    archive.mkdir(exist_ok=True)
    name = f"{before['metadata']['snapshot_id']}-sync.json.lz4"
    (archive / name).write_bytes(lz4.frame.compress(last.read_bytes()))
    manifest = signed(entries, before["metadata"]["snapshot_hash"], number=number, **about)
    messages = root / ".dsg" / "sync-messages.json"
    told = orjson.loads(messages.read_bytes())
    told["snapshots"][f"s{number}"] = manifest["metadata"]
    messages.write_bytes(orjson.dumps(told))
    last.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def signed(
    entries: dict[str, dict[str, Any]], previous: str, *, number: int, **about: Any
) -> dict[str, Any]:
    """A manifest with the hashes that dsg gives it."""
    hasher = xxhash.xxh3_64(b"".join(orjson.dumps(entry) for entry in entries.values()))
    metadata: dict[str, Any] = {
        "manifest_version": "0.4.4",
        "snapshot_id": f"s{number}",
        "entry_count": len(entries),
        "entries_hash": hasher.hexdigest(),
        "snapshot_message": "Sync operation",
        "snapshot_previous": f"s{number - 1}" if previous else None,
        "project_config": None,
        **about,
    }
    whole = metadata["entries_hash"] + metadata["snapshot_message"]
    config = metadata["project_config"]
    text = whole.encode() + (
        orjson.dumps(config, option=orjson.OPT_SORT_KEYS) if config is not None else b""
    )
    metadata["snapshot_hash"] = xxhash.xxh3_64(text + previous.encode()).hexdigest()
    return {"entries": entries, "metadata": metadata}


def entries_of(root: Path) -> dict[str, dict[str, Any]]:
    """The entries of the last manifest, to be changed."""
    last = orjson.loads((root / ".dsg" / "last-sync.json").read_bytes())
    entries: dict[str, dict[str, Any]] = last["entries"]
    return entries
