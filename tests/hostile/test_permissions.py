"""What n2s leaves on a disk is for its owner alone, and keys stay inside of its processes."""

import json
import os
import queue
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from n2s_core.app.pool import WorkerPool
from n2s_core.keypage import key_file_text
from n2s_core.stores.rclone_program import clean_environment
from tests.conftest import PASSPHRASE, RECOVER, Dataset, environment
from tests.trees import describe

PATIENCE_S = 60
OTHERS = stat.S_IRWXG | stat.S_IRWXO
NOBODY = 65534
Done = subprocess.CompletedProcess[str]


ORDINARY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip
"""An ordinary user, who can read this interpreter and its libraries wherever they lie."""


def n2s(
    *words: object, cwd: Path, umask: int = 0o022, user: tuple[str, ...] = (),
    passphrase_file: str = "",
) -> Done:  # fmt: skip
    more = {"N2S_PASSPHRASE_FILE": passphrase_file} if passphrase_file else {}
    done = subprocess.run(
        [*user, sys.executable, "-m", "n2s_core", *map(str, words)], capture_output=True,
        text=True, env=environment(**more), cwd=cwd, check=False, umask=umask, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def open_to_others(*folders: Path) -> list[str]:
    """Files and folders that more people than their owner may use."""
    found = []
    for folder in folders:
        for path in (folder, *sorted(folder.rglob("*"))):
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode) and status.st_mode & OTHERS:
                found.append(f"{path} {stat.S_IMODE(status.st_mode):04o}")
    return found


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_all_that_is_made_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Configuration, catalogue with its companions, store, rebuilt catalogue, new folders above."""
    root, new = tmp_path / "root", tmp_path / "new"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_bytes(b"content")
    config, store = new / "a" / "deep" / "config.toml", new / "other" / "deep" / "store"
    n2s("init", "-c", config, "--store", store, root, cwd=root, umask=umask)
    n2s("-c", config, "push", cwd=root, umask=umask)
    n2s("-c", config, "verify", "--data", cwd=root, umask=umask)
    assert open_to_others(new) == []
    (config.parent / "catalogue.db").unlink()
    n2s("-c", config, "rebuild", cwd=root, umask=umask)
    (root / "folder" / "file").write_bytes(b"other content")
    n2s("-c", config, "push", cwd=root, umask=umask)
    assert open_to_others(new) == []


@pytest.mark.parametrize("umask", [0o000, 0o022])
@pytest.mark.parametrize("way", ["pull", "recover", "recover.py"])
def test_a_restored_tree_has_the_modes_that_were_stored(
    dataset: Dataset, umask: int, way: str
) -> None:
    for name, mode in (("secret", 0o600), ("shared", 0o664), ("none", 0o000)):
        (dataset.root / name).write_bytes(name.encode())
        (dataset.root / name).chmod(mode)
    (dataset.root / "folder").mkdir(mode=0o750)
    dataset.push()
    target = dataset.new_folder("target") / "deep"
    if way == "recover.py":
        command = [sys.executable, str(RECOVER), str(dataset.store), str(target)]
        subprocess.run(command, check=True, umask=umask, env=environment())
    elif way == "recover":
        n2s("recover", "--store", dataset.store, "--target-path", target, umask=umask,
            cwd=dataset.base)  # fmt: skip
    else:
        n2s("-c", dataset.config, "pull", "--target-path", target, umask=umask, cwd=dataset.base)
    assert describe(target) == describe(dataset.root)


# -- processes -----------------------------------------------------------------------------------


@contextmanager
def waiting(code: str) -> Iterator[int]:
    """A process of an ordinary user that leaves no core dump and waits on stdin; its id."""
    process = subprocess.Popen(
        [*ORDINARY, sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment()
    )
    try:
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None and core_limit(process.pid) != ["0", "0"]:
            assert time.monotonic() < end, "it may leave a core dump"
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def core_limit(pid: int) -> list[str]:
    """Soft and hard limit of the size of core dumps."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core file size")).split()[4:6]


def owner_of_memory(pid: int) -> int:
    """Root's when the process cannot be traced or dumped."""
    return Path(f"/proc/{pid}/mem").stat().st_uid


PROGRAM = (
    "import sys, n2s_core.cli as cli; cli._run = lambda _given: sys.stdin.read(); cli.main([])"
)
WORKER = "from n2s_core.app.worker import main; main()"
BARE = "import resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); sys.stdin.read()"


