"""Which files of a dataset others could read or replace."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from n2s_core.catalogue_address import files_of
from n2s_core.config import Config

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITE = stat.S_IWGRP | stat.S_IWOTH


def exposed(config: Config) -> list[str]:
    """One sentence for each file or folder whose permissions say more than 0600 or 0700."""
    found = [_file(path, why) for path, why in _secrets(config)]
    folders = {path.parent for path in (config.path, *files_of(config.catalogue_address))}
    found += [_folder(folder) for folder in sorted(folders)]
    return [sentence for sentence in found if sentence]


def _secrets(config: Config) -> Iterator[tuple[Path, str]]:
    yield config.path, "it names the store, and may name a command that n2s runs"
    for path in files_of(config.catalogue_address):
        yield path, "it has the name of every file"
    variable = os.environ.get("N2S_PASSPHRASE_FILE", "")
    for text in (config.key.key_file, config.key.passphrase_file, variable):
        if text:
            yield Path(text).expanduser(), "whoever reads it can open the store"


def _file(path: Path, why: str) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(mode) or not mode & _OTHERS:
        return ""
    return f"Others may use {path} (mode {stat.S_IMODE(mode):04o}): {why}; chmod 600 it."


def _folder(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return ""
    if not mode & _WRITE or mode & stat.S_ISVTX:
        return ""
    return f"Others may replace what is in {path} (mode {stat.S_IMODE(mode):04o}); chmod 700 it."
