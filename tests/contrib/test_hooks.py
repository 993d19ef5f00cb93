"""n2s-snapshot: what every hook comes down to. And all hooks are sound shell."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.conftest import missing
from tests.contrib.hooks import HOOKS, README, Hooks, prepared, stored

WAITING = """#!/bin/sh
trap 'echo "told to end" >&2; exit 7' TERM
: >"$READY"
while :; do sleep 0.05; done
"""


@pytest.fixture
def data(tmp_path: Path) -> Program:
    found = prepared(tmp_path / "n2s", tmp_path / "data")
    (found.root / "file").write_text("one")
    return found


def test_every_hook_is_sound_shell() -> None:
    if shutil.which("shellcheck") is None:
        missing("This test needs shellcheck.")
    scripts = sorted(HOOKS.glob("n2s-*"))
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert all(script.stat().st_mode & stat.S_IXUSR for script in scripts)
    assert all(script.read_text().startswith("#!/bin/sh\n") for script in scripts)


def test_the_readme_speaks_of_every_hook() -> None:
    scripts = {script.name for script in HOOKS.glob("n2s-*")}
    assert scripts == {line[3:] for line in README.splitlines() if line.startswith("## ")}


def test_a_push_says_one_line_and_nothing_else(hooks: Hooks, data: Program) -> None:
    assert hooks.run("n2s-snapshot", data.root) == ("", "")
    (line,) = hooks.log
    assert line.startswith(f"{data.root}: changeset ")
    assert line.endswith("(exit code 0)")
    assert stored(data) >= {"file"}
    hooks.run("n2s-snapshot", data.root.name, cwd=data.root.parent)
    assert "nothing to store" in hooks.log[1]


@pytest.mark.parametrize("logger", ["exit 1", "exec /nowhere/logger"])
def test_without_syslog_the_line_goes_to_stdout(hooks: Hooks, data: Program, logger: str) -> None:
    hooks.program("logger", f"#!/bin/sh\n{logger}\n")
    out, err = hooks.run("n2s-snapshot", data.root)
    assert out.startswith(f"{data.root}: changeset ")
    assert out.count("\n") == 1
    assert err == ""


def test_options_go_to_the_push(hooks: Hooks, data: Program) -> None:
    hooks.run("n2s-snapshot", data.root, "--changeset-name", "by cron", "-o", "exclude=/file")
    assert data.json("changesets")[0]["changeset_name"] == "by cron"
    assert "file" not in stored(data)


@pytest.mark.parametrize(
    "name", [b"sp ace", b"new\nline", b"end\n", b"\xff\xfe", b"-c", b"a'\"$b*"]
)
def test_hard_names(hooks: Hooks, tmp_path: Path, name: bytes) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    data = prepared(tmp_path / "n2s", root)
    (root / "file").write_text("one")
    hooks.run("n2s-snapshot", "--if-known", root)
    (line,) = hooks.log
    assert "changeset" in line
    hooks.run("n2s-snapshot", name, cwd=tmp_path)
    assert "nothing to store" in hooks.log[1]
    assert "file" in stored(data)


def test_when_files_fail_the_code_and_their_names_are_passed_on(
    hooks: Hooks, data: Program
) -> None:
    hooks.program("n2s", '#!/bin/sh\necho "2 written, 1 failed"\necho "x: denied" >&2\nexit 1\n')
    out, err = hooks.run("n2s-snapshot", data.root, code=1)
    assert (out, err) == ("", "x: denied\n")
    assert hooks.log == [f"{data.root}: 2 written, 1 failed (exit code 1)"]


def test_when_the_store_is_gone_the_log_says_why(hooks: Hooks, data: Program) -> None:
    shutil.rmtree(data.store)
    _, err = hooks.run("n2s-snapshot", data.root, code=2)
    (line,) = hooks.log
    assert line.endswith("(exit code 2)")
    assert err.splitlines()[-1] in line


def test_a_missing_passphrase_is_no_question(hooks: Hooks, data: Program) -> None:
    _, err = hooks.run("n2s-snapshot", data.root, code=2, env={"N2S_PASSPHRASE": None})
    assert "No passphrase" in err
    assert "No passphrase" in hooks.log[0]


def test_the_passphrase_of_the_configuration_is_enough(hooks: Hooks, data: Program) -> None:
    file = data.home / "passphrase"
    file.write_text(hooks.environment()["N2S_PASSPHRASE"])
    file.chmod(0o600)
    with data.config.open("a") as config:
        config.write(f'\n[key]\npassphrase_file = "{file}"\n')
    hooks.run("n2s-snapshot", data.root, env={"N2S_PASSPHRASE": None})
    assert "file" in stored(data)


def test_n2s_is_found_by_its_variable(hooks: Hooks, data: Program, tmp_path: Path) -> None:
    elsewhere = (hooks.bin / "n2s").rename(tmp_path / "my n2s")
    hooks.run("n2s-snapshot", data.root, env={"N2S": str(elsewhere)})
    assert "file" in stored(data)
    _, err = hooks.run("n2s-snapshot", data.root, code=2, env={"N2S": str(tmp_path / "nowhere")})
    assert "there is no command" in err
    assert "there is no command" in hooks.log[1]


def test_what_n2s_does_not_know_is_refused_or_passed_over(hooks: Hooks, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    _, err = hooks.run("n2s-snapshot", stranger, code=2)
    assert "n2s init" in err
    assert hooks.run("n2s-snapshot", "--if-known", stranger) == ("", "")
    assert "skipped" in hooks.log[1]
    assert hooks.run("n2s-snapshot", "--if-known", tmp_path / "nowhere") == ("", "")


@pytest.mark.parametrize("words", [[], ["--snapshot", "x"], ["--if-known"], [""]])
def test_without_a_root_it_says_how_it_is_used(hooks: Hooks, words: list[str]) -> None:
    assert "usage: n2s-snapshot" in hooks.run("n2s-snapshot", *words, code=2)[1]


def test_an_empty_snapshot_name_is_not_a_push_of_the_live_tree(hooks: Hooks, data: Program) -> None:
    for words in (["--snapshot", ""], ["--snapshot"]):
        assert "needs a name" in hooks.run("n2s-snapshot", data.root, *words, code=2)[1]
    assert stored(data) == set()


def test_the_second_leaves_while_the_first_is_running(
    hooks: Hooks, data: Program, tmp_path: Path
) -> None:
    waiting = hooks.program("waiting", WAITING)
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    with hooks.start(
        "n2s-snapshot", data.root, env={"N2S": str(waiting), "READY": str(ready)}
    ) as first:
        ready.read_bytes()
        _, err = hooks.run("n2s-snapshot", data.root, code=2)
        assert "another push is still running" in err
        first.send_signal(signal.SIGTERM)
        _, err_of_first = first.communicate()
    assert first.returncode == 7
    assert b"told to end" in err_of_first
    assert hooks.log[-1].endswith("told to end (exit code 7)")
    hooks.run("n2s-snapshot", data.root)
    assert "file" in stored(data)


def test_a_push_that_ends_with_the_signal_keeps_its_own_code(
    hooks: Hooks, data: Program, tmp_path: Path
) -> None:
    waiting = hooks.program("waiting", WAITING.replace("\n:", '\necho $PPID >"$PID"\n:', 1))
    ready, pid = tmp_path / "ready", tmp_path / "pid"
    os.mkfifo(ready)
    env = {"N2S": str(waiting), "READY": str(ready), "PID": str(pid)}
    with hooks.start("n2s-snapshot", data.root, env=env) as first:
        ready.read_bytes()
        first.send_signal(signal.SIGSTOP)
        child = int(pid.read_text())
        os.kill(child, signal.SIGTERM)
        while "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert first.returncode == 7


def test_the_second_waits_when_it_is_told_to(hooks: Hooks, data: Program) -> None:
    folder = os.open(data.root / ".n2s", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    flock = shutil.which("flock")
    asked = hooks.program("flock", f'#!/bin/sh\necho "$*" >"$ASKED"\nexec {flock} "$@"\n')
    os.mkfifo(asked.parent / "asked")
    env = {"N2S_WAIT_S": str(600), "ASKED": str(asked.parent / "asked")}
    with hooks.start("n2s-snapshot", data.root, env=env) as second:
        assert (asked.parent / "asked").read_text() == "-w 600 9\n"
        assert second.poll() is None
        os.close(folder)
        second.communicate()
    assert second.returncode == 0
    assert "file" in stored(data)


def test_a_killed_run_leaves_no_lock(hooks: Hooks, data: Program, tmp_path: Path) -> None:
    waiting = hooks.program("waiting", WAITING.replace("\n:", '\necho $$ >"$PID"\n:', 1))
    ready, pid = tmp_path / "ready", tmp_path / "pid"
    os.mkfifo(ready)
    env = {"N2S": str(waiting), "READY": str(ready), "PID": str(pid)}
    with hooks.start("n2s-snapshot", data.root, env=env) as first:
        ready.read_bytes()
        first.kill()
        first.wait()
        assert "still running" in hooks.run("n2s-snapshot", data.root, code=2)[1]
        os.kill(int(pid.read_text()), signal.SIGKILL)
    hooks.run("n2s-snapshot", data.root, env={"N2S_WAIT_S": "60"})
    assert "file" in stored(data)


def test_a_push_that_hangs_is_stopped(hooks: Hooks, data: Program, tmp_path: Path) -> None:
    waiting = hooks.program("waiting", WAITING)
    env = {"N2S": str(waiting), "READY": str(tmp_path / "ready"), "N2S_LIMIT_S": "1"}
    hooks.run("n2s-snapshot", data.root, code=124, env=env)
    assert "stopped after 1 s" in hooks.log[0]
    hooks.run("n2s-snapshot", data.root)


def test_nothing_is_left_in_the_temporary_folder(
    hooks: Hooks, data: Program, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    hooks.run("n2s-snapshot", data.root, env={"TMPDIR": str(folder)})
    hooks.program("n2s", "#!/bin/sh\nexit 2\n")
    hooks.run("n2s-snapshot", data.root, code=2, env={"TMPDIR": str(folder)})
    assert list(folder.iterdir()) == []
    hooks.run("n2s-snapshot", data.root, code=2, env={"TMPDIR": str(tmp_path / "nowhere")})
    assert "no room for temporary files" in hooks.log[-1]
