"""A PostgreSQL of our own: own data, own socket, own port, nothing of the machine's."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tests.conftest import missing
from tests.servers.running import Server, free_port

USER = "postgres"
DATABASE = "n2s_tests"
_HASTY = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
_NUMBERS = count(1)


@dataclass(frozen=True)
class Postgresql:
    """A running server. Connections come over a socket, as a user without a password."""

    folder: Path
    port: int
    server: Server

    def url(self, schema: str | None = None, *, user: str = USER) -> str:
        """The address of a catalogue; of a new one when no schema is named."""
        schema = schema or f"test_{next(_NUMBERS)}"
        place = f"host={quote(str(self.folder), safe='')}&port={self.port}"
        return f"postgresql+psycopg://{user}@/{DATABASE}?{place}&schema={schema}"

    def connect(self, database: str = DATABASE) -> "psycopg.Connection[tuple[Any, ...]]":
        """As an administrator; every statement is a transaction."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True
        )

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its answer."""
        with self.connect() as db:
            cursor = db.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = shutil.which("postgres") or (str(found[-1]) if found else None)
    if program is None:
        missing("There is no PostgreSQL here; install postgresql.")
    return Path(program).parent


def _as_user(command: Sequence[object]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    words = [str(one) for one in command]
    if os.geteuid() != 0:
        return words
    user = ["--reuid", USER, "--regid", USER, "--init-groups", "--pdeathsig", "KILL"]
    return ["setpriv", *user, "--", *words]


@contextmanager
def postgresql(*, careful: bool = False, encoding: str = "UTF8") -> Iterator[Postgresql]:
    """Runs until the context ends. A `careful` one writes to the disk what it confirms."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="n2s-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        command = [programs / "initdb", "--pgdata", folder / "data", "--auth", "trust"]
        command += ["--username", USER, "--encoding", encoding, "--locale", "C", "--no-sync"]
        subprocess.run(_as_user(command), check=True, stdout=subprocess.DEVNULL, cwd="/")
        port = free_port()
        settings = {"listen_addresses": "", "unix_socket_directories": str(folder)}
        settings |= {"max_connections": "200"} | ({} if careful else _HASTY)
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        command = [programs / "postgres", "-D", folder / "data", "-p", port, *words]

        def is_ready() -> bool:
            try:
                psycopg.connect(host=str(folder), port=port, user=USER, dbname="template1").close()
            except psycopg.OperationalError:
                return False
            return True

        with Server(_as_user(command), folder, is_ready) as server:
            made = Postgresql(folder, port, server)
            with made.connect("template1") as db:
                db.execute(f"CREATE DATABASE {DATABASE}")
            yield made
