"""One discoverer on one tree, asked as the core asks it."""

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from n2s_core import config
from n2s_core.errors import DiscoveryError
from n2s_core.excludes import Excludes
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.ports import Discoverer
from n2s_core.relpath import RelPath, ancestors, is_safe, show
from n2s_core.testing.hints import Tree, tree_of, unnamed
from n2s_core.walking import Walk

GRAIN_S = 0.03
"""Longer than the steps in which filesystems count time, so that edits can be told apart."""
_CHILD_LIMIT_S = 60
_FEWEST_WORDS = 4


class Interrupted(Exception):
    """A push that failed after the discovery began."""


@contextmanager
def failed() -> Iterator[None]:
    """Ends with the failure of a push."""
    yield
    raise Interrupted


def is_sentence(text: str | None) -> bool:
    """Whether a person is told something: some words and a full stop."""
    return text is not None and len(text.split()) >= _FEWEST_WORDS and text.rstrip().endswith(".")


@dataclass(frozen=True, slots=True)
class Answer:
    """All that a discoverer said. `tree` is what was below the discovery's root just then.

    `broke` is the sentence of a feed that ended with DiscoveryError, so that the core would walk.
    """

    mark: Mark | None
    complete: bool
    fallback: str | None
    hints: list[Change]
    broke: str | None
    doubts_links: bool
    tree: Tree

    def missed(self, before: Tree) -> list[RelPath]:
        """What differs from `before` and would not be found in spite of this answer."""
        if self.broke is not None:
            return []
        if self.complete:
            said = tree_of(self.hints)
            paths = said.keys() | self.tree.keys()
            return sorted(path for path in paths if said.get(path) != self.tree.get(path))
        return unnamed(before, self.tree, self.hints, doubts_links=self.doubts_links)

    @property
    def is_feed(self) -> bool:
        """Whether it says what changed, without any walk."""
        return not self.complete and self.broke is None


@dataclass
class Trial:
    """Asks discoverers, each time a new one, because each push is another process.

    `stored` is the tree of the last push that succeeded, which plugins may ask about.
    """

    root: Path
    options: Mapping[str, str]
    make: Callable[[], Discoverer]
    stored: Tree = field(default_factory=dict)

    def excludes(self, discoverer: Discoverer, patterns: tuple[str, ...] = ()) -> Excludes:
        """The rules of the user, of the plugin and of n2s."""
        folder = os.fsencode(config.FOLDER)
        return Excludes(
            patterns=patterns + tuple(getattr(discoverer, "excludes", ())),
            own_folder=folder,
            own_shown=frozenset({folder + b"/" + os.fsencode(config.NAME)}),
        )

    def source(
        self, discoverer: Discoverer, *, patterns: tuple[str, ...] = (), dry_run: bool = False
    ) -> Source:
        """What the core would give this discoverer."""
        excludes = self.excludes(discoverer, patterns)

        def report(path: RelPath, error: str) -> None:
            message = f"{show(path)} is reported, and there is nothing wrong with it: {error}"
            raise AssertionError(message)

        return Source(
            root=os.fsencode(self.root),
            dataset="contract",
            walk=lambda directory: Walk(directory, excludes, report),
            report=report,
            options=dict(self.options),
            leaves_out=lambda path: any(
                excludes.leaves_out(one, directory=True) for one in (*ancestors(path)[1:], path)
            ),
            dry_run=dry_run,
            names_of=self._names_of,
            search=self._search,
        )

    def _names_of(self, inode: int) -> list[RelPath]:
        found = ((path, self.stored[path]) for _, path in self._search({inode}))
        return [path for path, facts in found if facts.linked or facts.is_directory]

    def _search(self, inodes: Collection[int]) -> Iterator[tuple[int, RelPath]]:
        for path, facts in self.stored.items():
            if facts.inode in inodes:
                yield facts.inode, path

    def tree(self, patterns: tuple[str, ...] = ()) -> Tree:
        """The live tree as it is now."""
        source = self.source(self.make(), patterns=patterns)
        return tree_of(source.walk(source.root))

    @contextmanager
    def asking(
        self, since: Mark | None, *, patterns: tuple[str, ...] = (), dry_run: bool = False
    ) -> Iterator[tuple[Source, Discovery]]:
        """A discovery that has begun, after the check that each push makes."""
        discoverer = self.make()
        source = self.source(discoverer, patterns=patterns, dry_run=dry_run)
        discoverer.check(source)
        kept = None if since is None else bytes(bytearray(since))
        with discoverer.discover(source, kept) as discovery:
            yield source, discovery

    def ask(
        self, since: Mark | None, *, patterns: tuple[str, ...] = (), dry_run: bool = False
    ) -> Answer:
        """A discovery that is read to its end, and a push that succeeds."""
        with self.asking(since, patterns=patterns, dry_run=dry_run) as (source, discovery):
            answer = read(source, discovery)
        if not dry_run:
            self.stored = answer.tree
        return answer

    def ask_and_fail(self, since: Mark | None) -> Answer:
        """The same, but the push fails just before its end."""
        with suppress(Interrupted), self.asking(since) as (source, discovery), failed():
            answer = read(source, discovery)
        return answer

    def ask_and_die(self, since: Mark | None) -> Mark | None:
        """The same in a process of its own that is killed; the mark that it would have stored."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python warns of a fork beside threads; this child runs no code of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                signal.alarm(_CHILD_LIMIT_S)
                with self.asking(since) as (source, discovery):
                    os.write(writing, read(source, discovery).mark or b"")
                    os.kill(os.getpid(), signal.SIGKILL)
            except BaseException:  # noqa: BLE001 - nothing may go on in this copy of the tests
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        with open(reading, "rb") as pipe:
            mark = pipe.read()
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "The discovery failed in another process."
        assert os.WTERMSIG(status) == signal.SIGKILL, "The discovery did not end in time."
        return mark or None


def let_time_pass() -> None:
    """So that what is edited next has other times."""
    time.sleep(GRAIN_S)


def read(source: Source, discovery: Discovery) -> Answer:
    """Everything that the discovery says, as far as it says what may be said at all."""
    hints: list[Change] = []
    broke = None
    tree = tree_of(source.walk(discovery.root))
    try:
        for change in discovery.changes:
            judge(change)
            hints.append(change)
    except DiscoveryError as error:
        broke = str(error)
    if broke is not None:
        assert not discovery.complete, f"A complete discovery broke off: {broke}"
        assert is_sentence(broke), f"The reason is no sentence: {broke}"
    return Answer(
        mark=discovery.until,
        complete=discovery.complete,
        fallback=discovery.fallback,
        hints=hints,
        broke=broke,
        doubts_links=discovery.doubts_links,
        tree=tree,
    )


def judge(change: Change) -> None:
    """Whether a hint is one: a path of bytes that stays below the root, and a known kind."""
    assert isinstance(change.path, bytes), f"{change.path!r} is not bytes."
    assert is_safe(change.path), f"{show(change.path)} is no path relative to the root."
    assert isinstance(change.kind, ChangeKind), f"{change.kind!r} is no ChangeKind."
