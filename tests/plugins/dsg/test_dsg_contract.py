"""Promise: the dsg plugin, which looks at the tree too, keeps the contract of discoverers."""

from pathlib import Path

import pytest

from n2s_core.testing import DiscovererContract
from n2s_plugins.dsg import plugin
from n2s_plugins.dsg.plugin import Dsg
from tests.plugins.dsg.repositories import extract

GRAIN_NS = 20_000_000


class TestDsg(DiscovererContract):
    left_alone = frozenset({".dsg", ".dsgconfig.yml"})
    wrong_options = ({"look": "away"}, {"wait": "long"}, {"wait": "-1"})

    def discoverer(self) -> Dsg:
        return Dsg()

    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """With a slack so small that a feed does not name the whole tree."""
        monkeypatch.setattr(plugin, "SLACK_NS", GRAIN_NS)
        return extract("s6", tmp_path / "repository")

    @pytest.fixture
    def options(self) -> dict[str, str]:
        return {"wait": "0"}
