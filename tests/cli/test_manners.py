"""How the program behaves whatever the command: options, errors, streams, signals."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import COMMAND, LIMIT_S, Make, Program, fill
from tests.conftest import REPOSITORY, missing

COMMANDS = (
    "init", "push", "pull", "status", "changesets", "list", "search", "history", "where", "diff",
    "verify", "rebuild", "recover", "plugins", "doctor",
)  # fmt: skip
# What a push that finds nothing to do has no use for, and what takes long to import.
TOO_HEAVY = (
    "sqlalchemy", "rich", "typer", "click", "pydantic", "http.client", "importlib.metadata",
    "asyncio", "pathspec", "email", "alembic",
)  # fmt: skip


def test_help_names_every_command(make: Make) -> None:
    program = make()
    said = program.run("--help").out
    for name in COMMANDS:
        assert f"\n  {name} " in said
    for option in ("--verbose", "--config", "--json", "--version", "--install-completion"):
        assert option in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, make: Make) -> None:
    assert f"n2s {name}" in make().run(name, "--help").out


def test_version(make: Make) -> None:
    assert make().run("--version").out == "n2s 0.1.0\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "status"),
        ("status", "--json"),
        ("-q", "status", "--json", "-v"),
        ("--verbose", "--json", "--quiet", "status"),
    ],
)
def test_global_options_stand_before_and_after_the_command(
    stored: Program, words: tuple[str, ...]
) -> None:
    assert stored.run(*words).document["dataset"] == "papers"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("option", ["-c", "--config"])
def test_a_config_can_be_named_anywhere(
    stored: Program, option: str, tmp_path: Path, *, after: bool
) -> None:
    named = (option, stored.config)
    words = ("push", "--json", *named) if after else (*named, "push", "--json")
    assert stored.run(*words, "--dry-run", cwd=tmp_path).document["dataset"] == "papers"
    words = ("changesets", "--json", *named) if after else (*named, "changesets", "--json")
    assert len(stored.run(*words, cwd=tmp_path).document) == 3


def test_the_config_comes_from_the_environment_or_from_above(
    stored: Program, tmp_path: Path
) -> None:
    env: dict[str, str | None] = {"N2S_CONFIG": str(stored.config)}
    assert stored.json("status", cwd=tmp_path, env=env)["dataset"] == "papers"
    assert stored.json("status", cwd=stored.root / "docs")["dataset"] == "papers"


def test_without_a_config_the_program_says_what_to_do(make: Make, tmp_path: Path) -> None:
    program = make()
    for words in (("push",), ("status",), ("verify",)):
        said = program.run(*words, code=2)
        assert "n2s init" in said.err
    assert "no configuration at" in program.run("push", "-c", tmp_path / "none", code=2).err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("push", "--nonsense"),
        ("pull",),
        ("recover", "--store", "x"),
        ("search",),
        ("push", "--changeset-name"),
    ],
)
def test_mistakes_of_usage_exit_2_with_a_sentence(make: Make, words: tuple[str, ...]) -> None:
    program = make()
    assert program.run(*words, code=2).err
    found = program.run("--json", *words, code=2)
    assert found.document["exit_code"] == 2
    assert found.document["error"]


def test_a_failure_with_json_is_one_document_too(stored: Program, tmp_path: Path) -> None:
    found = stored.run("push", "--json", code=2, env={"N2S_PASSPHRASE": "another"})
    assert found.document["exit_code"] == 2
    assert "passphrase" in found.document["error"]
    assert found.document["error"] in found.err
    found = stored.run("list", "nothing", "--json", code=2)
    assert "nothing" in found.document["error"]


def test_a_wrong_or_missing_passphrase_is_said_so(stored: Program, tmp_path: Path) -> None:
    words = ("pull", "--target-path", tmp_path / "t")
    wrong = stored.run(*words, code=2, env={"N2S_PASSPHRASE": "another"})
    assert "passphrase does not open" in wrong.err
    none = stored.run(*words, code=2, env={"N2S_PASSPHRASE": None})
    assert "N2S_PASSPHRASE" in none.err


def test_quiet_says_nothing_of_what_went_well(fresh: Program, tmp_path: Path) -> None:
    for words in (("push",), ("verify",), ("pull", "--target-path", tmp_path / "t")):
        said = fresh.run("-q", *words)
        assert said.out == said.err == ""


def test_a_broken_config_is_named(fresh: Program) -> None:
    fresh.config.write_text("[dataset]\ncolour = 1\n")
    said = fresh.run("push", code=2).err
    assert str(fresh.config) in said
    assert "colour" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_program_with_a_sentence(
    fresh: Program, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*COMMAND, "push", "--paths-from", str(pipe)],
        cwd=fresh.root, env=fresh.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with pipe.open("wb"):  # returns when the program reads
        process.send_signal(number)
        _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code
    assert said.startswith("Stopped by")
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("changesets", "--json")])
def test_a_reader_that_went_away_is_no_error(stored: Program, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *words], cwd=stored.root, env=stored.environment(), stdout=writer,
        stderr=subprocess.PIPE, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.usefixtures("on_sqlite")
@pytest.mark.parametrize("words", [["push", "--json"], ["-q", "push"]])
def test_a_push_with_nothing_to_do_imports_no_heavy_library(
    fresh: Program, words: list[str]
) -> None:
    fresh.run("push")
    code = (
        "import sys; from n2s_core.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=fresh.root, env=fresh.environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert "n2s_core.flows.push" in loaded
    assert sorted(loaded & set(TOO_HEAVY)) == []


def test_the_package_imports_nothing_until_asked() -> None:
    code = "import n2s_core, sys; print([m for m in sys.modules if m.startswith('n2s_core.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_public_functions_do_what_the_commands_do(stored: Program, tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from n2s_core import N2sError, list_files, pull, search, status, __all__\n"
        "import n2s_core\n"
        "assert all(getattr(n2s_core, name) for name in __all__)\n"
        "root, target = sys.argv[1:]\n"
        "assert status(root).changesets == 3\n"
        "assert [one.path for one in search('*.bin', root)] == [b'large.bin']\n"
        "done = pull(target.encode(), root, [b'docs'])\n"
        "try: pull(target, root, ['nothing'])\n"
        "except N2sError as error: print(error)\n"
        "print(json.dumps([one.to_json() for one in list_files(root, 'docs')]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stored.root), str(tmp_path / "t")],
        cwd=tmp_path, env=stored.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    error, listed = done.stdout.splitlines()
    assert "nothing is not in changeset" in error
    assert json.loads(listed) == stored.json("list", "docs")
    assert (tmp_path / "t" / "docs" / "letter.txt").exists()


@pytest.fixture
def somebody(make: Make, as_root: None) -> Program:
    """Root without the right to read and write everything: an ordinary user, for this matter."""
    rights = "-dac_override,-dac_read_search"
    prefix = ("setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}")
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        missing("This test drops rights with setpriv of util-linux, which does not work here.")
    program = dataclasses.replace(make(), prefix=prefix)
    fill(program.root)
    return program


def test_an_unreadable_file_is_named_and_the_rest_is_stored(somebody: Program) -> None:
    somebody.init()
    (somebody.root / "a.txt").chmod(0)
    (somebody.root / "docs").chmod(0)
    said = somebody.run("push", code=1).err
    assert "a.txt: " in said
    assert "docs: " in said
    assert somebody.json("status")["failed"] == 2
    found = somebody.json("push", code=1)
    assert {one["path"] for one in found["failures"]} == {"a.txt", "docs"}
    assert found["failed"] == 2
    assert "large.bin" in {one["path"] for one in somebody.json("list")}
    (somebody.root / "a.txt").chmod(0o644)
    (somebody.root / "docs").chmod(0o755)
    assert somebody.json("push")["failed"] == 0
    assert somebody.json("status")["failed"] == 0


def test_a_place_that_cannot_be_written_is_said_so(somebody: Program) -> None:
    somebody.root.chmod(0o555)
    assert "Permission denied" in somebody.init(code=2).err
    somebody.root.chmod(0o755)
    somebody.init()
    somebody.run("push")
    closed = somebody.home / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    assert "cannot be made" in somebody.run("pull", "--target-path", closed / "t", code=2).err


def test_the_shell_completes_commands_and_changesets(stored: Program) -> None:
    def complete(words: str) -> list[str]:
        env: dict[str, str | None] = {
            "_N2S_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return stored.run(env=env).out.split()

    assert complete("n2s reb") == ["rebuild", "rebuild-objects"]
    newest = stored.json("changesets")[0]["changeset_id"]
    assert newest in complete("n2s list --changeset-id ")
