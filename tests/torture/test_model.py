"""A short random run of the model, with the same seeds each time; `make torture` goes on."""

from pathlib import Path
from typing import Any

import pytest

from tests import crashing
from tests.torture import model

SEED = 3


@pytest.fixture(scope="module")
def template(tmp_path_factory: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("N2S_PASSPHRASE", "a passphrase for tests")
        base: Path = tmp_path_factory.mktemp("model") / "template"
        yield model.prepared(base)


def test_what_comes_out_is_what_the_model_says(
    template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing.seal_here(monkeypatch.setattr)
    counts = model.run(template, SEED, examples=25)
    assert counts.keys() <= set(model.rules())
    assert counts["push"] > counts["pull"] > 0
