"""A discoverer that keeps the contract, made so that others can break it in one thing."""

import ast
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, Discovery, Mark, Source
from n2s_core.relpath import RelPath
from n2s_core.testing.hints import Facts, Tree, differing, tree_of

MARKER = "listed"


class Listing:
    """Keeps a listing of the tree for each mark, in a folder beside the root.

    The root holds a file `listed`. The methods are cut so that a wrong one overrides one or two.
    """

    name = "listing"
    error = "AssertionError|Failed"
    """What a test of the contract ends with that it fails."""

    # -- what the port asks --------------------------------------------------------------------

    def check(self, source: Source) -> None:
        if source.options:
            message = f"The listing plugin has no option {min(source.options)!r}."
            raise DiscoveryError(message)
        if not os.path.isfile(source.root + b"/" + os.fsencode(MARKER)):
            message = "The root has no file that is called listed; make one, if you mean it."
            raise DiscoveryError(message)

    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        now = tree_of(source.walk(source.root))
        before, why = self.before(source, since)
        until = self.until(source, now)
        if before is None:
            yield self.whole(source, until, why)
        else:
            yield self.feed(source, until, self.differing(before, now))

    # -- its parts -----------------------------------------------------------------------------

    def folder(self, source: Source) -> Path:
        made = Path(os.fsdecode(source.root) + ".listings")
        made.mkdir(exist_ok=True)
        return made

    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        if since is None:
            return None, None
        if not since.isdigit() or not (path := self.folder(source) / since.decode()).is_file():
            return None, "The mark is not one of the listing plugin."
        said = ast.literal_eval(path.read_text())
        return {name: Facts._make(facts) for name, facts in said.items()}, None

    def until(self, source: Source, now: Tree) -> Mark | None:
        mark = b"%d" % time.time_ns()
        if not source.dry_run:
            self.keep(source, mark, now)
        return mark

    def keep(self, source: Source, mark: Mark, now: Tree) -> None:
        said = {path: tuple(facts) for path, facts in now.items()}
        (self.folder(source) / mark.decode()).write_text(repr(said))

    def whole(self, source: Source, until: Mark | None, why: str | None) -> Discovery:
        changes = self.all(source)
        return Discovery(source.root, until, complete=True, changes=changes, fallback=why)

    def all(self, source: Source) -> Iterator[Change]:
        return source.walk(source.root)

    def feed(self, source: Source, until: Mark | None, paths: list[RelPath]) -> Discovery:
        changes = (Change(path) for path in paths)
        return Discovery(source.root, until, complete=False, changes=changes)

    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return differing(before, now)
