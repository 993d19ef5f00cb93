"""The `btrfs` program as typed functions."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import sh

from n2s_core.errors import DiscoveryError
from n2s_core.relpath import show as show_path

LIMIT_S = 300
TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Subvolume:
    """What `btrfs subvolume show` says. `within`: its path from the top of the filesystem."""

    within: bytes
    uuid: str
    read_only: bool


def _run(*arguments: str | bytes) -> bytes:
    """The output of `btrfs ARGUMENTS`. Raises DiscoveryError with what it says.

    The time limit is that of coreutils: with one of its own, `sh` looks ten times a second only.
    """
    limit = sh.Command("timeout").bake("--kill-after=10", str(LIMIT_S), _program())
    try:
        done = limit(*_words(arguments), _tty_out=False, _return_cmd=True, _encoding="latin-1")
    except sh.ErrorReturnCode as error:
        if error.exit_code == TIMED_OUT:
            message = f"btrfs {_shown(arguments)} did not end within {LIMIT_S} s."
            raise DiscoveryError(message) from None
        raise DiscoveryError(_failed(arguments, error.stderr)) from None
    return bytes(done.stdout)


def _program() -> str:
    found = shutil.which("btrfs") or shutil.which("btrfs", path="/usr/sbin:/sbin")
    if found is None:
        message = "The program btrfs is not installed; install btrfs-progs."
        raise DiscoveryError(message)
    return found


def _words(arguments: tuple[str | bytes, ...]) -> list[str]:
    """As `sh` wants them: it encodes them again, and with latin-1 all bytes stay what they were."""
    return [os.fsencode(one).decode("latin-1") for one in arguments]


def _shown(arguments: tuple[str | bytes, ...]) -> str:
    return " ".join(show_path(os.fsencode(one)) for one in arguments)


def _failed(arguments: tuple[str | bytes, ...], said: bytes) -> str:
    reason = " ".join(said.decode(errors="replace").split()) or "it does not say why"
    return f"btrfs {_shown(arguments)} failed: {reason}."


def show(path: bytes) -> Subvolume:
    """The subvolume whose root is `path`. Raises DiscoveryError when there is none."""
    lines = _run("subvolume", "show", path).split(b"\n")
    facts: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.strip().partition(b":")
        if colon:
            facts.setdefault(name, value.strip())
    uuid = facts.get(b"UUID", b"").decode(errors="replace")
    if not uuid or uuid == "-":
        message = f"btrfs does not say which subvolume {os.fsdecode(path)} is."
        raise DiscoveryError(message)
    return Subvolume(lines[0], uuid, b"readonly" in facts.get(b"Flags", b""))


def nested(path: bytes) -> list[bytes]:
    """Paths, from the top of the filesystem, of the subvolumes below the one at `path`."""
    found = []
    for line in _run("subvolume", "list", "-o", path).split(b"\n"):
        _, mark, name = line.partition(b" path ")
        if mark:
            found.append(name)
    return found


def snapshot(source: bytes, target: bytes) -> None:
    """Take a read-only snapshot. Raises DiscoveryError."""
    _run("subvolume", "snapshot", "-r", source, target)


def delete(path: bytes) -> None:
    """Remove a subvolume. Raises DiscoveryError."""
    _run("subvolume", "delete", path)


@contextmanager
def send(base: bytes, path: bytes) -> Iterator[IO[bytes]]:
    """The stream from the snapshot `base` to the snapshot `path`, without data.

    Raises DiscoveryError when it is left after btrfs failed.
    """
    arguments = ("-q", "send", "--no-data", "-p", base, path)
    send_it = sh.Command(_program())
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=1 << 20) as stream:
        with open(writing, "wb", buffering=0) as output:
            process = send_it(
                *_words(arguments), _out=output, _bg=True, _bg_exc=False, _encoding="latin-1"
            )
        try:
            yield stream
        except BaseException:
            if process.is_alive():
                process.kill()
            raise
        stream.read()
        try:
            process.wait()
        except sh.ErrorReturnCode as error:
            raise DiscoveryError(_failed(arguments, error.stderr)) from None
