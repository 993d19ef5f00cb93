"""Continuous pushing: recording begins, everything is caught up, then each time it gets quiet."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from n2s_core.app.answers import PushAnswer
from n2s_core.app.api import push_in
from n2s_core.app.pushing import PushOrder
from n2s_core.app.unlocking import Unlocking, begin_early
from n2s_core.app.workspace import Workspace
from n2s_core.config import Config
from n2s_core.errors import DiscoveryError, KeyProblem, N2sError, Unfit, UsageError
from n2s_core.excludes import Excludes
from n2s_core.model import Report, Source
from n2s_core.plugins import Host
from n2s_core.ports import Recording, Watcher
from n2s_core.relpath import RelPath, ancestors
from n2s_core.walking import Walk

DEFAULT = "watch"
FIRST_PAUSE_S = 5.0
WILL_NOT_PASS = (UsageError, KeyProblem, DiscoveryError, Unfit)


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """When to push: after `delay_s` without a change, and `longest_delay_s` after one anyway.

    When the whole tree was not walked for `rescan_s`, the next push does it. `once`: catch up,
    wait for one more quiet moment, push, and end.
    """

    delay_s: float
    longest_delay_s: float
    rescan_s: float
    once: bool = False


class Stopped(KeyboardInterrupt):
    """Somebody wants the watch to end."""


@dataclass(slots=True)
class Stop:
    """How a signal handler ends a watch: at once while it waits, else after the push."""

    wanted: bool = False
    _busy: bool = False

    def want(self) -> bool:
        """End soon; True when a push is under way. Raises Stopped, once, when none is."""
        if self.wanted:
            return self._busy
        self.wanted = True
        if not self._busy:
            raise Stopped
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """What should be finished first."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def check(self) -> None:
        """Raises Stopped when that was wanted meanwhile."""
        if self.wanted:
            raise Stopped


@dataclass(frozen=True, slots=True)
class Began:
    """Changes are recorded from here on; nothing was pushed yet."""

    root: bytes


@dataclass(frozen=True, slots=True)
class Trouble:
    """Changes cannot be recorded without a gap; the tree is walked instead."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Retry:
    """A push failed and is tried again after a pause; what changed is kept."""

    error: str
    pause_s: float


News = Began | Trouble | Retry | PushAnswer


def watch(config: Config, order: WatchOrder, stop: Stop, report: Report) -> Iterator[News]:
    """What happens, as it happens, until the order is done or `stop` ends it.

    The key is derived once. Raises N2sError for what will not pass by itself, and Stopped.
    """
    unlocking = begin_early(config)
    with Workspace(config, unlocking) as space:
        space.check_keyring()
        using, watcher = _watcher(space)
        excludes = space.excludes(tuple(getattr(watcher, "excludes", ())))
        source = _source(space, using, excludes)

    def ignores(path: RelPath) -> bool:
        return excludes.leaves_out(path, directory=False)

    with watcher.watch(source, ignores=ignores) as recording:
        yield Began(source.root)
        yield from _Loop(config, unlocking, order, stop, report, using, recording).run()


def _watcher(space: Workspace) -> tuple[str, Watcher]:
    """The plugin of the dataset when it can watch, else the one that comes with n2s."""
    host = Host()
    for using in (space.config.dataset.using, DEFAULT):
        found = host.discoverer(using)
        if isinstance(found, Watcher):
            return using, found
    message = f"The discovery plugin {DEFAULT!r} of this installation cannot watch."
    raise UsageError(message)


def _source(space: Workspace, using: str, excludes: Excludes) -> Source:
    table = space.config.dataset
    return Source(
        root=space.root,
        dataset=table.name,
        walk=lambda root: Walk(root, excludes, lambda _path, _error: None),
        report=lambda _path, _error: None,
        options=table.options if using == table.using else {},
        leaves_out=lambda path: any(
            excludes.leaves_out(one, directory=True) for one in (*ancestors(path)[1:], path)
        ),
    )


@dataclass(slots=True)
class _Loop:
    """The pushes of one watch."""

    config: Config
    unlocking: Unlocking | None
    order: WatchOrder
    stop: Stop
    report: Report
    using: str
    recording: Recording
    _walked_at: float = field(default_factory=time.monotonic)
    _said: str | None = None
    _unsure: bool = False

    def run(self) -> Iterator[News]:
        """Catch up, then push whenever it is time."""
        yield from self._push()
        while True:
            self._wait()
            yield from self._push()
            if self.order.once:
                return

    def _wait(self) -> None:
        """Until something has changed and it is quiet again, or a walk is due."""
        order, now = self.order, time.monotonic
        rest_s = max(0.0, self._walked_at + order.rescan_s - now())
        brief = order.once or self._unsure
        if not self.recording.wait(min(rest_s, order.delay_s) if brief else rest_s):
            if now() - self._walked_at >= order.rescan_s:
                self.recording.doubt("the whole tree was not walked for as long as --rescan says")
            return
        last = now() + order.longest_delay_s
        while now() < last and self.recording.wait(min(order.delay_s, max(0.0, last - now()))):
            pass

    def _push(self) -> Iterator[News]:
        """Push until it succeeds."""
        pause_s = FIRST_PAUSE_S
        while True:
            yield from self._trouble()
            try:
                with self.stop.held():
                    answer = self._push_once()
            except WILL_NOT_PASS:
                raise
            except N2sError as error:
                yield Retry(str(error), pause_s)
                self.stop.check()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, max(FIRST_PAUSE_S, self.order.longest_delay_s))
                continue
            yield answer
            self.stop.check()
            return

    def _push_once(self) -> PushAnswer:
        """Some of what it stores may have changed unseen; then one more push makes sure."""
        with Workspace(self.config, self.unlocking) as space:
            answer = push_in(space, PushOrder(using=self.using), self.report)
            stored = answer.changeset_id is not None
            self._unsure = stored and any(space.catalogue.audits.doubted(space.dataset.dataset_no))
        if answer.complete:
            self._walked_at = time.monotonic()
        return answer

    def _trouble(self) -> Iterator[News]:
        """What the recording says of itself, once."""
        said, self._said = self._said, self.recording.trouble
        if self._said is not None and self._said != said:
            yield Trouble(self._said)
