"""Promise: the journal plugin keeps the contract for discovery plugins."""

import os
from pathlib import Path

import pytest

from n2s_core.errors import DiscoveryError
from n2s_core.model import Source
from n2s_core.testing import DiscovererContract
from n2s_journal import Journal


class Writer:
    """Stands for the program that writes into the tree and keeps the journal of it."""

    def __init__(self, root: Path, journal: Path) -> None:
        self._root = os.fsencode(root)
        self._journal = journal
        self._noted = self._look()
        journal.touch()

    def note(self) -> None:
        """Append every path that is not what it was."""
        now = self._look()
        changed = {path for path, _ in now.items() ^ self._noted.items()}
        with self._journal.open("ab") as file:
            file.writelines(path + b"\0" for path in sorted(changed))
        self._noted = now

    def _look(self) -> dict[bytes, tuple[int, int]]:
        found = [b""]
        for folder, folders, files in os.walk(self._root):
            prefix = folder[len(self._root) + 1 :]
            found += [os.path.join(prefix, name) for name in folders + files]
        stats = ((path, os.lstat(os.path.join(self._root, path))) for path in found)
        return {path: (stat.st_ino, stat.st_ctime_ns) for path, stat in stats}


class TestJournal(DiscovererContract):
    works_everywhere = True
    wrong_options = ({"journal": "/nobody/wrote/this"},)

    def discoverer(self) -> Journal:
        return Journal()

    @pytest.fixture
    def options(self, root: Path, tmp_path: Path) -> dict[str, str]:
        self.writer = Writer(root, tmp_path / "journal")
        return {"journal": str(tmp_path / "journal")}

    def settle(self, root: Path) -> None:
        self.writer.note()


def ask(journal: Path, since: bytes | None) -> tuple[bool, bytes, list[bytes]]:
    source = Source(
        root=b"/tree",
        dataset="dataset",
        walk=lambda _: iter(()),
        report=lambda _path, _why: None,
        options={"journal": str(journal)},
    )
    with Journal().discover(source, since) as found:
        assert found.until is not None
        return found.complete, found.until, [change.path for change in found.changes]


def test_a_path_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(b"one\0")
    mark = ask(journal, None)[1]
    journal.write_bytes(b"one\0two\0thr")
    complete, later, paths = ask(journal, mark)
    assert (complete, paths) == (False, [b"two"])
    journal.write_bytes(b"one\0two\0three\0")
    assert ask(journal, later)[2] == [b"three"]


@pytest.mark.parametrize("now", [b"", b"one\0", b"eno\0two\0", b"new\0new\0new\0"])
def test_a_journal_that_was_begun_anew_is_a_walk(tmp_path: Path, now: bytes) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(b"one\0two\0")
    mark = ask(journal, None)[1]
    journal.write_bytes(now)
    assert ask(journal, mark)[0]


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../x", b"a//b", b"a/./b"])
def test_a_path_that_leaves_the_root_makes_the_feed_break_off(tmp_path: Path, path: bytes) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    mark = ask(journal, None)[1]
    journal.write_bytes(b"one\0" + path + b"\0")
    with pytest.raises(DiscoveryError, match="no path below the root"):
        ask(journal, mark)
