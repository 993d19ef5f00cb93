"""Promise: what is long is written as it is found, and ends with who reads it."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import COMMAND, LIMIT_S, Program
from tests.conftest import KINDS
from tests.scale.conftest import Synthetic

FOLDER = "part-00000/folder-00001"
PIPE_CLOSED = 141
pytestmark = pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)


def lines(program: Program, *words: str | bytes) -> list[object]:
    return [json.loads(one) for one in program.run(*words, "--json-lines").out.splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        ("list", FOLDER),
        ("search", f"{FOLDER}/*"),
        ("search", "nothing like this"),
        ("history", f"{FOLDER}/document 000000101.txt"),
        ("changesets",),
    ],
)
def test_lines_are_the_documents_of_the_list(large: Synthetic, words: tuple[str, ...]) -> None:
    found = large.program.json(*words)
    assert isinstance(found, list)
    assert bool(found) == ("nothing like this" not in words)
    assert lines(large.program, *words) == found


def test_lines_of_what_is_no_list_are_its_document(large: Synthetic) -> None:
    words = ("where", f"{FOLDER}/document 000000101.txt")
    assert lines(large.program, *words) == [large.program.json(*words)]


def test_a_diff_by_lines_is_that_of_the_document(large: Synthetic) -> None:
    program = large.program
    ids = [one["changeset_id"] for one in program.json("changesets")]
    whole = program.json("diff", ids[-1], ids[0])
    assert list(whole) == ["from", "to", "added", "removed", "changed"]
    assert (whole["from"], whole["to"]) == (ids[-1], ids[0])
    found: dict[str, list[object]] = {"added": [], "removed": [], "changed": []}
    for one in lines(program, "diff", ids[-1], ids[0]):
        assert isinstance(one, dict)
        found[one.pop("change")].append(one)
    assert all(found.values())
    assert {kind: whole[kind] for kind in found} == found
    said = program.run("diff", ids[-1], ids[0])
    counts = [f"{len(some)} {kind}" for kind, some in found.items()]
    assert ", ".join(counts) in said.err
    assert len(said.out.splitlines()) == sum(map(len, found.values()))


def test_no_difference_is_a_document_too(large: Synthetic) -> None:
    found = large.program.json("diff", "latest", "latest")
    assert (found["added"], found["removed"], found["changed"]) == ([], [], [])
    assert lines(large.program, "diff", "latest", "latest") == []


@pytest.mark.parametrize("option", ["--json", "--json-lines"])
def test_an_error_is_one_document_on_a_line(large: Synthetic, option: str) -> None:
    for words in (("list", "nowhere"), ("diff", "ffff"), ("list", "--nonsense")):
        found = large.program.run(*words, option, code=2)
        assert json.loads(found.out)["exit_code"] == 2
        assert found.out.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--json"), ("search", "*", "--json-lines"), ("diff", "{first}")]
)
def test_a_reader_that_stops_early_ends_it_quietly(
    large: Synthetic, words: tuple[str, ...], tmp_path: Path
) -> None:
    program = large.program
    first = program.json("changesets")[-1]["changeset_id"]
    command = [*COMMAND, *(word.format(first=first) for word in words)]
    with (tmp_path / "stderr").open("wb") as errors:
        running = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=program.root,
            env=program.environment(),
        )
        assert running.stdout is not None
        assert running.stdout.readline()
        running.stdout.close()
        assert running.wait(LIMIT_S) == PIPE_CLOSED
    assert (tmp_path / "stderr").read_bytes() == b""
