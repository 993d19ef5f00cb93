"""Discovery in a dsg repository: its manifests say what changed from sync to sync.

Options: `look=tree` (the default) also walks the tree and stats it, for edits after the last sync
and for files that dsg does not track; `look=manifest` believes the manifests alone and sees
nothing of all that, which is left to the next push that looks at the tree. `wait=SECONDS` is how
long to wait for a sync that is running (10 by default).

The state on the disk is what is pushed, whatever the manifests say of it. A look at the tree does
not see what came back with an old change time, as after the rollback of a filesystem snapshot, or
from a file server whose clock is more than a minute behind; `--full` and `--using find` do.
"""

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from n2s_core.clock import SECOND_NS, now_ns
from n2s_core.errors import DiscoveryError
from n2s_core.model import Discovery, Mark, Source
from n2s_core.relpath import show
from n2s_plugins.dsg.archive import Snapshots
from n2s_plugins.dsg.config import CONFIG, repository_name
from n2s_plugins.dsg.feed import Feed, fingerprint, is_syncing
from n2s_plugins.dsg.marks import Seen, from_mark
from n2s_plugins.dsg.names import DSG
from n2s_plugins.dsg.nofeed import NoFeed

OPTIONS = frozenset({"look", "wait"})
TREE, MANIFEST = "tree", "manifest"
WAIT_S = 10.0
LONGEST_WAIT_S = 24 * 3600.0
_STEP_S = 0.1
SLACK_NS = 60 * SECOND_NS
"""How far the clock of the filesystem may be behind that of this machine."""


def wait_s(source: Source) -> float:
    """Seconds to wait for a sync. Raises DiscoveryError."""
    text = source.options.get("wait")
    if text is None:
        return WAIT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT_S:
        message = f"wait={text!r} is no number of seconds; write for example wait=30."
        raise DiscoveryError(message)
    return seconds


class Dsg:
    """Asks the manifests of a dsg repository."""

    name = "dsg"
    excludes = ("/.dsg/backup/*", "/.dsg/staging/*", "/.dsg/tmp/*", "/.dsg/sync.lock")

    def check(self, source: Source) -> None:
        """Raise DiscoveryError where there is no dsg repository, and for unknown options."""
        unknown = sorted(set(source.options) - OPTIONS)
        if unknown:
            message = f"The dsg plugin has no option {unknown[0]!r}; it has look and wait."
            raise DiscoveryError(message)
        look = source.options.get("look", TREE)
        if look not in (TREE, MANIFEST):
            message = f"look={look!r} is not known; write look=tree or look=manifest."
            raise DiscoveryError(message)
        wait_s(source)
        root = source.root
        if not os.path.isfile(root + b"/" + CONFIG) or not os.path.isdir(root + b"/" + DSG):
            message = (
                f"{show(root)} is no dsg repository: it does not have both .dsgconfig.yml and"
                " .dsg. Choose the top folder of a repository, run `dsg init` or `dsg clone`"
                " there first, or use another plugin, such as find."
            )
            raise DiscoveryError(message)

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """What changed since the snapshot of the mark; every path when that cannot be told."""
        quiet = _is_quiet(source)
        look = _Look(source)
        try:
            feed = look.feed(since, quiet=quiet)
        except NoFeed as answer:
            fallback = None if since is None else str(answer)
            feed = None
        else:
            fallback = None
        if feed is None:
            found = Discovery(
                source.root,
                look.seen.as_mark(),
                complete=True,
                changes=source.walk(source.root),
                fallback=fallback,
            )
        else:
            found = Discovery(
                source.root,
                look.seen.as_mark(),
                complete=False,
                changes=feed.changes(),
                doubts_links=feed.root_changed,
            )
        return nullcontext(found)


class _Look:
    """What is known before the tree is looked at; `seen` is what the mark will say."""

    def __init__(self, source: Source) -> None:
        self.seen = Seen("", "", now_ns())
        self._source = source
        self._print = fingerprint(source.root)
        self._snapshots = Snapshots(source.root)

    def feed(self, since: Mark | None, *, quiet: bool) -> Feed | None:
        """The changes since the mark; None when there is none.

        Raises NoFeed when that cannot be told. What is stored in the middle of a sync may be
        undone without a trace, so the mark of such a push is that of no snapshot.
        """
        if not quiet:
            raise NoFeed(_syncing(self._source))
        name = repository_name(self._source.root)
        new = self._snapshots.last()
        self.seen = Seen(name, new.snapshot_hash, self.seen.looked_ns)
        if since is None:
            return None
        before = from_mark(since)
        self._judge(before)
        same = before.snapshot_hash == new.snapshot_hash
        old = new if same else self._snapshots.with_hash(before.snapshot_hash)
        since_ns: int | None = before.looked_ns - SLACK_NS
        if self._source.options.get("look") == MANIFEST:
            self.seen = replace(self.seen, looked_ns=before.looked_ns)
            since_ns = None
        return Feed(self._source, old, new, print_before=self._print, since_ns=since_ns)

    def _judge(self, before: Seen) -> None:
        if not before.snapshot_hash:
            message = "The last push found the repository in a sync, or without a sound manifest."
            raise NoFeed(message)
        if before.repository != self.seen.repository:
            message = (
                f"The repository is called {self.seen.repository!r} now, and was called"
                f" {before.repository!r} in the last push."
            )
            raise NoFeed(message)
        if before.looked_ns > self.seen.looked_ns:
            message = "The clock was put back since the last push."
            raise NoFeed(message)


def _is_quiet(source: Source) -> bool:
    """Wait for a sync to end, as long as the user allows; whether none is running."""
    until = time.monotonic() + wait_s(source)
    while is_syncing(source.root):
        left_s = until - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(_STEP_S, left_s))
    return True


def _syncing(source: Source) -> str:
    return (
        "The repository was not quiescent: .dsg/backup/transaction-in-progress tells of a dsg sync"
        f" that is running or died, also after {wait_s(source):g} s."
    )
