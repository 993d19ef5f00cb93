"""Each promise of docs/security.md names a test, and the test is there."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "security.md").read_text()
PROMISES = [
    line for line in PAGE.splitlines() if line.startswith("| ") and line != "| promised | test |"
]
_TEST = re.compile(r"^\| .+ \| `(tests/\S+\.py)::(test_\w+)` \|$")


@pytest.mark.parametrize("line", PROMISES, ids=range(len(PROMISES)))
def test_a_promise_names_a_test_that_there_is(line: str) -> None:
    found = _TEST.match(line)
    assert found, f"no test stands behind: {line}"
    source = ast.parse((TOP / found[1]).read_text())
    assert found[2] in {one.name for one in source.body if isinstance(one, ast.FunctionDef)}


def test_there_are_promises() -> None:
    assert PROMISES