@pytest.mark.parametrize("code", [PROGRAM, WORKER], ids=["program", "worker"])
def test_no_other_process_of_the_user_looks_into_one_that_has_keys(
    as_root: None, code: str
) -> None:
    """A core dump, a debugger and /proc/PID/environ would show them."""
    with waiting(BARE) as pid:
        assert owner_of_memory(pid) == NOBODY, "this test would see no difference"
    with waiting(code) as pid:
        assert owner_of_memory(pid) == 0


@pytest.fixture
def ordinary(as_root: None) -> Iterator[Path]:
    """A folder of an ordinary user who can run n2s."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


def test_an_ordinary_user_pushes_and_restores(ordinary: Path) -> None:
    """Private processes reach their own descriptors below /proc all the same."""
    root, config = ordinary / "root", ordinary / "config.toml"
    made = (
        "import os, sys; os.makedirs('root/d'); open('root/d/f', 'w').write('x' * 9000);"
        "os.symlink('x', 'root/l'); os.link('root/d/f', 'root/h');"
        "os.setxattr('root/d', 'user.a', b'1')"
    )
    subprocess.run([*ORDINARY, sys.executable, "-c", made], cwd=ordinary, check=True)
    n2s("init", "-c", config, "--store", ordinary / "store", root, cwd=ordinary, user=ORDINARY)
    n2s("-c", config, "push", cwd=ordinary, user=ORDINARY)
    n2s("-c", config, "pull", "--target-path", ordinary / "p", cwd=ordinary, user=ORDINARY)
    assert describe(ordinary / "p") == describe(root)
    done = n2s("--json", "-c", config, "doctor", cwd=ordinary, user=ORDINARY)
    probes = {one["probe"]: one["verdict"] for one in json.loads(done.stdout)["probes"]}
    assert probes["permissions"] == probes["history"] == "ok"


def test_workers_do_not_get_the_passphrase() -> None:
    with WorkerPool(1, queue.SimpleQueue()) as pool:
        assert pool.submit(os.getenv, "N2S_PASSPHRASE").result() is None


def test_rclone_does_not_get_the_passphrase() -> None:
    assert clean_environment({"N2S_PASSPHRASE": PASSPHRASE, "HOME": "/h"}, None) == {"HOME": "/h"}


@pytest.mark.parametrize("options", [[], ["--json"], ["-v"]])
def test_a_bug_shows_no_secret(dataset: Dataset, options: list[str]) -> None:
    """A traceback names lines of code, and not what their variables hold."""
    program = (
        "import sys, n2s_core.app.pushing as it\n"
        "def broken(space, *_):\n"
        "    secret = space.master_key().hex()\n"
        "    raise RuntimeError(len(secret))\n"
        "it.push = broken\n"
        "from n2s_core.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *options, "-c", str(dataset.config), "push"],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "RuntimeError" in said
    assert ("Traceback" in said) == (options == ["-v"])
    assert PASSPHRASE not in said
    assert dataset.master_key().hex() not in said


# -- doctor --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["config", "catalogue", "key", "passphrase", "folder"])
def test_doctor_names_what_others_may_use(dataset: Dataset, what: str) -> None:
    places = {
        "config": dataset.config, "catalogue": dataset.catalogue, "folder": dataset.config.parent,
        "key": dataset.base / "key", "passphrase": dataset.base / "passphrase",
    }  # fmt: skip
    places["key"].write_text(key_file_text(dataset.master_key()))
    places["passphrase"].write_text(PASSPHRASE)
    for path in (places["key"], places["passphrase"]):
        path.chmod(0o600)
    with dataset.config.open("a") as file:
        file.write(f'[key]\nkey_file = "{places["key"]}"\n')
    passphrase_file = str(places["passphrase"])
    assert permissions(dataset, passphrase_file)["verdict"] == "ok"
    places[what].chmod(0o777 if what == "folder" else 0o640)
    found = permissions(dataset, passphrase_file)
    assert found["verdict"] == "warn"
    assert str(places[what]) in found["text"]


def permissions(dataset: Dataset, passphrase_file: str) -> dict[str, str]:
    done = n2s(
        "--json", "-c", dataset.config, "doctor", cwd=dataset.base,
        passphrase_file=passphrase_file,
    )  # fmt: skip
    probes: list[dict[str, str]] = json.loads(done.stdout)["probes"]
    return next(one for one in probes if one["probe"] == "permissions")
