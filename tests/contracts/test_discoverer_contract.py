"""Promise: the contract for discovery plugins passes who keeps it, and fails who does not."""

import inspect
import re
from pathlib import Path

import pytest
from _pytest._code.code import ExceptionChainRepr

from n2s_core.testing import DiscovererContract
from tests.contracts import discoverers_wrong as wrong
from tests.contracts.discoverer_right import MARKER, Listing

pytest_plugins = ("pytester",)

_CHECKED = "a_right_root_is_accepted"
_OPTIONS = "options_that_cannot_be_used"
_WHOLE = "without_a_mark_every_path"
_EXCLUDES = "what_the_user_or_the_plugin_excludes"
_ROOT = "the_root_that_is_read"
_ON = "another_process_goes_on"
_DURING = "what_changes_during_a_discovery"
_NOTHING = "when_nothing_changed"
_EDIT = "an_edit_is_named"
_RANDOM = "random_edits and 0"
_FOREIGN = "the_mark_of_another_plugin"
_REHEARSAL = "a_rehearsal"
_FAILED = "after_a_push_that_failed"
_LATE = "the_mark_of_a_push_that_failed"
_KILLED = "after_a_push_that_was_killed"
_HELD = "the_end_of_a_discovery"
_PULLED = "what_is_pushed and 0"

WRONG: tuple[tuple[type[Listing], str], ...] = (
    (wrong.RefusesNothing, _CHECKED),
    (wrong.RefusesEverything, _CHECKED),
    (wrong.RefusesWithAnotherError, _CHECKED),
    (wrong.RefusesWithoutASentence, _CHECKED),
    (wrong.RefusesNothing, _OPTIONS),
    (wrong.RefusesWithoutASentence, _OPTIONS),
    (wrong.SaysThatTheFirstIsNotAll, _WHOLE),
    (wrong.GivesAReasonThoughNobodyAsked, _WHOLE),
    (wrong.LeavesOutTheRoot, _WHOLE),
    (wrong.LeavesOutLinks, _WHOLE),
    (wrong.GoesDepthFirst, _WHOLE),
    (wrong.NamesTwice, _WHOLE),
    (wrong.HasNoStat, _WHOLE),
    (wrong.FollowsLinks, _WHOLE),
    (wrong.NamesSubtrees, _WHOLE),
    (wrong.WalksWithoutExcludes, _EXCLUDES),
    (wrong.ReadsAnOldCopy, _ROOT),
    (wrong.WritesIntoTheTree, _ROOT),
    (wrong.MarksWithText, _ON),
    (wrong.HasNoMark, _ON),
    (wrong.Remembers, _ON),
    (wrong.AlwaysWalks, _ON),
    (wrong.MarksWhenItEnds, _DURING),
    (wrong.WritesIntoTheTree, _NOTHING),
    (wrong.AlwaysWalks, _NOTHING),
    (wrong.NamesNothing, _EDIT),
    (wrong.NamesOnlyWhatIsThere, f"{_EDIT} and delete and not subtree"),
    (wrong.BelievesTheTimeOfModification, f"{_EDIT} and chmod"),
    (wrong.BelievesTheTimeOfModification, f"{_EDIT} and before and size"),
    (wrong.BelievesTheTimeOfModification, f"{_EDIT} and attribute"),
    (wrong.NamesTheTopOfWhatMoved, f"{_EDIT} and rename and directory"),
    (wrong.ReadsLines, f"{_EDIT} and break"),
    (wrong.ReadsText, f"{_EDIT} and hard and names"),
    (wrong.ForgetsWhenThereIsMuch, f"{_EDIT} and many"),
    (wrong.NamesAbsolutePaths, f"{_EDIT} and truncate"),
    (wrong.NamesTextualKinds, f"{_EDIT} and truncate"),
    (wrong.WalksInSilence, _FOREIGN),
    (wrong.NamesNothing, _RANDOM),
    (wrong.NamesOnlyWhatIsThere, _RANDOM),
    (wrong.TakesAnyMark, _FOREIGN),
    (wrong.FailsAtAForeignMark, _FOREIGN),
    (wrong.RefusesAForeignMark, _FOREIGN),
    (wrong.ForgetsInARehearsal, _REHEARSAL),
    (wrong.ForgetsThoughThePushFailed, _FAILED),
    (wrong.ForgetsWhenItBegins, _FAILED),
    (wrong.BelievesThatAFailedPushLeavesNoMark, _LATE),
    (wrong.TurnsRoundWhenKilled, _KILLED),
    (wrong.KeepsAFileOpen, _HELD),
    (wrong.KeepsAFileOpenWhenItFails, _HELD),
    (wrong.LeavesAChild, _HELD),
    (wrong.NamesNothing, _PULLED),
    (wrong.AlwaysWalks, _PULLED),
)
"""Each with words of the tests that must fail, all of them."""

SUITE = """
import pytest
from n2s_core.testing import DiscovererContract
from tests.contracts import discoverers_wrong as wrong

class TestWrong(DiscovererContract):
    left_alone = frozenset({wrong.MARKER})

    def discoverer(self):
        return wrong.%s()

    @pytest.fixture
    def root(self, tmp_path):
        folder = tmp_path / "root"
        folder.mkdir()
        (folder / wrong.MARKER).touch()
        return folder
"""


class TestListing(DiscovererContract):
    left_alone = frozenset({MARKER})

    def discoverer(self) -> Listing:
        return Listing()

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        folder = tmp_path / "root"
        folder.mkdir()
        (folder / MARKER).touch()
        return folder


@pytest.mark.parametrize(("broken", "tests"), WRONG, ids=lambda one: getattr(one, "__name__", one))
def test_a_discoverer_that_breaks_a_promise_fails_its_tests(
    pytester: pytest.Pytester, broken: type[Listing], tests: str
) -> None:
    pytester.makepyfile(test_wrong=SUITE % broken.__name__)
    report = pytester.inline_run("-p", "no:cacheprovider", "-q", "-k", tests)
    passed, skipped, failed = report.listoutcomes()
    assert (passed, skipped) == ([], [])
    assert failed
    for one in failed:
        assert isinstance(one.longrepr, ExceptionChainRepr)
        assert one.longrepr.reprcrash is not None
        message = one.longrepr.reprcrash.message
        assert re.match(rf"(?:[\w.]+\.)?(?:{broken.error})\b", message), message


def test_every_promise_is_broken_by_somebody() -> None:
    names = [name for name, _ in inspect.getmembers(DiscovererContract) if name.startswith("test_")]
    first_words = {re.split(" and ", tests)[0] for _, tests in WRONG}
    for name in names:
        assert any(words in name for words in first_words), name
