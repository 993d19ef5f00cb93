"""Every state that was pushed can be had again, from the catalogue and from the store alone."""

import os
import shutil
import stat

import pytest

from n2s_core import segments
from n2s_core.flows.commit import CHECKPOINT_AFTER
from tests.conftest import Dataset, MakeDataset
from tests.edits import Editor
from tests.trees import Description, describe, differences

STATES = 6
EDITS = 25


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that files of some 100 KB count as large; small pushes seal in this process."""
    monkeypatch.setattr(segments, "LARGE", 64 << 10)
    monkeypatch.setattr(segments, "SMALLEST", 4 << 10)
    monkeypatch.setattr(segments, "AVERAGE", 16 << 10)
    monkeypatch.setattr(segments, "LARGEST", 64 << 10)


def changed_paths(before: Description, after: Description) -> list[bytes]:
    return [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]


def assert_counts(dataset: Dataset, tree: Description) -> None:
    """The sums that a push keeps are those of the tree."""
    facts = dataset.facts()
    files = [about for about in tree.values() if not stat.S_ISDIR(about[0])]  # type: ignore[arg-type]
    sizes = [about[6] for about in files if stat.S_ISREG(about[0])]  # type: ignore[arg-type]
    assert facts.live_files == len(files)
    assert facts.live_bytes == sum(sizes)  # type: ignore[arg-type]


def assert_history(dataset: Dataset, history: dict[str, Description]) -> None:
    for changeset, wanted in history.items():
        assert differences(wanted, describe(dataset.pull(changeset))) == []


@pytest.mark.parametrize(
    ("seed", "share", "pack_size", "by_paths"),
    [
        (1, False, None, False),
        (2, False, None, True),
        (3, True, None, False),
        (4, True, None, True),
        (5, False, 0, False),
        (6, False, 3000, True),
        (7, True, 3000, False),
        (8, True, 0, True),
    ],
)
def test_every_state_comes_back(
    make_dataset: MakeDataset, seed: int, share: bool, pack_size: int | None, by_paths: bool
) -> None:
    dataset = make_dataset(share=share, pack_size=pack_size)
    editor = Editor(dataset.root, seed)
    history: dict[str, Description] = {}
    before: Description = {}
    for state in range(STATES):
        editor.edit(EDITS * 2 if not state else EDITS)
        after = describe(dataset.root)
        paths = changed_paths(before, after) if by_paths and state % 2 else None
        outcome = dataset.push(paths=paths, name=f"state {state}")
        assert outcome.failures == []
        assert outcome.changeset_id is not None
        history[outcome.changeset_id.hex()] = before = after
        assert_counts(dataset, after)
        if by_paths:
            assert dataset.push().changeset_id is None, "the paths were not all that changed"
    assert_history(dataset, history)
    middle = list(history)[STATES // 2]
    recovered = dataset.recover_py("--changeset", middle)
    assert differences(history[middle], describe(recovered)) == []
    dataset.rebuild_from_store()
    assert_counts(dataset, before)
    assert_history(dataset, history)
    again = dataset.push()
    assert (again.changeset_id, again.objects_stored, again.failures) == (None, 0, [])
    assert not dataset.verify().damaged


def assert_idle(dataset: Dataset) -> None:
    """A push that has nothing to do stores nothing."""
    objects = dataset.objects()
    outcome = dataset.push()
    assert (outcome.changeset_id, outcome.objects_stored, outcome.failures) == (None, 0, [])
    assert dataset.objects().keys() == objects.keys()


def test_a_push_of_an_unchanged_tree_makes_no_changeset(dataset: Dataset) -> None:
    assert dataset.push().changeset_id is not None
    assert_idle(dataset)
    Editor(dataset.root, 1).edit(60)
    assert dataset.push().changeset_id is not None
    assert_idle(dataset)
    assert len(dataset.changesets()) == 2


def test_a_full_push_of_an_unchanged_tree_makes_no_changeset(dataset: Dataset) -> None:
    Editor(dataset.root, 2).edit(60)
    dataset.push()
    outcome = dataset.push(full=True)
    assert (outcome.changeset_id, outcome.objects_stored) == (None, 0)
    assert outcome.bytes_read > 0


def test_a_tree_that_was_deleted_and_came_back_is_the_tree(dataset: Dataset) -> None:
    Editor(dataset.root, 3).edit(60)
    dataset.push()
    first = describe(dataset.root)
    away = dataset.new_folder("away")
    for path in list(dataset.root.iterdir()):
        path.rename(away / path.name)
    outcome = dataset.push()
    assert outcome.removed == len(first) - 1
    dataset.assert_restores()
    for path in list(away.iterdir()):
        path.rename(dataset.root / path.name)
    dataset.push()
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_one_more_link_is_one_more_entry(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(b"x" * 1000)
    for number in range(50):
        os.link(dataset.root / "file", dataset.root / f"link-{number}")
    dataset.push()
    os.link(dataset.root / "file", dataset.root / "one more")
    outcome = dataset.push()
    assert (outcome.written, outcome.removed) == (1, 0)
    assert outcome.touched <= 1
    dataset.assert_restores(dataset.pull(), dataset.recover_py())
    (dataset.root / "link-7").unlink()
    outcome = dataset.push()
    assert (outcome.written, outcome.removed) == (0, 1)
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


@pytest.mark.parametrize(
    "paths", [[b"d", b"d"], [b"d/e", b"d"], [b"d", b"d/e/f"], [b"d/e/f", b"d/e", b""], [b"", b"d"]]
)
def test_paths_that_are_named_twice_are_stored_once(dataset: Dataset, paths: list[bytes]) -> None:
    (dataset.root / "d" / "e" / "f").mkdir(parents=True)
    for path in ("d/1", "d/e/2", "d/e/f/3"):
        (dataset.root / path).write_bytes(os.urandom(1000))
    outcome = dataset.push(paths=paths)
    tree = describe(dataset.root)
    assert outcome.written == len(tree)
    assert outcome.bytes_read == 3000
    assert_counts(dataset, tree)
    shutil.rmtree(dataset.root / "d")
    assert dataset.push(paths=paths).removed == len(tree) - 1
    assert_counts(dataset, describe(dataset.root))


def test_a_checkpoint_saves_what_came_after_the_lost_beginning(dataset: Dataset) -> None:
    editor = Editor(dataset.root, 4)
    history: dict[str, Description] = {}
    for state in range(CHECKPOINT_AFTER + 4):
        (dataset.root / "counter").write_bytes(b"%d" % state)
        editor.edit(5)
        identity = dataset.push().changeset_id
        assert identity is not None
        history[identity.hex()] = describe(dataset.root)
    lost = dataset.changesets()[CHECKPOINT_AFTER - 5 :]
    for changeset in lost:
        assert changeset.head_digest is not None
        (dataset.store / "changesets" / changeset.head_digest.hex()).unlink()
    dataset.forget_catalogue()
    problems = dataset.rebuild().problems
    assert any("missing" in problem for problem in problems)
    kept = dict(list(history.items())[CHECKPOINT_AFTER - 1 :])
    assert [one.changeset_id for one in dataset.changesets()] == [
        bytes.fromhex(identity) for identity in reversed(kept)
    ]
    assert_history(dataset, kept)
    assert_counts(dataset, list(kept.values())[-1])
    assert_idle(dataset)
    dataset.assert_restores(dataset.recover_py())


def test_a_dataset_that_is_joined_again_goes_on_where_it_was(dataset: Dataset) -> None:
    editor = Editor(dataset.root, 5)
    history: dict[str, Description] = {}
    for _ in range(2):
        editor.edit(30)
        identity = dataset.push().changeset_id
        assert identity is not None
        history[identity.hex()] = describe(dataset.root)
    shutil.rmtree(dataset.config.parent)
    prepared = dataset.init()
    assert prepared.joined
    assert prepared.adopted
    assert_idle(dataset)
    assert_history(dataset, history)
    editor.edit(10)
    outcome = dataset.push()
    assert outcome.changeset_id is not None
    assert outcome.unchanged > 0
    dataset.assert_restores(dataset.pull(), dataset.recover_py())


def test_a_store_of_two_datasets_keeps_them_apart(make_dataset: MakeDataset) -> None:
    one = make_dataset("one")
    two = make_dataset("two", store=one.store)
    for number, each in enumerate((one, two)):
        Editor(each.root, number).edit(40)
        (each.root / "same name").write_bytes(b"of %d" % number)
        each.push()
    for each in (one, two):
        each.assert_restores()
        each.rebuild_from_store()
        each.assert_restores()
        assert_idle(each)
