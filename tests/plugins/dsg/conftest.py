"""The plugin is known to the host, and a repository is there."""

from pathlib import Path

import pytest

from n2s_core import plugins
from n2s_plugins.dsg import plugin
from tests.plugins.dsg.repositories import extract


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.OWN, "dsg", "n2s_plugins.dsg")


@pytest.fixture
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what a test did before the push before is not new."""
    monkeypatch.setattr(plugin, "SLACK_NS", 0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A working copy just after s6."""
    return extract("s6", tmp_path / "repository")
