"""The recorder: a thread that writes what changes into the journal, and answers pushes."""

import os
import select
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from n2s_core.errors import DiscoveryError
from n2s_core.relpath import RelPath
from n2s_plugins.watch.calls import Answer, Desk, Question
from n2s_plugins.watch.journal import Journal, Point
from n2s_plugins.watch.limits import count_directories, too_few_watches
from n2s_plugins.watch.mounts import Mounts
from n2s_plugins.watch.watches import CannotWatch, Changes, Gap, TooFewWatches, Watches

RETRY_S = 600.0  # after a trouble, whose reason may take a walk of the tree to find out
_LOOKS = 64  # directories between two readings of the queue
_MOST_LOOKS = 20_000  # while somebody waits for an answer; what is left is named by the next one
_STOPPED = "n2s watch was stopped"


class Recorder:
    """Records until it is stopped. Its public methods may be called from any thread.

    A session is a time without a gap. After a gap a new one begins once every directory is
    watched; while one cannot be, `trouble` is the sentence that says why.
    """

    def __init__(
        self,
        root: bytes,
        folder: bytes,
        leaves_out: Callable[[RelPath], bool],
        ignores: Callable[[RelPath], bool],
    ) -> None:
        """Nothing happens yet."""
        self.trouble: str | None = None
        self._root = root
        self._folder = folder
        self._leaves_out = leaves_out
        self._ignores = ignores
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopped = False
        self._doubt: str | None = None
        self._died: BaseException | None = None
        self._news = threading.Event()
        self._settled = threading.Event()
        self._watches: Watches | None = None
        self._session: str | None = None
        self._position = 0
        self._dropped = 0
        self._retry_at = 0.0
        self._callers: list[Question] = []

    # -- for the other threads -----------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator["Recorder"]:
        """Record until the context ends; it begins when the first session has, or cannot."""
        self._thread.start()
        try:
            self._settled.wait()
            self._news.clear()
            self._raise_death()
            yield self
        finally:
            self._stopped = True
            os.write(self._wake_w, b"s")
            self._thread.join()
            os.close(self._wake_w)
            os.close(self._wake_r)

    def wait(self, timeout_s: float) -> bool:
        """Until something changes, or has since the last call; False when nothing does."""
        found = self._news.wait(timeout_s)
        self._news.clear()
        self._raise_death()
        return found

    def doubt(self, why: str) -> None:
        """Begin anew, as after a gap; the next discovery looks at the whole tree."""
        self._doubt = why
        os.write(self._wake_w, b"d")

    def _raise_death(self) -> None:
        if self._died is not None:
            message = f"The recording of changes ended: {self._died!r}."
            raise DiscoveryError(message) from self._died

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                desk = Desk(self._folder)
                stack.callback(desk.close)
                mounts = Mounts(self._root, self._leaves_out)
                stack.callback(mounts.close)
                journal = stack.enter_context(Journal(self._folder))
                stack.callback(self._give_up_watches)
                while not self._stopped:
                    self._serve(desk, mounts, journal)
                self._end(journal, _STOPPED)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._died = error
        finally:
            for caller in self._callers:
                caller.connection.close()
            self._settled.set()
            self._news.set()

    def _serve(self, desk: Desk, mounts: Mounts, journal: Journal) -> None:
        """Wait for something to do, and do it.

        Who asks is heard after everything that was in the queue when they called was recorded.
        """
        ready = self._ready(desk, mounts)
        asked = desk.fd in ready
        try:
            self._look_for_gap(mounts, ready)
            if self._watches is None and time.monotonic() >= self._retry_at:
                self._watches = Watches(self._root, self._leaves_out, self._ignores)
            if self._watches is not None:
                self._record(self._watches, journal, everything=asked)
            if asked:
                self._callers.extend(desk.receive())
            self._answer(journal)
        except Gap as gap:
            self._give_up_watches()
            self._end(journal, str(gap))
        except CannotWatch as error:
            self._give_up_watches()
            self._end(journal, "a directory could not be watched")
            self._be_in_trouble(self._reason(error))
        except sqlite3.Error as error:
            self._give_up_watches()
            self._session = None
            self._be_in_trouble(f"The journal of changes cannot be written: {error}.")

    def _ready(self, desk: Desk, mounts: Mounts) -> set[int]:
        poller = select.poll()
        poller.register(desk.fd, select.POLLIN)
        poller.register(mounts.fd, select.POLLPRI)
        poller.register(self._wake_r, select.POLLIN)
        patience_ms: float | None = None
        if self._watches is None:
            patience_ms = max(0.0, self._retry_at - time.monotonic()) * 1000
        else:
            poller.register(self._watches.queue.fd, select.POLLIN)
            if self._watches.due or self._session is None:
                patience_ms = 0.0
        return {fd for fd, _ in poller.poll(patience_ms)}

    def _look_for_gap(self, mounts: Mounts, ready: set[int]) -> None:
        if self._wake_r in ready:
            os.read(self._wake_r, select.PIPE_BUF)
        why, self._doubt = self._doubt, None
        if mounts.fd in ready and mounts.have_changed():
            why = "what is mounted at or below the root has changed"
        if why is not None:
            self._retry_at = 0.0
            raise Gap(why)

    def _record(self, watches: Watches, journal: Journal, *, everything: bool) -> None:
        """Take what is in the queue (some of it, or all that is there now) to the journal."""
        changed: Changes = {}
        left = watches.queue.waiting() if everything else 1
        while left > 0:
            packed = watches.queue.read()
            if not packed:
                break
            watches.take(packed, changed)
            left -= len(packed)
        for _ in range(_MOST_LOOKS if everything else _LOOKS):
            if not watches.due:
                break
            watches.look(changed)
        if self._session is not None:
            if changed:
                journal.add(changed.items(), watches.linked, self._position + 1)
                watches.linked.clear()
                self._position += 1
                self._news.set()
        elif not watches.due:
            self._begin(journal)

    def _begin(self, journal: Journal) -> None:
        """Every directory is watched: from here on nothing is missed."""
        session = uuid.uuid4().hex
        journal.begin(session)
        self._session, self._position, self._dropped = session, 0, 0
        self.trouble = None
        self._news.set()
        self._settled.set()

    def _end(self, journal: Journal, why: str) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            journal.end(session, why)
        except sqlite3.Error as error:
            self._be_in_trouble(f"The journal of changes cannot be written: {error}.")

    def _reason(self, error: CannotWatch) -> str:
        if not isinstance(error, TooFewWatches):
            return str(error)
        needed = count_directories(self._root, self._leaves_out, lambda: self._stopped)
        return too_few_watches(needed)

    def _be_in_trouble(self, sentence: str) -> None:
        self.trouble = sentence
        self._retry_at = time.monotonic() + RETRY_S
        self._news.set()
        self._settled.set()

    def _give_up_watches(self) -> None:
        if self._watches is not None:
            self._watches.close()
            self._watches = None

    def _answer(self, journal: Journal) -> None:
        """Everybody who waits, unless a session is about to begin."""
        if self._session is None and self.trouble is None:
            return
        while self._callers:
            caller = self._callers[-1]
            caller.answer(self._answer_to(caller.since, journal))
            self._callers.pop()

    def _answer_to(self, since: Point | None, journal: Journal) -> Answer:
        if self._session is None or self._watches is None:
            return Answer(None, self.trouble)
        now = Point(self._session, self._position)
        why = None
        if since is not None and since.session != now.session:
            why = journal.gap_since(since.session)
        elif since is not None and not self._dropped <= since.position <= now.position:
            why = "what was recorded then has been dropped, because a later push was stored"
        elif since is not None:
            journal.forget(since.position)
            self._dropped = since.position
        return Answer(now, why, self._watches.entries)
