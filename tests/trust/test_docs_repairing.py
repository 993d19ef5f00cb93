"""The commands of docs/repairing.md, in the order in which they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, Dataset, environment
from tests.trees import describe, differences

PAGE = REPOSITORY / "docs" / "repairing.md"
DAMAGED, OK = 3, 0


def commands() -> dict[str, list[str]]:
    """The indented lines of each section."""
    sections = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    return {
        heading: [line.strip() for line in body.splitlines() if line.startswith("    ")]
        for heading, body in zip(sections[1::2], sections[2::2], strict=True)
    }


def run(dataset: Dataset, line: str) -> int:
    text = line.replace("TARGET", str(dataset.base / "target"))
    words = text.replace("STORE", str(dataset.store)).removeprefix("n2s ").split()
    given = [] if words[0] == "recover" else ["-c", str(dataset.config)]
    command = [sys.executable, "-m", "n2s_core", *given, *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (OK, DAMAGED), done.stderr
    return done.returncode


def test_the_steps_lead_from_damage_to_a_whole_store(dataset: Dataset, tmp_path: Path) -> None:
    steps = commands()
    for number in range(20):
        (dataset.root / f"file-{number}").write_bytes(os.urandom(3000))
    dataset.push()
    for path in dataset.objects("data").values():
        path.unlink()
    codes = [run(dataset, line) for name in list(steps)[:6] for line in steps[name]]
    assert codes == [DAMAGED, DAMAGED, OK, OK, OK, OK, OK]
    restored = dataset.base / "target"
    assert differences(describe(dataset.root), describe(restored)) == []
    restored.rename(tmp_path / "first")
    dataset.forget_catalogue()
    assert [run(dataset, line) for line in steps["When the catalogue is damaged or gone"]] == [OK]
    lines = steps["When store and catalogue do not agree"]
    assert [run(dataset, line) for line in lines] == [OK, OK, OK]
    (line,) = steps["When everything but the store is gone"]
    assert run(dataset, line) == OK
    assert differences(describe(dataset.root), describe(restored)) == []


def test_the_steps_keep_all_that_the_tree_has_when_something_cannot_be_healed(
    dataset: Dataset,
) -> None:
    steps = commands()
    for number in range(20):
        (dataset.root / f"file-{number}").write_bytes(os.urandom(3000))
    dataset.push()
    (dataset.root / "file-7").write_bytes(b"changed since")
    for path in dataset.objects("data").values():
        path.unlink()
    codes = [run(dataset, line) for name in list(steps)[:6] for line in steps[name]]
    assert codes == [DAMAGED, DAMAGED, DAMAGED, OK, DAMAGED, DAMAGED, OK]
    assert differences(describe(dataset.root), describe(dataset.base / "target")) == []
