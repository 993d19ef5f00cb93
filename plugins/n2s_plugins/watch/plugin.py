"""The discoverer: what the journal holds since the push before; else a walk that says why."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.ports import Recording
from n2s_core.relpath import RelPath, show
from n2s_plugins.watch.calls import Answer, ask
from n2s_plugins.watch.journal import OWN_FOLDER, Point, Reading, folder_of
from n2s_plugins.watch.names import looked_at, other_names
from n2s_plugins.watch.recorder import Recorder

MAX_CHANGES = "max-changes"
OPTIONS = frozenset({MAX_CHANGES})
_FEWEST = 10_000  # below that many paths it does not matter which way is taken
_SHARE = 4
_LOCK = b"lock"
_CONFIG = OWN_FOLDER + b"/config.toml"


class Watch:
    """Asks the journal that `n2s watch` keeps."""

    name = "watch"

    def check(self, source: Source) -> None:
        """Raise DiscoveryError for options that it does not know."""
        unknown = sorted(set(source.options) - OPTIONS)
        if unknown:
            message = f"The watch plugin has no option {unknown[0]!r}; it has {MAX_CHANGES}."
            raise DiscoveryError(message)
        _most(source, 0)

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """What was recorded since the mark; a walk when that is not known, or is too much."""
        folder = folder_of(source.root, source.dataset)
        wanted = None if since is None else _unpack(since)
        until = None
        try:
            answer = _ask(folder, wanted)
            until = None if answer.now is None else _pack(answer.now)
            why = answer.why
            if wanted is not None and why is None:
                reading = Reading(folder, wanted)
                most = _most(source, answer.entries)
                if not reading.is_more_than(most):
                    return nullcontext(
                        Discovery(
                            source.root,
                            until,
                            complete=False,
                            changes=_hints(source, reading),
                            named_later=lambda path: _named_later(folder, answer.now, path),
                        )
                    )
                why = f"More than {most} paths changed, so that a walk takes less time."
        except DiscoveryError as error:
            why = str(error)
        return nullcontext(
            Discovery(
                source.root, until, complete=True, changes=source.walk(source.root), fallback=why
            )
        )

    @contextmanager
    def watch(self, source: Source, *, ignores: Callable[[RelPath], bool]) -> Iterator[Recording]:
        """Record until the context ends. Raises DiscoveryError when somebody else does."""
        folder = folder_of(source.root, source.dataset)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            lock = os.open(folder + b"/" + _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"The journal of changes cannot be kept in {show(folder)}: {error.strerror}."
            raise DiscoveryError(message) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = (
                    f"The changes of {show(source.root)} are being recorded already; is another"
                    " 'n2s watch' running?"
                )
                raise DiscoveryError(message) from error
            with Recorder(source.root, folder, source.leaves_out, ignores).running() as recorder:
                yield recorder
        finally:
            os.close(lock)


def _most(source: Source, entries: int) -> int:
    given = source.options.get(MAX_CHANGES)
    if given is None:
        return max(_FEWEST, entries // _SHARE)
    if not given.isascii() or not given.isdigit():
        message = f"-o {MAX_CHANGES}={given} is no number of paths."
        raise DiscoveryError(message)
    return int(given)


def _ask(folder: bytes, since: Point | None) -> Answer:
    """What the recorder says, with a whole sentence about why not to use the journal."""
    answer = ask(folder, since) if os.path.isdir(folder) else None
    if answer is None:
        return Answer(None, "Nobody records what changes; 'n2s watch' does.")
    if answer.why is None or answer.now is None:
        return answer
    return Answer(answer.now, f"Changes may have been missed: {answer.why}.", answer.entries)


def _named_later(folder: bytes, until: Point | None, path: RelPath) -> bool:
    """Whether the next feed names the path; after a gap it is a walk, which does."""
    now = ask(folder, None)
    if until is None or now is None or now.now is None or now.now.session != until.session:
        return True
    return Reading(folder, until).names(path)


def _hints(source: Source, reading: Reading) -> Iterator[Change]:
    """The configuration lies in a folder that is not watched, so it is always looked at."""
    yield Change(_CONFIG)
    for path, subtree in reading.changes():
        yield Change(path, ChangeKind.SUBTREE_WRITTEN if subtree else ChangeKind.WRITTEN)
    there = looked_at(source.root, reading.changes())
    for path in other_names(source, there, reading.linked()):
        yield Change(path)


def _pack(point: Point) -> Mark:
    return json.dumps([point.session, point.position]).encode()


def _unpack(mark: Mark) -> Point:
    """A mark of something else is a point of no session that is known."""
    try:
        session, position = json.loads(mark)
        return Point(str(session), int(position))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return Point("", 0)
