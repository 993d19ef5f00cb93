"""The long-lived `rclone rcd` that all processes of a run share."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from n2s_core.errors import Unavailable
from n2s_core.stores.rclone_program import (
    SAFE_SOCKETS,
    Version,
    cannot_run,
    clean_environment,
    find_rclone,
    flags_of,
    judge_start,
    judge_version,
)
from n2s_core.stores.rclone_rc import LOCALHOST, RcClient
from n2s_core.stores.spec import TIMEOUT_S, RcloneAddress, RcloneOptions

NO_OPTIONS = RcloneOptions()
START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
SHORT_LIFE_S = 10.0
LONGEST_SOCKET_PATH = 100
_PREFIX = "n2s-rclone-"
_LOG_TAIL = 300

# Becomes rclone, after asking the kernel to end it together with the thread that started it.
_TRAMPOLINE = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_FLAGS = (
    "--rc-serve", "--ask-password=false", "--low-level-retries=3",
)  # fmt: skip
_LONGEST_SILENCE_S = 60.0
_LONGEST_GREETING_S = 15.0
_SERVING = re.compile(rf"on https://{re.escape(LOCALHOST)}:(\d+)/")


class RcloneProcess:
    """Runs `rclone rcd`; a context manager that gives the address, which other processes may use.

    It listens on a unix socket in a new folder of mode 0700 and asks for a random password. An
    old rclone that cannot do both listens on a port of 127.0.0.1 with TLS: others who reach the
    port do not know the password, and nobody else has the certificate, so that a process which
    takes the port of an rclone that died is told nothing. It ends with this process however
    that ends: the kernel signals it (PR_SET_PDEATHSIG) when the thread that started it is gone,
    so that thread stays to watch it. A process that dies is started again at the same address;
    one that dies twice within `SHORT_LIFE_S` of its start is given up, and the stores say
    Unavailable.
    """

    def __init__(
        self, options: RcloneOptions = NO_OPTIONS, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`timeout_s`: rclone itself gives a silent connection up before that, to try another."""
        self._binary = find_rclone()
        self._flags = [
            f"--timeout={min(_LONGEST_SILENCE_S, timeout_s / 2):g}s",
            f"--contimeout={min(_LONGEST_GREETING_S, timeout_s / 2):g}s",
            *flags_of(options),
        ]
        self._owner_pid = os.getpid()
        self._keeper: _Keeper | None = None

    def __enter__(self) -> RcloneAddress:
        """Start rclone.

        Raises Refused when it is too old, UsageError for an option that it does not know,
        Unavailable when it does not start.
        """
        self._folder = _private_folder()
        self._lock = _lock(self._folder)
        spool = self._folder / "spool"
        spool.mkdir(mode=0o700)
        self.address = RcloneAddress(
            str(self._folder / "s"), str(spool), "n2s", os.urandom(16).hex()
        )
        self._listen = [f"--rc-addr=unix://{self.address.socket}", "--quiet"]
        try:
            if self._start() < SAFE_SOCKETS:
                self._end()
                self._use_port()
                self._start()
        except BaseException:
            self._stop()
            raise
        return self.address

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End rclone and remove its folder; in a forked child nothing happens."""
        if os.getpid() == self._owner_pid:
            self._stop()

    @property
    def pid(self) -> int | None:
        """The process id of the rclone that runs now."""
        process = None if self._keeper is None else self._keeper.process
        return None if process is None else process.pid

    def _use_port(self) -> None:
        """Listen on a free port; what is said at the start tells which one it is."""
        from n2s_core.stores.rclone_certificate import (  # noqa: PLC0415 - only old ones need it
            write_certificate,
        )

        certificate = write_certificate(str(self._folder))
        self.address = replace(self.address, certificate=certificate)
        self._listen = [
            f"--rc-addr={LOCALHOST}:0",
            f"--rc-cert={self._folder}/cert.pem",
            f"--rc-key={self._folder}/key.pem",
        ]

    def _start(self) -> Version:
        """Start it and wait until it answers; the version of one that has no unix sockets."""
        self._keeper = _Keeper(self._spawn)
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self._keeper.has_ended():
                return self._explain_end()
            if self._is_listening():
                client = RcClient(self.address)
                with suppress(Unavailable):
                    found = client.call("core/version", {}, limit_s=START_LIMIT_S).json()
                    version = judge_version(str(found.get("version")), self._binary)
                    judge_start(client.call("config/listremotes", {}, limit_s=START_LIMIT_S).error)
                    client.close()
                    self._keeper.restarts = True
                    return version
            time.sleep(0.004)
        message = f"{self._binary} was not ready within {START_LIMIT_S:.0f} seconds."
        raise Unavailable(message)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        Path(self.address.socket).unlink(missing_ok=True)
        command = [self._binary, "rcd", *self._listen, *_FLAGS, *self._flags]
        with (self._folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(self._owner_pid), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=clean_environment(os.environ, self.address),
                umask=0o077,
                start_new_session=True,
            )

    def _is_listening(self) -> bool:
        """Whether the address is complete; the port is kept for the next start."""
        if not self.address.certificate:
            return Path(self.address.socket).exists()
        found = _SERVING.search(self._log())
        if found is None:
            return False
        self.address = replace(self.address, port=int(found[1]))
        self._listen[0] = f"--rc-addr={LOCALHOST}:{found[1]}"
        return True

    def _explain_end(self) -> Version:
        """The version, when it ended because it has no unix sockets; otherwise raises why."""
        log = self._log().strip()
        judge_start(log)
        try:
            done = subprocess.run(
                [self._binary, "version"], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=START_LIMIT_S, check=False, env=clean_environment(os.environ, None),
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise cannot_run(self._binary, error) from error
        version = judge_version(done.stdout.decode("utf-8", "replace"), self._binary)
        if version < SAFE_SOCKETS and not self.address.certificate:
            return version
        message = f"{self._binary} ended at once: {log[-_LOG_TAIL:] or 'it says nothing'}"
        raise Unavailable(message)

    def _log(self) -> str:
        try:
            return (self._folder / "log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()

    def _stop(self) -> None:
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


class _Keeper:
    """A thread that starts a process, watches it, and outlives it.

    `restarts` says whether a process that ended is started again; it is set when the first one
    has answered.
    """

    def __init__(self, spawn: "Callable[[], subprocess.Popen[bytes]]") -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = False
        self._spawn = spawn
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="rclone-keeper", daemon=True)
        self._thread.start()

    def has_ended(self) -> bool:
        """Whether nothing runs, and nothing will."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the process and wait for it."""
        self._closing.set()
        if self.process is not None:
            self.process.terminate()
        self._thread.join(STOP_LIMIT_S)
        if self._thread.is_alive() and self.process is not None:
            self.process.kill()
            self._thread.join(STOP_LIMIT_S)

    def _keep(self) -> None:
        short_lives = 0
        while not self._closing.is_set():
            started_s = time.monotonic()
            try:
                self.process = self._spawn()
            except OSError:
                return
            if self._closing.is_set():
                self.process.terminate()
            self.process.wait()
            if not self.restarts:
                return
            short_lives = short_lives + 1 if time.monotonic() - started_s < SHORT_LIFE_S else 0
            if short_lives > 1:
                return


def _private_folder() -> Path:
    """A new folder of mode 0700 whose path is short enough for a socket."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) + len(_PREFIX) + 11 > LONGEST_SOCKET_PATH:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there
    _sweep(Path(parent))
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove what owners that were killed left behind: folders of ours whose lock is free."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if folder.lstat().st_uid != os.getuid() or not (folder / "lock").exists():
                continue
            descriptor = _lock(folder)
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
