"""Promise: a plugin that cannot be loaded is named with what to do, and disturbs nobody else."""

import sys

import pytest

from n2s_core import plugins
from n2s_core.errors import UsageError
from n2s_core.plugins import Host


def test_a_plugin_of_ours_whose_library_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in [name for name in sys.modules if name.startswith("n2s_plugins.dsg")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(UsageError, match=r"'dsg' could not be loaded.*'lz4.frame'.*n2s\[dsg\]"):
        Host().discoverer("dsg")
    assert Host().discoverer("find").name == "find"


def test_the_library_of_a_foreign_plugin_is_named_without_advice_that_is_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(plugins.OWN, "theirs", "n2s_plugins.find")
    found = Host()._load("theirs", "nobody_has_this_module", "somebody")
    assert found.error == "it needs the Python package 'nobody_has_this_module'"


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no discovery plugin 'nope'; there are .*btrfs.*find"):
        Host().discoverer("nope")
