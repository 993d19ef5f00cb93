"""Promise: while changes are recorded, the watch plugin keeps the contract of discoverers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from n2s_core.testing import DiscovererContract
from n2s_core.testing.editor import Editor
from n2s_plugins.watch import Watch
from tests.plugins.watch.watched import Tree


class TestWatch(DiscovererContract):
    works_everywhere = True
    wrong_options = ({"max-changes": "many"},)

    def discoverer(self) -> Watch:
        return Watch()

    @pytest.fixture(autouse=True)
    def _one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Events of one edit are read before the next.

        A second name of a file that is there for less time than that is not seen.
        """
        edit = Editor.edit

        def slowly(self: Editor, times: int) -> None:
            for _ in range(times):
                edit(self, 1)
                Tree(self._root, dataset="contract").ask()

        monkeypatch.setattr(Editor, "edit", slowly)

    @pytest.fixture
    def root(self, tmp_path: Path) -> Iterator[Path]:
        """A directory whose changes are recorded."""
        folder = tmp_path / "root"
        folder.mkdir()
        with (
            Tree(folder, dataset="contract").recording(),
            Tree(folder, dataset=folder.name).recording(),
        ):
            yield folder
