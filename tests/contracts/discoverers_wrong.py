"""Discoverers that break the contract, each in one thing."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from n2s_core.errors import DiscoveryError
from n2s_core.excludes import NOTHING
from n2s_core.model import Change, ChangeKind, Discovery, Mark, Source
from n2s_core.relpath import ROOT, RelPath
from n2s_core.testing.hints import Tree, differing, tree_of
from n2s_core.walking import walk
from tests.contracts.discoverer_right import MARKER, Listing

# -- check -------------------------------------------------------------------------------------


class RefusesNothing(Listing):
    def check(self, source: Source) -> None:
        pass


class RefusesEverything(Listing):
    error = "DiscoveryError"

    def check(self, source: Source) -> None:
        message = "The listing plugin does not work anywhere."
        raise DiscoveryError(message)


class RefusesWithAnotherError(Listing):
    error = "FileNotFoundError"

    def check(self, source: Source) -> None:
        os.stat(source.root + b"/" + os.fsencode(MARKER))
        super().check(source)


class RefusesWithoutASentence(Listing):
    def check(self, source: Source) -> None:
        try:
            super().check(source)
        except DiscoveryError:
            raise DiscoveryError("ENOENT") from None  # noqa: EM101 - the fault is the point


# -- without a mark ----------------------------------------------------------------------------


class SaysThatTheFirstIsNotAll(Listing):
    def whole(self, source: Source, until: Mark | None, why: str | None) -> Discovery:
        return replace(super().whole(source, until, why), complete=False)


class GivesAReasonThoughNobodyAsked(Listing):
    def whole(self, source: Source, until: Mark | None, why: str | None) -> Discovery:
        return super().whole(source, until, why or "There is no mark to start from.")


class LeavesOutTheRoot(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return (change for change in super().all(source) if change.path != ROOT)


class LeavesOutLinks(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return (one for one in super().all(source) if one.path != b"b/leads nowhere")


class GoesDepthFirst(Listing):
    """As os.walk and `find` do: "a", "a/x", "a.txt"."""

    def all(self, source: Source) -> Iterator[Change]:
        return iter(sorted(super().all(source), key=lambda change: change.path.split(b"/")))


class NamesTwice(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return (one for one in super().all(source) for _ in range(1 + (one.path == b"a/x")))


class HasNoStat(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return (Change(change.path) for change in super().all(source))


class FollowsLinks(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        for change in super().all(source):
            place = source.root + b"/" + change.path
            yield Change(change.path, stat=os.stat(place)) if os.path.exists(place) else change


class NamesSubtrees(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return (one._replace(kind=ChangeKind.SUBTREE_WRITTEN) for one in super().all(source))


class WalksWithoutExcludes(Listing):
    def all(self, source: Source) -> Iterator[Change]:
        return walk(source.root, NOTHING, source.report)


class ReadsAnOldCopy(Listing):
    def whole(self, source: Source, until: Mark | None, why: str | None) -> Discovery:
        subprocess.run(["cp", "-a", source.root, source.root + b".copy"], check=True)
        return super().whole(source, until, why)

    def feed(self, source: Source, until: Mark | None, paths: list[RelPath]) -> Discovery:
        return replace(super().feed(source, until, paths), root=source.root + b".copy")


class WritesIntoTheTree(Listing):
    def until(self, source: Source, now: Tree) -> Mark | None:
        Path(os.fsdecode(source.root), "a/last-listing").write_text(str(time.time_ns()))
        return super().until(source, now)


# -- marks -------------------------------------------------------------------------------------


class MarksWithText(Listing):
    def until(self, source: Source, now: Tree) -> Mark | None:
        mark = super().until(source, now)
        assert mark is not None
        return mark.decode()  # type: ignore[return-value]


class HasNoMark(Listing):
    def until(self, source: Source, now: Tree) -> Mark | None:
        return None


class Remembers(Listing):
    """In memory, which the next process does not have."""

    def __init__(self) -> None:
        self._kept: dict[Mark, Tree] = {}

    def keep(self, source: Source, mark: Mark, now: Tree) -> None:
        self._kept[mark] = now

    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        return self._kept.get(since or b""), "Nothing is known about this mark." if since else None


class MarksWhenItEnds(Listing):
    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        with super().discover(source, since) as found:
            yield found
            assert found.until is not None
            self.keep(source, found.until, tree_of(source.walk(source.root)))


class AlwaysWalks(Listing):
    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        return None, "It was easier to walk once more." if since else None


# -- feeds -------------------------------------------------------------------------------------


class NamesNothing(Listing):
    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return []


class NamesOnlyWhatIsThere(Listing):
    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return [path for path in super().differing(before, now) if path in now]


class BelievesTheTimeOfModification(Listing):
    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        def plain(tree: Tree) -> Tree:
            return {path: one._replace(ctime_ns=0, mode=0) for path, one in tree.items()}

        return differing(plain(before), plain(now))


class NamesTheTopOfWhatMoved(Listing):
    """As a feed does that says a renamed directory in one line, and the plugin passes it on."""

    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        paths = super().differing(before, now)
        old = {facts.inode for path, facts in before.items() if path not in now}
        tops = [path for path in paths if path in now and now[path].is_directory]
        moved = tuple(top + b"/" for top in tops if top not in before and now[top].inode in old)
        return [path for path in paths if not path.startswith(moved)] if moved else paths


class ReadsLines(Listing):
    """What it says goes through a list with a name on each line."""

    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return b"\n".join(super().differing(before, now)).split(b"\n")


class ReadsText(Listing):
    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return [path.decode(errors="replace").encode() for path in super().differing(before, now)]


class ForgetsWhenThereIsMuch(Listing):
    def differing(self, before: Tree, now: Tree) -> list[RelPath]:
        return super().differing(before, now)[:100]


class NamesAbsolutePaths(Listing):
    def feed(self, source: Source, until: Mark | None, paths: list[RelPath]) -> Discovery:
        return super().feed(source, until, [source.root + b"/" + path for path in paths])


class NamesTextualKinds(Listing):
    def feed(self, source: Source, until: Mark | None, paths: list[RelPath]) -> Discovery:
        changes = (Change(path, "written") for path in paths)  # type: ignore[arg-type]
        return replace(super().feed(source, until, paths), changes=changes)


class TakesAnyMark(Listing):
    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        before, why = super().before(source, since)
        if why is not None:
            return tree_of(source.walk(source.root)), None
        return before, why


class FailsAtAForeignMark(Listing):
    error = "KeyError"

    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        before, why = super().before(source, since)
        if why is not None:
            raise KeyError(since)
        return before, why


class RefusesAForeignMark(Listing):
    error = "DiscoveryError"

    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        before, why = super().before(source, since)
        if why is not None:
            raise DiscoveryError(why)
        return before, why


class WalksInSilence(Listing):
    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        return super().before(source, since)[0], None


# -- pushes that do not succeed, and what stays open -------------------------------------------


class ForgetsTheBase(Listing):
    """As a log does that is emptied by whoever reads it; a subclass says when."""

    def forget(self, source: Source, since: Mark | None) -> None:
        if since is not None:
            (self.folder(source) / since.decode()).unlink(missing_ok=True)


class ForgetsInARehearsal(ForgetsTheBase):
    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        with super().discover(source, since) as found:
            yield found
        self.forget(source, since)


class ForgetsThoughThePushFailed(ForgetsTheBase):
    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        try:
            with super().discover(source, since) as found:
                yield found
        finally:
            if not source.dry_run:
                self.forget(source, since)


class BelievesThatAFailedPushLeavesNoMark(TakesAnyMark):
    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        with super().discover(source, since) as found:
            assert found.until is not None
            try:
                yield found
            except BaseException:
                (self.folder(source) / found.until.decode()).unlink()
                raise


class ForgetsWhenItBegins(ForgetsTheBase):
    def before(self, source: Source, since: Mark | None) -> tuple[Tree | None, str | None]:
        found = super().before(source, since)
        if not source.dry_run:
            self.forget(source, since)
        return found


class TurnsRoundWhenKilled(ForgetsTheBase):
    """Forgets at the beginning, and remembers again when the push fails, if it lives then."""

    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        with super().discover(source, since) as found:
            base = self.before(source, since)[0]
            self.forget(source, since)
            try:
                yield found
            except BaseException:
                self._again(source, since, base)
                raise
            if source.dry_run:
                self._again(source, since, base)

    def _again(self, source: Source, since: Mark | None, base: Tree | None) -> None:
        if since is not None and base is not None:
            self.keep(source, since, base)


class KeepsAFileOpen(Listing):
    def until(self, source: Source, now: Tree) -> Mark | None:
        os.open(source.root, os.O_RDONLY)
        return super().until(source, now)


class KeepsAFileOpenWhenItFails(Listing):
    @contextmanager
    def discover(self, source: Source, since: Mark | None) -> Iterator[Discovery]:
        with super().discover(source, since) as found:
            opened = os.open(source.root, os.O_RDONLY)
            yield found
            os.close(opened)


class LeavesAChild(Listing):
    def until(self, source: Source, now: Tree) -> Mark | None:
        subprocess.Popen(["true"])._child_created = False  # type: ignore[attr-defined]
        return super().until(source, now)
