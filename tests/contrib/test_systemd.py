"""The units of contrib/systemd: sound for systemd, and their command does what they promise."""

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE, REPOSITORY, missing
from tests.contrib.hooks import Hooks, commands, prepared, stored

UNITS = REPOSITORY / "contrib" / "systemd"
README = (UNITS / "README.md").read_text()
SERVICE, TIMER = UNITS / "n2s@.service", UNITS / "n2s@.timer"
NAMES = [
    b"data",
    b"my data",
    b"dash-and%percent",
    "grüße".encode(),
    b'quote\'s "$HOME"',
    b"back\\slash",
]
OWN_MOUNTS_OR_DEVICES = (
    "BindPaths", "BindReadOnlyPaths", "DeviceAllow", "DevicePolicy", "InaccessiblePaths",
    "PrivateDevices", "PrivateMounts", "PrivateTmp", "PrivateUsers", "ProtectClock",
    "ProtectControlGroups", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables",
    "ProtectProc", "ProtectSystem", "ReadOnlyPaths", "ReadWritePaths", "RootDirectory",
    "TemporaryFileSystem",
)  # fmt: skip


def unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(path.read_text())
    return found


def escaped(path: str, *how: str) -> str:
    if shutil.which("systemd-escape") is None:
        missing("This test needs systemd.")
    command = ["systemd-escape", *how, "--path", "--", path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout[:-1]


def expanded(text: str, instance: str, credentials: Path) -> str:
    """What systemd puts for the specifiers of the service."""
    values = {"f": escaped(instance, "--unescape"), "d": str(credentials), "h": "/root", "%": "%"}
    first, *pieces = text.split("%")
    return first + "".join(values[piece[0]] + piece[1:] for piece in pieces)


def start(
    hooks: Hooks, root: Path, *, passphrase: str = PASSPHRASE, code: int = 0
) -> tuple[str, str]:
    """Run the service as systemd would: words, then specifiers; no environment of ours."""
    service = unit(SERVICE)["Service"]
    instance = escaped(str(root))
    loaded, _, _ = service["LoadCredential"].partition(":")
    credentials = hooks.base / "credentials"
    credentials.mkdir(exist_ok=True)
    if passphrase:
        (credentials / loaded).write_text(passphrase + "\n")
    environment = {
        "PATH": f"{hooks.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": hooks.environment()["PYTHONPATH"],
    }
    for word in shlex.split(service["Environment"]):
        name, _, value = word.partition("=")
        environment[name] = expanded(value, instance, credentials)
    command = [expanded(word, instance, credentials) for word in shlex.split(service["ExecStart"])]
    kept = ",".join("+" + one.removeprefix("CAP_").lower() for one in capabilities())
    confined = ["setpriv", "--no-new-privs", f"--bounding-set=-all,{kept}", "--"]
    done = subprocess.run(
        [*(confined if os.geteuid() == 0 else []), *command],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def capabilities() -> list[str]:
    return unit(SERVICE)["Service"]["CapabilityBoundingSet"].split()


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_the_units(hooks: Hooks, tmp_path: Path, name: bytes) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("This test needs systemd.")
    folder = tmp_path / "units"
    folder.mkdir()
    install = commands(README, "install -m 644").split("\n")[0]
    install = install.replace("/etc/systemd/system/", f"'{folder}'")
    subprocess.run(["sh", "-ec", install], cwd=REPOSITORY, check=True)
    service = folder / SERVICE.name
    text = service.read_text().replace("ExecStart=n2s", f"ExecStart={hooks.bin}/n2s")
    service.write_text(text)
    instance = escaped("/srv/" + os.fsdecode(name))
    wanted = [f"n2s@{instance}.service", f"n2s@{instance}.timer"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *wanted],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_the_service_pushes_the_path_that_its_instance_names(
    hooks: Hooks, tmp_path: Path, name: bytes
) -> None:
    data = prepared(tmp_path / "n2s", Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    (data.root / "file").write_text("one")
    out, err = start(hooks, data.root)
    assert out.startswith("changeset ")
    assert err == ""
    assert "file" in stored(data)


def test_what_the_service_may_do_is_enough_for_btrfs(
    hooks: Hooks, tmp_path: Path, btrfs: Path
) -> None:
    root = btrfs / "data"
    subprocess.run(["btrfs", "-q", "subvolume", "create", root], check=True)
    data = prepared(tmp_path / "n2s", root, "btrfs")
    (root / "file").write_text("one")
    (root / "file").chmod(0)
    os.chown(root / "file", 1000, 1000)
    os.chown(root, 1000, 1000)
    assert "changeset" in start(hooks, root)[0]
    (root / "more").write_text("two")
    out, err = start(hooks, root)
    assert "1 written" in out
    assert err == ""
    assert stored(data) == {"file", "more", ".n2s/config.toml"}


def test_without_its_capabilities_btrfs_would_refuse(
    hooks: Hooks, tmp_path: Path, btrfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = btrfs / "data"
    subprocess.run(["btrfs", "-q", "subvolume", "create", root], check=True)
    prepared(tmp_path / "n2s", root, "btrfs")
    less = [one for one in capabilities() if one != "CAP_SYS_ADMIN"]
    monkeypatch.setattr("tests.contrib.test_systemd.capabilities", lambda: less)
    assert "not permitted" in start(hooks, root, code=2)[1]


def test_without_a_passphrase_the_service_fails(hooks: Hooks, tmp_path: Path) -> None:
    data = prepared(tmp_path / "n2s", tmp_path / "data")
    assert "n2s-passphrase" in start(hooks, data.root, passphrase="", code=2)[1]
    assert "passphrase" in start(hooks, data.root, passphrase="wrong", code=2)[1]
    assert stored(data) == set()


def test_a_path_that_was_not_prepared_is_a_failure(hooks: Hooks, tmp_path: Path) -> None:
    assert str(tmp_path) in start(hooks, tmp_path, code=2)[1]


def test_the_service_sees_the_mounts_and_devices_of_the_machine() -> None:
    assert not set(unit(SERVICE)["Service"]) & set(OWN_MOUNTS_OR_DEVICES)


def test_the_timer_makes_up_for_a_machine_that_was_off() -> None:
    timer = unit(TIMER)
    assert timer["Timer"]["Persistent"] == "yes"
    assert "RandomizedDelaySec" in timer["Timer"]
    assert timer["Install"]["WantedBy"] == "timers.target"
