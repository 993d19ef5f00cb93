"""The text of a configuration: as `init` writes it, and with another catalogue."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from n2s_core.errors import ConfigError

_HEADING = re.compile(r"\s*\[")
_CATALOGUE = re.compile(r"\s*\[\s*catalogue\s*\]\s*(#.*)?")
_URL = re.compile(r"\s*url\s*=")


def to_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a configuration: strings, numbers, booleans, lists, tables, lists of tables."""
    lines = ["# Written by 'n2s init'; docs/configuration.md explains every key."]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        nested = []
        for key, value in table.items():
            if isinstance(value, Mapping):
                nested.append((f"[{name}.{key}]", value))
            elif isinstance(value, list) and value and isinstance(value[0], Mapping):
                nested.extend((f"[[{name}.{key}]]", one) for one in value)
            else:
                lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        for heading, inner in nested:
            lines += ["", heading]
            lines += [
                f"{json.dumps(one)} = {json.dumps(what, ensure_ascii=False)}"
                for one, what in inner.items()
            ]
    return "\n".join(lines) + "\n"


def with_catalogue(text: str, url: str) -> str:
    """The text with another `[catalogue] url`, and all else as it was. Raises ConfigError."""
    line = f"url = {json.dumps(url, ensure_ascii=False)}"
    lines = text.removesuffix("\n").split("\n")
    heading = next((at for at, one in enumerate(lines) if _CATALOGUE.fullmatch(one)), None)
    if heading is None:
        lines += ["", "[catalogue]", line]
    else:
        after = range(heading + 1, len(lines))
        end = next((at for at in after if _HEADING.match(lines[at])), len(lines))
        own = [at for at in range(heading + 1, end) if _URL.match(lines[at])]
        if own:
            lines[own[0]] = line
        else:
            lines.insert(heading + 1, line)
    made = "\n".join(lines) + "\n"
    wanted = tomllib.loads(text)
    wanted["catalogue"] = {**wanted.get("catalogue", {}), "url": url}
    if _parsed(made) != wanted:
        message = (
            "The configuration is written in a way that is not changed by a program. Write this"
            f" into its table [catalogue]: {line}"
        )
        raise ConfigError(message)
    return made


def _parsed(text: str) -> object:
    """None when it is no TOML."""
    try:
        text.encode()
        return tomllib.loads(text)
    except ValueError:
        return None


def write_text(path: Path, text: str) -> None:
    """Put a text in the place of the configuration at a path, with its owner and its mode."""
    path = path.resolve()
    was = path.stat()
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as file:
        os.fchown(fd, was.st_uid, was.st_gid)
        os.fchmod(fd, was.st_mode & 0o7777)
        file.write(text.encode())
        file.flush()
        os.fsync(fd)
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
