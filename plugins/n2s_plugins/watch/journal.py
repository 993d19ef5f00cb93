"""The journal: which paths changed, and when it was recording without a gap.

A small SQLite file below `.n2s` of the root. The recorder alone writes it. A path stands in it
once, with the position of its last change, so a storm of writes to a file takes one row. Nothing
is synced to the disk: whatever stops the machine also ends the session, and no mark of an ended
session is ever believed.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from n2s_core.clock import iso, now_ns
from n2s_core.errors import DiscoveryError
from n2s_core.relpath import RelPath, ancestors, below

OWN_FOLDER = b".n2s"
_FILE = "journal.db"
_PAGE_ROWS = 1000
_WAIT_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes
    (path BLOB PRIMARY KEY, subtree INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS linked
    (inode TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions
    (no INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, began_ns INTEGER NOT NULL,
     ended_ns INTEGER, why TEXT);
"""
_KEPT_SESSIONS = 100


def folder_of(root: bytes, dataset: str) -> bytes:
    """Where the recorder of a dataset keeps its things."""
    name = hashlib.blake2b(dataset.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return root.rstrip(b"/") + b"/" + OWN_FOLDER + b"/watch-" + name.encode()


def _path(folder: bytes) -> str:
    return os.path.join(os.fsdecode(folder), _FILE)


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a session: all changes up to `position` are in the journal."""

    session: str
    position: int


class Journal:
    """The recorder's side. Used by one thread; a context manager that closes it."""

    def __init__(self, folder: bytes) -> None:
        """Open or make it; one that is damaged is made anew. Raises sqlite3.Error."""
        path = _path(folder)
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # no place, no permission
                raise
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + ending)
            self._db = _opened(path)

    def __enter__(self) -> "Journal":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._db.close()

    def begin(self, session: str) -> None:
        """A session begins: what was recorded before is of no use to anyone."""
        with self._transaction():
            self._db.execute("DELETE FROM changes")
            self._db.execute("DELETE FROM linked")
            self._db.execute(
                "INSERT INTO sessions (session, began_ns) VALUES (?, ?)", (session, now_ns())
            )
            self._db.execute(
                "DELETE FROM sessions WHERE no <= (SELECT max(no) FROM sessions) - ?",
                (_KEPT_SESSIONS,),
            )

    def end(self, session: str, why: str) -> None:
        """A session ends because of `why`, half a sentence."""
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET ended_ns = ?, why = ? WHERE session = ? AND ended_ns IS NULL",
                (now_ns(), why, session),
            )

    def add(
        self, changes: Iterable[tuple[RelPath, bool]], linked: Iterable[int], position: int
    ) -> None:
        """Paths that changed (True: and everything below), and inodes that got another name."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO changes (path, subtree, position) VALUES (?, ?, ?)"
                " ON CONFLICT (path) DO UPDATE SET position = excluded.position,"
                " subtree = max(subtree, excluded.subtree)",
                ((path, subtree, position) for path, subtree in changes),
            )
            self._db.executemany(
                "INSERT INTO linked (inode, position) VALUES (?, ?)"
                " ON CONFLICT (inode) DO UPDATE SET position = excluded.position",
                ((str(inode), position) for inode in linked),
            )

    def forget(self, position: int) -> None:
        """Drop what changed last at or before a position that was confirmed."""
        with self._transaction():
            self._db.execute("DELETE FROM changes WHERE position <= ?", (position,))
            self._db.execute("DELETE FROM linked WHERE position <= ?", (position,))

    def gap_since(self, session: str) -> str:
        """Why nobody knows what changed since that session: half a sentence."""
        found = self._db.execute(
            "SELECT ended_ns, why FROM sessions WHERE session = ?", (session,)
        ).fetchone()
        if found is None or found[0] is None:
            return "the recording that the push before relied on was cut off"
        return f"the recording that the push before relied on ended at {iso(found[0])}: {found[1]}"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_SCHEMA)
        database.execute("SELECT count(*), max(session) FROM sessions").fetchone()
    except BaseException:
        database.close()
        raise
    return database


class Reading:
    """The discoverer's side: what changed since a point of the session that is recorded now.

    Raises DiscoveryError when the journal cannot be read.
    """

    def __init__(self, folder: bytes, since: Point) -> None:
        """Nothing is opened yet."""
        self._path = Path(_path(folder))
        self._since = since

    def is_more_than(self, limit: int) -> bool:
        """Whether more paths than that changed."""
        query = "SELECT count(*) FROM (SELECT 1 FROM changes WHERE position > ? LIMIT ?)"
        with self._opened() as database, _reported():
            rows = database.execute(query, (self._since.position, limit + 1)).fetchone()
        return bool(rows[0] > limit)

    def linked(self) -> set[int]:
        """Inodes that got another name, which may be gone again."""
        query = "SELECT inode FROM linked WHERE position > ?"
        with self._opened() as database, _reported():
            rows = database.execute(query, (self._since.position,)).fetchall()
        return {int(inode) for (inode,) in rows}

    def changes(self) -> Iterator[tuple[RelPath, bool]]:
        """Each path once, in byte order; True: and everything below.

        Raises DiscoveryError also when the session ends meanwhile, since what it recorded is
        dropped then.
        """
        after: RelPath | None = None
        with self._opened() as database:
            while True:
                page = self._page(database, after)
                for path, subtree in page:
                    yield path, bool(subtree)
                if len(page) < _PAGE_ROWS:
                    return
                after = page[-1][0]

    def names(self, path: RelPath) -> bool:
        """Whether the path, something below it, or all below a directory above it changed."""
        first, last = below(path)
        above = ancestors(path)
        query = (
            "SELECT EXISTS (SELECT 1 FROM changes WHERE position > ? AND (path = ?"  # noqa: S608
            " OR (path >= ? AND (? IS NULL OR path < ?))"
            f" OR (subtree AND path IN ({', '.join('?' * len(above))}))))"
        )
        with self._opened() as database, _reported():
            values = (self._since.position, path, first, last, last, *above)
            return bool(database.execute(query, values).fetchone()[0])

    def _page(
        self, database: sqlite3.Connection, after: RelPath | None
    ) -> list[tuple[RelPath, int]]:
        query = (
            "SELECT path, subtree FROM changes WHERE position > ? AND (? IS NULL OR path > ?)"
            " ORDER BY path LIMIT ?"
        )
        with _reported():
            database.execute("BEGIN")
            now = database.execute(
                "SELECT session FROM sessions WHERE ended_ns IS NULL ORDER BY no DESC LIMIT 1"
            ).fetchone()
            page = database.execute(
                query, (self._since.position, after, after, _PAGE_ROWS)
            ).fetchall()
            database.execute("COMMIT")
        if now is None or now[0] != self._since.session:
            message = "The recording was interrupted while its journal was read."
            raise DiscoveryError(message)
        return page

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with _reported():
            database = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None
            )
        with closing(database):
            yield database


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """A journal that cannot be read is an answer that cannot be had."""
    try:
        yield
    except sqlite3.Error as error:
        message = f"The journal of changes cannot be read: {error}."
        raise DiscoveryError(message) from error
