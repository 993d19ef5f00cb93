"""A dataset that the tests of a plugin push and pull through the public functions of n2s."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import n2s_core
from n2s_core.plugins import Host
from n2s_core.ports import Discoverer
from n2s_core.testing.trees import describe, differences
from n2s_core.testing.trial import Trial


class PushedDataset:
    """A dataset of the core with a folder as its store."""

    def __init__(
        self,
        make: Callable[[], Discoverer],
        trial: Trial,
        base: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Prepared; the host finds the discoverer, installed or not."""
        self.config = base / "n2s" / "config.toml"
        self._trial = trial
        self._target = base / "pulled"
        for name in [name for name in os.environ if name.startswith("N2S_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("N2S_PASSPHRASE", "of a test")
        name = make().name
        original = Host.discoverer

        def found(host: Host, wanted: str) -> Discoverer:
            return make() if wanted == name else original(host, wanted)

        monkeypatch.setattr(Host, "discoverer", found)
        n2s_core.init(
            trial.root,
            str(base / "store"),
            using=name,
            options=trial.options,
            config=self.config,
        )

    def assert_pulls(self) -> None:
        """The latest changeset is the tree as it is now, but for what is excluded."""
        stored = self._trial.tree().keys()
        wanted = {
            path: facts for path, facts in describe(self._trial.root).items() if path in stored
        }
        done = n2s_core.pull(self._target, config=self.config)
        assert not done.failures, done.failures
        assert differences(wanted, describe(self._target)) == []
        shutil.rmtree(self._target)
