"""The contract of discovery plugins: the promises of docs/plugins.md, each a test that can fail.

    from n2s_core.testing import DiscovererContract

    class TestMine(DiscovererContract):
        def discoverer(self):
            return Mine()

Whatever the plugin needs is said by overriding the attributes, methods and fixtures at the top of
the class. Each test says which promise it tests, by the number that it has in docs/plugins.md.
"""

import gc
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from stat import S_ISDIR
from typing import ClassVar

import pytest

import n2s_core
from n2s_core.errors import DiscoveryError
from n2s_core.model import ChangeKind, Mark
from n2s_core.ports import Discoverer
from n2s_core.relpath import ROOT, RelPath, show
from n2s_core.testing.editor import Editor
from n2s_core.testing.edits import EDITS, can, plant
from n2s_core.testing.held import held
from n2s_core.testing.hints import differing, tree_of
from n2s_core.testing.pushed import PushedDataset
from n2s_core.testing.trial import Answer, Interrupted, Trial, failed, is_sentence, let_time_pass

SEEDS = range(int(os.environ.get("N2S_TEST_SEEDS", "3")))
MOST_PUSHED = 2
ROUNDS = (1, 3, 12, 40)
FOREIGN_MARKS: tuple[Mark, ...] = (
    b"garbage", b"\0\xff\xfe", b"null", b"[]", b"{}", b"17", b"-1 -1", b'{"uuid": 1, "path": []}',
    b'{"snapshot": "tank/data@monday", "guid": "123456789"}', b"\n" * 3, b"x" * 100_000,
)  # fmt: skip
UNKNOWN_OPTION = "an-option-that-nobody-has"


