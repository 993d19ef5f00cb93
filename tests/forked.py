"""Commands of n2s in processes of their own that begin at once.

A process that has imported all of n2s forks for each command, which saves the third of a second
that every start takes. As a program it is that process: it ends when its standard input does.
"""

import atexit
import gc
import os
import pickle
import pkgutil
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

ALSO = ("pyfastcdc", "psycopg", "alembic", "sqlalchemy", "tests.cheap_keys")
NOT_IMPORTED = ("n2s_core.testing", "n2s_core.app.dask", "n2s_core.__main__")
REQUEST_BYTES = 1 << 20
CHANGES_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "N2S_CRASH")
"""Variables that are read when an interpreter starts, or a module is imported."""


def fits(environment: Mapping[str, str]) -> bool:
    """Whether a command in this environment may be forked, as far as the environment goes."""
    own = {**os.environ, "PYTHONPATH": environment.get("PYTHONPATH", "")}
    return all(
        environment.get(name) == own.get(name)
        for name in {*environment, *own}
        if name.startswith(CHANGES_THE_START)
    )


def run(
    words: Sequence[bytes],
    *,
    module: str,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: bytes,
    limit_s: float,
) -> "subprocess.CompletedProcess[bytes]":
    """Run `python -m module words` and wait for its end. Raises TimeoutExpired."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin)
        given.seek(0)
        connection.connect(_server()[0])
        request = pickle.dumps((list(words), module, str(cwd), dict(environment)))
        socket.send_fds(connection, [request], [given.fileno(), out.fileno(), err.fileno()])
        pid = int(connection.recv(100))
        connection.settimeout(limit_s)
        try:
            code = int(connection.recv(100))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), limit_s) from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(words), code, out.read(), err.read())


@cache
def _server() -> "tuple[str, subprocess.Popen[bytes]]":
    """Where it listens, and what would end it; one for each process of the tests."""
    folder = tempfile.mkdtemp(prefix="n2s-forked-")
    path = os.path.join(folder, "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path, process


# -- the process that forks ---------------------------------------------------------------------


def _serve(path: str) -> None:
    import n2s_core  # noqa: PLC0415 - the tests need not

    for found in pkgutil.walk_packages(n2s_core.__path__, "n2s_core."):
        if not found.name.startswith(NOT_IMPORTED):
            import_module(found.name)
    for name in ALSO:
        import_module(name)
    gc.collect()
    gc.freeze()  # or each child would copy what its collector touches
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen()
    os.write(1, b"ready\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([0, listening.fileno()], [], [])
        if 0 in readable:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))
            return
        connection, _ = listening.accept()
        if not os.fork():
            listening.close()
            _answer(connection)
            return
        connection.close()


def _answer(connection: socket.socket) -> None:
    """In a process of its own; in another one again it becomes the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
    words, module, cwd, environment = pickle.loads(message)  # noqa: S301 - from the tests
    pid = os.fork()
    if not pid:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _become(words, module, cwd, environment)
        return
    connection.send(b"%d" % pid)
    _, status = os.waitpid(pid, 0)
    connection.send(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(words: list[bytes], module: str, cwd: str, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    random.seed()
    sys.argv = [module, *map(os.fsdecode, words)]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as an interpreter opens it
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - same
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if module == "tests.cheap_keys":
        from tests.cheap_keys import make_cheap  # noqa: PLC0415 - imported already

        make_cheap(setattr)
    from n2s_core.cli import main  # noqa: PLC0415 - imported already

    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as an interpreter shows it
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # taking apart all that was imported would take longer than most commands


if __name__ == "__main__":
    _serve(sys.argv[1])
