"""Promise: forgetting takes nothing away, is known to the store, and can be taken back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from n2s_core.app import retaining
from n2s_core.app.workspace import Workspace
from n2s_core.errors import StoreError, UsageError
from n2s_core.layout import Shelf, object_name
from n2s_core.packs import Keyring, Pack
from n2s_core.retention import judged_policy
from n2s_core.sealing import Kind, public_prelude, x25519_private
from n2s_core.verdicts import KEPT, Standing, Verdict
from tests.conftest import Dataset, MakeDataset, environment
from tests.trees import Description, describe, differences

LAST_TWO = judged_policy({"keep_last": 2}, str)
PROGRAM = """
import sys
from pathlib import Path
from n2s_core.app import retaining
from n2s_core.app.workspace import Workspace
with Workspace.find(Path(sys.argv[1])) as space:
    retaining.forget_these(space, sys.argv[2:], dry_run=False)
"""


@pytest.fixture(name="history")
def four_changesets(dataset: Dataset) -> dict[str, Description]:
    """Trees by changeset id, oldest first."""
    found = {}
    odd = os.fsencode(dataset.root) + b"/odd \xff\nname"
    for number in range(4):
        (dataset.root / f"file-{number}").write_bytes(b"%d" % number * 1000)
        with open(odd, "wb") as file:
            file.write(b"version %d" % number)
        identity = dataset.push(name=f"push {number}").changeset_id
        assert identity is not None
        found[identity.hex()] = describe(dataset.root)
    return found


@contextmanager
def spaces(dataset: Dataset) -> Iterator[Workspace]:
    """Workspaces that do not derive the key again."""
    with dataset.space() as space:
        yield space


def standings(dataset: Dataset) -> list[Standing]:
    """Oldest first, without the times."""
    with dataset.space() as space:
        return [
            how._replace(forgotten_ns=None if how.forgotten_ns is None else 1)
            for _, how in retaining.known(space, space.dataset)
        ]


FORGOTTEN = Standing(forgotten_ns=1)


def test_what_is_forgotten_is_hidden_and_still_there(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    before = dataset.objects()
    with dataset.space() as space:
        done = retaining.forget(space, LAST_TWO, dry_run=False)
    ids = list(history)
    assert [one.changeset.changeset_id for one in done.forgotten] == [ids[1], ids[0]]
    assert [one.changeset.changeset_id for one in done.kept] == [ids[3], ids[2]]
    assert standings(dataset) == [FORGOTTEN, FORGOTTEN, KEPT, KEPT]
    added = dataset.objects().keys() - before.keys()
    assert before.keys() <= dataset.objects().keys()
    assert [name.split("/")[0] for name in added] == ["changesets"]
    for identity, wanted in history.items():
        assert differences(wanted, describe(dataset.pull(identity))) == []
        restored = dataset.recover_py("--changeset", identity)
        assert differences(wanted, describe(restored)) == []
    assert dataset.push().changeset_id is None


def test_what_is_decided_survives_the_catalogue(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    ids = list(history)
    with dataset.space() as space:
        retaining.pin(space, [ids[0]], key="pinned")
        retaining.tag(space, [ids[1]], add=["thesis", "väg"])
        retaining.tag(space, [ids[1]], remove=["thesis"])
        retaining.forget(space, judged_policy({"keep_last": 1}, str), dry_run=False)
        retaining.bring_back(space, [ids[2]])
    wanted = [
        Standing(pinned=True),
        Standing(forgotten_ns=1, tags=frozenset({"väg"})),
        KEPT,
        KEPT,
    ]
    assert standings(dataset) == wanted
    dataset.rebuild_from_store()
    assert standings(dataset) == wanted
    for identity, tree in history.items():
        assert differences(tree, describe(dataset.pull(identity))) == []
    with dataset.space() as space:
        assert space.catalogue.verdicts.unsent() == []
        retaining.forget_these(space, [ids[2]], dry_run=False)
        retaining.pin(space, [ids[0]], key="unpinned")
    dataset.rebuild_from_store()
    assert standings(dataset) == [KEPT, wanted[1], FORGOTTEN, KEPT]
    assert dataset.verify().missing == {}


def test_a_changeset_begins_with_the_tags_of_its_push(dataset: Dataset) -> None:
    from n2s_core.app.pushing import PushOrder, push  # noqa: PLC0415 - only here

    with dataset.space() as space:
        push(space, PushOrder(tags=("nightly", "väg")), lambda _: None)
    wanted = [Standing(tags=frozenset({"nightly", "väg"}))]
    assert standings(dataset) == wanted
    dataset.rebuild_from_store()
    assert standings(dataset) == wanted
    with dataset.space() as space:
        assert push(space, PushOrder(tags=("idle",)), lambda _: None)[0].changeset_id is None
    (dataset.root / "file").write_bytes(b"1")
    dataset.push()
    assert standings(dataset) == [*wanted, KEPT]
    with pytest.raises(UsageError, match="tag"), dataset.space() as space:
        push(space, PushOrder(tags=("a,b",)), lambda _: None)


def test_the_newest_and_the_pinned_are_not_forgotten_by_their_names_either(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    ids = list(history)
    with dataset.space() as space:
        retaining.pin(space, [ids[0]], key="pinned")
        for wanted, why in ((ids[3], "newest"), ("latest", "newest"), (ids[0], "pinned")):
            with pytest.raises(UsageError, match=why):
                retaining.forget_these(space, [ids[1], wanted], dry_run=False)
    assert standings(dataset) == [Standing(pinned=True), KEPT, KEPT, KEPT]


def test_what_cannot_be_is_said(dataset: Dataset, history: dict[str, Description]) -> None:
    ids = list(history)
    with dataset.space() as space:
        with pytest.raises(UsageError, match="not forgotten"):
            retaining.bring_back(space, [ids[1]])
        with pytest.raises(UsageError, match="what to keep"):
            retaining.forget(space, judged_policy({}, str), dry_run=False)
        with pytest.raises(UsageError, match="no changeset"):
            retaining.forget_these(space, ["f" * 64], dry_run=False)
        with pytest.raises(UsageError, match="digits"):
            retaining.forget_these(space, [ids[1][:3]], dry_run=False)
        retaining.forget_these(space, [ids[1]], dry_run=False)
        with pytest.raises(UsageError, match="bring it back"):
            retaining.pin(space, [ids[1]], key="pinned")
        assert retaining.forget(space, LAST_TWO, dry_run=True).forgotten[0].reasons == ()
    assert standings(dataset) == [KEPT, FORGOTTEN, KEPT, KEPT]


def test_a_time_finds_the_newest_changeset_that_is_kept(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    ids = list(history)
    with dataset.space() as space:
        retaining.forget_these(space, [ids[2]], dry_run=False)
        queries = space.catalogue.queries
        third = queries.changeset(space.dataset, ids[2])
        found = queries.changeset_at(space.dataset, third.created_ns)
        assert (found.changeset_id or b"").hex() == ids[1]


@pytest.mark.parametrize("point", ["verdict-given", "store-put-written", "verdict-stored"])
def test_a_forget_that_is_killed_reaches_the_store_with_the_next_push(
    dataset: Dataset, history: dict[str, Description], point: str
) -> None:
    ids = list(history)
    command = [sys.executable, "-c", PROGRAM, str(dataset.config), ids[0]]
    done = subprocess.run(command, env=environment(N2S_CRASH_AT=point), check=False)
    assert done.returncode == -signal.SIGKILL
    assert standings(dataset) == [FORGOTTEN, KEPT, KEPT, KEPT]
    dataset.push()
    dataset.rebuild_from_store()
    assert standings(dataset) == [FORGOTTEN, KEPT, KEPT, KEPT]


def test_a_store_that_is_away_gets_to_know_later(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    away = dataset.store.with_name("away")
    dataset.store.rename(away)
    with dataset.space() as space, pytest.raises(StoreError):
        retaining.forget_these(space, [next(iter(history))], dry_run=False)
    away.rename(dataset.store)
    with dataset.space() as space:
        retaining.tag(space, ["latest"], add=["a"])
    dataset.rebuild_from_store()
    assert standings(dataset) == [FORGOTTEN, KEPT, KEPT, Standing(tags=frozenset({"a"}))]


def decide(dataset: Dataset, history: dict[str, Description]) -> Path:
    """Forget the first; the object that says so."""
    before = dataset.objects("changesets").keys()
    with dataset.space() as space:
        retaining.forget_these(space, [next(iter(history))], dry_run=False)
    (name,) = dataset.objects("changesets").keys() - before
    return dataset.store / name


@pytest.mark.parametrize("damage", ["delete", "truncate", "flip"])
def test_a_damaged_decision_costs_nothing_else_and_is_stored_again(
    dataset: Dataset, history: dict[str, Description], damage: str
) -> None:
    path = decide(dataset, history)
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.chmod(0o600)
        path.write_bytes(data[:-1] if damage == "truncate" else data[:60] + b"\xff" + data[61:])
        assert dataset.try_recover()[1].returncode == 3
    wanted = list(history.values())[-1]
    assert differences(wanted, describe(dataset.try_recover()[0])) == []
    found = dataset.verify()
    assert [*found.missing, *found.damaged] == [str(path.relative_to(dataset.store))]
    dataset.push()
    assert path.read_bytes() == data
    dataset.rebuild_from_store()
    assert standings(dataset) == [FORGOTTEN, KEPT, KEPT, KEPT]


def put(dataset: Dataset, pack: Pack) -> None:
    sealed = pack.finish()
    path = dataset.store / object_name(Shelf.CHANGESETS, sealed.digest)
    path.write_bytes(b"".join(sealed.chunks))
    assert blake3(path.read_bytes()).digest() == sealed.digest


def test_who_may_only_add_to_a_store_decides_nothing(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    ids = [bytes.fromhex(one) for one in history]
    verdict = Verdict(
        dataset.facts().dataset_id, "x", 1 << 62, forgotten=tuple(ids), swept=tuple(ids)
    )
    public = x25519_private(dataset.master_key()).public_key().public_bytes_raw()
    pack = Pack(*public_prelude(public))
    pack.add(Kind.FORGET, verdict.pack())
    put(dataset, pack)
    dataset.rebuild_from_store()
    assert standings(dataset) == [KEPT] * 4
    assert "forgotten" not in dataset.try_recover("--changeset", ids[0].hex())[1].stderr


def test_a_decision_of_a_later_version_is_left_to_it(
    dataset: Dataset, history: dict[str, Description]
) -> None:
    pack = Keyring(dataset.master_key()).begin()
    pack.add(200, b"\x80")  # type: ignore[arg-type]
    put(dataset, pack)
    dataset.rebuild_from_store()
    assert standings(dataset) == [KEPT] * 4
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_decisions_are_about_one_dataset_of_a_store(make_dataset: MakeDataset) -> None:
    one = make_dataset("one")
    two = make_dataset("two", store=one.store)
    for each in (one, two):
        for number in range(3):
            (each.root / "file").write_bytes(b"%d" % number)
            each.push()
    with one.space() as space:
        retaining.forget(space, judged_policy({"keep_last": 1}, str), dry_run=False)
    two.rebuild_from_store()
    one.rebuild_from_store()
    assert standings(one) == [FORGOTTEN, FORGOTTEN, KEPT]
    assert standings(two) == [KEPT] * 3