class DiscovererContract:
    """The suite. A class that inherits it says which discoverer, and what that needs."""

    works_everywhere: ClassVar[bool] = False
    """Whether any directory is a right root."""
    tells_changes: ClassVar[bool] = True
    """False for a plugin that walks the tree each time and gives no mark."""
    left_alone: ClassVar[frozenset[str]] = frozenset()
    """Names directly in the root that belong to the plugin; they are not edited."""
    wrong_options: ClassVar[tuple[Mapping[str, str], ...]] = ()
    """Options, beside one that nobody has, that `check` must refuse."""

    def discoverer(self) -> Discoverer:
        """The plugin, made anew, because each push is another process."""
        raise NotImplementedError

    def settle(self, root: Path) -> None:
        """Called after each edit: wait, or do, until the plugin's source knows of it."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A directory where the plugin works, with nothing in it that is not `left_alone`."""
        folder = tmp_path / "root"
        folder.mkdir()
        return folder

    @pytest.fixture
    def wrong_root(self, tmp_path: Path) -> Path:
        """A directory where it does not work, unless it works everywhere."""
        folder = tmp_path / "wrong root"
        folder.mkdir()
        return folder

    @pytest.fixture
    def options(self) -> dict[str, str]:
        """The options `-o KEY=VALUE` to run with."""
        return {}

    @pytest.fixture
    def trial(self, root: Path, options: dict[str, str]) -> Trial:
        """The plugin on a tree with everything in it."""
        plant(root)
        self._settled(root)
        return Trial(root, options, self.discoverer)

    # -- check ---------------------------------------------------------------------------------

    def test_a_right_root_is_accepted_and_a_wrong_one_refused_with_a_sentence(
        self, trial: Trial, wrong_root: Path
    ) -> None:
        """Promise 1."""
        discoverer = self.discoverer()
        discoverer.check(trial.source(discoverer))
        wrong = replace(trial.source(discoverer), root=os.fsencode(wrong_root))
        if self.works_everywhere:
            discoverer.check(wrong)
            with discoverer.discover(wrong, None) as discovery:
                assert [change.path for change in discovery.changes] == [ROOT]
            return
        with pytest.raises(DiscoveryError) as refused:
            discoverer.check(wrong)
        assert is_sentence(str(refused.value)), f"This is no sentence: {refused.value}"

    def test_options_that_cannot_be_used_are_refused_with_a_sentence(self, trial: Trial) -> None:
        """Promise 2."""
        discoverer = self.discoverer()
        for wrong in ({UNKNOWN_OPTION: "1"}, *self.wrong_options):
            source = trial.source(discoverer)
            source = replace(source, options={**source.options, **wrong})
            with pytest.raises(DiscoveryError) as refused:
                discoverer.check(source)
            assert is_sentence(str(refused.value)), f"This is no sentence: {refused.value}"

    # -- without a mark ------------------------------------------------------------------------

    def test_without_a_mark_every_path_is_named_once_in_order_with_its_stat(
        self, trial: Trial
    ) -> None:
        """Promise 3."""
        answer = trial.ask(None)
        assert answer.complete, "There is no mark, so every path is new."
        assert answer.fallback is None, "Nobody asked for changes, so nothing was fallen back to."
        paths = [change.path for change in answer.hints]
        assert paths[:1] == [ROOT], "The root itself comes first."
        for before, after in pairwise(paths):
            assert before < after, f"{show(after)} comes after {show(before)}."
        for change in answer.hints:
            assert change.kind is ChangeKind.WRITTEN, f"{show(change.path)} is {change.kind}."
            assert change.stat is not None, f"{show(change.path)} has no stat."
        assert_nothing_missed(answer.missed({}))

    def test_what_the_user_or_the_plugin_excludes_is_not_named(self, trial: Trial) -> None:
        """Promise 4."""
        patterns = ("/docs/", "*.txt", "seven")
        answer = trial.ask(None, patterns=patterns)
        named = {change.path for change in answer.hints}
        excludes = trial.excludes(self.discoverer(), patterns)
        for change in answer.hints:
            directory = change.stat is not None and S_ISDIR(change.stat.st_mode)
            left_out = excludes.leaves_out(change.path, directory=directory)
            assert not left_out, f"{show(change.path)} is excluded."
        assert not named & {b"docs", b"docs/one", b"a.txt", b"b/seven"}
        assert {b"a/x", b"b/six"} <= named

    def test_the_root_that_is_read_is_the_tree_as_it_is_now_and_stays_so(
        self, trial: Trial
    ) -> None:
        """Promise 5."""
        mark = trial.ask(None).mark
        for edit in ("create", "delete a subtree", "replace a file by a directory"):
            self._edit(trial, edit)
            now = trial.tree()
            answer = trial.ask(mark)
            assert_nothing_missed(differing(now, answer.tree), "is not as it is in the root")
            assert_nothing_missed(differing(now, trial.tree()), "was changed by the discovery")
            mark = answer.mark

    # -- marks ---------------------------------------------------------------------------------

    def test_another_process_goes_on_from_the_mark_with_a_feed(self, trial: Trial) -> None:
        """Promise 6."""
        first = trial.ask(None)
        if not self.tells_changes:
            assert first.mark is None, "A mark is for a plugin that tells changes since it."
            return
        assert isinstance(first.mark, bytes), f"The mark is {first.mark!r}."
        assert first.mark, "The mark is empty."
        self._edit(trial, "create")
        second = trial.ask(first.mark)
        assert second.is_feed, f"It was no feed: {second.fallback or second.broke}"
        assert_nothing_missed(second.missed(first.tree))
        assert b"docs/made" in second.tree

    def test_what_changes_during_a_discovery_is_named_by_the_next_one(self, trial: Trial) -> None:
        """Promise 7."""
        mark = trial.ask(None).mark
        self._edit(trial, "create")
        with trial.asking(mark) as (source, discovery):
            until = discovery.until
            seen = tree_of(source.walk(discovery.root))
            self._edit(trial, "write")
            named = [change.path for change in discovery.changes]
            self._edit(trial, "rename a directory and write inside")
        assert b"docs/made" in seen
        assert named or not self.tells_changes
        answer = trial.ask(until)
        assert_nothing_missed(answer.missed(seen))

    def test_when_nothing_changed_a_feed_says_so_again_and_again(self, trial: Trial) -> None:
        """Promise 8."""
        answer = trial.ask(None)
        for _ in range(3):
            before = answer.tree
            answer = trial.ask(answer.mark)
            assert answer.is_feed or not self.tells_changes, answer.fallback or answer.broke
            assert_nothing_missed(answer.missed(before))
            assert_nothing_missed(differing(before, answer.tree), "was changed by the discovery")

    # -- feeds ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("edit", EDITS)
    def test_an_edit_is_named(self, trial: Trial, edit: str) -> None:
        """Promise 9."""
        if not can(edit, trial.root):
            pytest.skip("The filesystem of the root has no extended attributes for users.")
        first = trial.ask(None)
        self._edit(trial, edit)
        second = trial.ask(first.mark)
        assert differing(first.tree, second.tree), "The edit did nothing, or is not seen."
        self._assert_right(second)
        assert_nothing_missed(second.missed(first.tree))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_random_edits_are_named_mark_after_mark(self, trial: Trial, seed: int) -> None:
        """Promise 9."""
        editor = Editor(trial.root, seed, left_alone=self.left_alone)
        before = trial.ask(None)
        for times in ROUNDS:
            editor.edit(times)
            self._settled(trial.root)
            after = trial.ask(before.mark)
            self._assert_right(after)
            assert_nothing_missed(after.missed(before.tree))
            before = after

    @pytest.mark.parametrize("mark", FOREIGN_MARKS, ids=lambda mark: mark[:12].hex())
    def test_the_mark_of_another_plugin_is_a_walk_with_a_sentence(
        self, trial: Trial, mark: Mark
    ) -> None:
        """Promise 10."""
        answer = trial.ask(mark)
        why = answer.fallback or answer.broke
        assert answer.complete or answer.broke, "Nothing is known since a mark like this."
        assert is_sentence(why) or not self.tells_changes, f"The reason is no sentence: {why}"
        assert_nothing_missed(answer.missed({}))

    # -- pushes that do not succeed ------------------------------------------------------------

    def test_a_rehearsal_moves_nothing(self, trial: Trial) -> None:
        """Promise 11."""
        first = trial.ask(None)
        self._edit(trial, "rename a directory and write inside")
        for _ in range(2):
            self._assert_told_since(first, trial.ask(first.mark, dry_run=True))
        self._assert_told_since(first, trial.ask(first.mark))

    def test_after_a_push_that_failed_the_same_is_told_again(self, trial: Trial) -> None:
        """Promise 12."""
        first = trial.ask(None)
        self._edit(trial, "delete a subtree")
        for _ in range(2):
            self._assert_told_since(first, trial.ask_and_fail(first.mark))
        self._assert_told_since(first, trial.ask(first.mark))

    def test_the_mark_of_a_push_that_failed_at_its_end_leads_on(self, trial: Trial) -> None:
        """Promise 12."""
        first = trial.ask(None)
        self._edit(trial, "delete a subtree")
        failed_late = trial.ask_and_fail(first.mark)
        trial.stored = failed_late.tree
        self._edit(trial, "chmod the root")
        self._assert_right(after := trial.ask(failed_late.mark))
        assert_nothing_missed(after.missed(failed_late.tree))

    def test_after_a_push_that_was_killed_either_mark_is_good(self, trial: Trial) -> None:
        """Promise 12."""
        first = trial.ask(None)
        self._edit(trial, "swap two directories")
        trial.ask_and_die(first.mark)
        self._assert_told_since(first, trial.ask_and_fail(first.mark))
        later, trial.stored = trial.ask_and_die(first.mark), trial.tree()
        before = trial.stored
        self._edit(trial, "chmod the root")
        self._assert_right(after := trial.ask(later))
        assert_nothing_missed(after.missed(before))

    def test_the_end_of_a_discovery_is_the_end_of_what_it_holds(self, trial: Trial) -> None:
        """Promise 13."""
        mark = trial.ask(None).mark
        self._edit(trial, "create many")
        mark = trial.ask(mark).mark
        self._edit(trial, "write")
        before = held()
        for since in (None, mark):
            for most in (0, 1, None):
                _read_some(trial, since, most)
        gc.collect()
        assert not held() - before, f"This is still held: {held() - before}."

    # -- pushes --------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", SEEDS[:MOST_PUSHED])
    def test_what_is_pushed_is_what_is_pulled(
        self, trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        """Promise 14."""
        dataset = PushedDataset(self.discoverer, trial, tmp_path, monkeypatch)
        first = n2s_core.push(config=dataset.config)
        assert (first.fallback, first.complete) == (None, True)
        dataset.assert_pulls()
        editor = Editor(trial.root, seed, left_alone=self.left_alone)
        for times in ROUNDS[1:]:
            editor.edit(times)
            self._settled(trial.root)
            done = n2s_core.push(config=dataset.config)
            assert (done.fallback, done.audit_misses, done.failures) == (None, 0, ())
            assert done.complete is not self.tells_changes
            dataset.assert_pulls()
        n2s_core.push(config=dataset.config)
        assert n2s_core.push(config=dataset.config).changeset_id is None
        walked = n2s_core.push(config=dataset.config, using="find", options={})
        assert (walked.written, walked.removed) == (0, 0), "A walk found more than the feeds."

    # -- what the tests share ------------------------------------------------------------------

    def _edit(self, trial: Trial, edit: str) -> None:
        EDITS[edit](trial.root)
        self._settled(trial.root)

    def _settled(self, root: Path) -> None:
        """What comes next has other times than what was before."""
        self.settle(root)
        let_time_pass()

    def _assert_right(self, answer: Answer) -> None:
        """A walk in place of a feed says why."""
        if self.tells_changes and not answer.is_feed:
            why = answer.fallback or answer.broke
            assert is_sentence(why), f"The reason for a walk is no sentence: {why}"

    def _assert_told_since(self, first: Answer, answer: Answer) -> None:
        told = answer.is_feed or not self.tells_changes
        assert told, f"The mark was good, and is not any more: {answer.fallback or answer.broke}"
        assert differing(first.tree, answer.tree)
        assert_nothing_missed(answer.missed(first.tree))


def assert_nothing_missed(paths: list[RelPath], what: str = "is not named") -> None:
    """Say which paths, a few of them."""
    shown = ", ".join(show(path) or "the root" for path in paths[:5])
    assert not paths, f"{shown} ({len(paths)} in all): {what}."


def _read_some(trial: Trial, since: Mark | None, most: int | None) -> None:
    """A discovery of which `most` changes are read, in a push that fails, and in one that ends."""
    for end in (failed, nullcontext):
        with (
            suppress(Interrupted),
            trial.asking(since, dry_run=True) as (_, discovery),
            end(),
        ):
            for _ in islice(discovery.changes, most):
                pass
