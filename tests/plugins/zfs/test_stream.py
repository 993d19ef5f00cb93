"""Promise: what zfs send prints is understood to its last byte, or nothing is concluded from it."""

import struct
from collections.abc import Iterable

import pytest

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind
from n2s_plugins.zfs.plugin import ZfsDiff
from n2s_plugins.zfs.sent import Sent, Tree
from n2s_plugins.zfs.snapshots import SnapshotMark
from n2s_plugins.zfs.stream import RECORD, Object, Stream
from tests.plugins.zfs.recordings import DIFFS, Asker, Diff, PlayedZfs, played

EVERYTHING = next(diff for diff in DIFFS if diff.case == "everything")


def guids(diff: Diff) -> tuple[int, int]:
    found = {one.name.partition("@")[2]: int(one.guid) for one in played(diff)[0].snapshots}
    return found[diff.old], found[diff.new]


def read(pieces: Iterable[bytes], diff: Diff = EVERYTHING) -> list[Object]:
    found: list[Object] = []
    base, new = guids(diff)
    stream = Stream(found.append, base=base, new=new)
    for piece in pieces:
        stream.take(piece)
    stream.end()
    return found


def records(stream: bytes) -> list[tuple[int, int]]:
    """Offset and type of each record."""
    found: list[tuple[int, int]] = []

    class Noting(Stream):
        def _send(self, piece: bytes) -> None:
            if len(piece) == RECORD:
                found.append((self.at, struct.unpack_from("<I", piece)[0]))
            super()._send(piece)

        at = 0

    base, new = guids(EVERYTHING)
    noting = Noting(lambda _: None, base=base, new=new)
    for at in range(0, len(stream), 8):
        noting.at = at + 8 - RECORD
        noting.take(stream[at : at + 8])
    return found


@pytest.mark.parametrize("size", [1, 7, 312, 1000, 1 << 20])
def test_the_size_of_the_pieces_does_not_matter(size: int) -> None:
    stream = EVERYTHING.stream
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    found = read(pieces)
    assert found == read([stream])
    assert [one.number for one in found] == sorted({one.number for one in found})


def test_a_stream_that_is_cut_anywhere_is_not_used() -> None:
    stream = EVERYTHING.stream
    for length in {*range(0, len(stream), 997), len(stream) - 1}:
        with pytest.raises(DiscoveryError, match="cut off"):
            read([stream[:length]])


def test_a_stream_of_other_snapshots_is_not_used() -> None:
    other = next(diff for diff in DIFFS if diff.case == "create-file")
    with pytest.raises(DiscoveryError, match="of other snapshots"):
        read([other.stream])


def test_what_goes_on_after_the_end_is_not_used() -> None:
    with pytest.raises(DiscoveryError, match="goes on after its end"):
        read([EVERYTHING.stream, b"\0"])


def test_a_record_of_an_unknown_type_is_not_passed_over() -> None:
    stream = bytearray(EVERYTHING.stream)
    places = records(bytes(stream))
    assert {kind for _, kind in places} >= {0, 1, 3, 4, 5}
    for at, kind in places[1:-1]:
        damaged = stream.copy()
        struct.pack_into("<I", damaged, at, 77)
        with pytest.raises(DiscoveryError, match="unknown type 77"):
            read([bytes(damaged)])
        assert kind != 77


def test_attributes_of_another_kind_are_not_guessed_at() -> None:
    stream = bytearray(EVERYTHING.stream)
    objects = [at for at, kind in records(bytes(stream)) if kind == 1]
    at = next(at for at in objects if struct.unpack_from("<I", stream, at + 16)[0] == 19)
    struct.pack_into("<I", stream, at + RECORD, 0x12345678)
    with pytest.raises(DiscoveryError, match="nobody understands"):
        read([bytes(stream)])


def asked(zfs: PlayedZfs, diff: Diff, **options: str) -> tuple[bool, str | None]:
    """Whether the tree is walked, and why."""
    machine = played(diff)[1]
    asker = Asker(f"/tank/{diff.case}".encode())
    asker.options = {"snapshot": f"{zfs.dataset}@{diff.new}", **options}
    mark = SnapshotMark(zfs.dataset, zfs.snapshots[0].guid).encode()
    with ZfsDiff(zfs, machine).discover(asker.source, mark) as discovery:
        return discovery.complete, discovery.fallback


def test_a_stream_that_breaks_off_is_a_walk_that_says_why() -> None:
    zfs = played(EVERYTHING)[0]
    zfs.stream = zfs.stream[:5000]
    assert asked(zfs, EVERYTHING) == (True, "What zfs send printed is cut off.")


def test_who_may_not_send_is_told_what_to_do_and_the_tree_is_walked() -> None:
    zfs = played(EVERYTHING)[0]
    zfs.refuses["send"] = "cannot send 'tank/everything': permission denied"
    walked, why = asked(zfs, EVERYTHING)
    assert walked
    assert why is not None
    assert "zfs allow USER send" in why


def test_more_objects_than_a_walk_is_worth_are_a_walk() -> None:
    zfs = played(EVERYTHING)[0]
    walked, why = asked(zfs, EVERYTHING, **{"max-changes": "3"})
    assert walked
    assert why is not None
    assert "more than 3 objects" in why
    assert asked(played(EVERYTHING)[0], EVERYTHING, **{"max-changes": "3000"}) == (False, None)


class Shape:
    """Two snapshots as dictionaries of path to number; `several` are stored with several names."""

    def __init__(
        self, old: dict[bytes, int], new: dict[bytes, int], several: frozenset[int] = frozenset()
    ) -> None:
        self.old, self.new, self.several = old, new, several
        self.searched: list[set[int]] = []

    def changes(self, *objects: Object) -> set[Change]:
        def entries(path: bytes) -> Iterable[tuple[bytes, int]]:
            for one, number in self.new.items():
                if one and one.rpartition(b"/")[0] == path:
                    yield one.rpartition(b"/")[2], number

        def search(numbers: Iterable[int]) -> Iterable[tuple[int, bytes]]:
            self.searched.append(set(numbers))
            return ((number, one) for one, number in self.old.items() if number in set(numbers))

        tree = Tree(
            root=34,
            entries=lambda path: iter(list(entries(path))),
            old_inode=self.old.get,
            new_inode=self.new.get,
            names_of=lambda number: [
                one for one, has in self.old.items() if has == number and number in self.several
            ],
            search=lambda numbers: iter(list(search(numbers))),
        )
        return set(Sent(tree).changes(lambda: objects))


def file(number: int, parent: int, *, linked: bool = False) -> Object:
    return Object(number, directory=False, parent=parent, written=True, linked=linked)


def directory(number: int, parent: int, *, written: bool = True) -> Object:
    return Object(number, directory=True, parent=parent, written=written, linked=False)


def test_a_file_is_named_by_its_directory_without_a_search() -> None:
    shape = Shape({b"d": 5, b"d/f": 6}, {b"d": 5, b"d/f": 6}, frozenset({5}))
    assert shape.changes(file(6, 5)) == {Change(b"d/f")}
    assert shape.searched == []


def test_a_file_whose_directory_does_not_have_it_is_searched() -> None:
    shape = Shape({b"d": 5, b"f": 6}, {b"d": 5, b"f": 6}, frozenset({5}))
    assert shape.changes(file(6, 5)) == {Change(b"f")}
    assert shape.searched == [{6}]


def test_a_new_name_of_a_file_that_had_one_leads_to_the_old_one() -> None:
    old = {b"d": 5, b"f": 6}
    shape = Shape(old, {**old, b"d/g": 6}, frozenset({5}))
    found = shape.changes(file(6, 5, linked=True), directory(5, 34))
    assert found == {Change(b"d/g"), Change(b"f"), Change(b"d", ChangeKind.ENTRIES)}


def test_a_file_below_a_directory_that_moved_is_found_where_it_is_now() -> None:
    old = {b"a": 5, b"a/b": 6, b"a/b/c": 7, b"a/b/c/f": 8}
    new = {b"n": 5, b"n/b": 6, b"n/b/c": 7, b"n/b/c/f": 8}
    shape = Shape(old, new, frozenset({5, 6, 7}))
    found = shape.changes(directory(5, 34, written=False), file(8, 7))
    assert found == {Change(b"n"), Change(b"n/b/c/f")}
    assert shape.searched == []


def test_directories_that_lead_in_a_circle_are_given_up() -> None:
    shape = Shape({}, {})
    found = shape.changes(directory(5, 6), directory(6, 5), file(7, 6))
    assert found == set()
    assert shape.searched == [{5, 6, 7}]


def test_moves_inside_moves_are_followed() -> None:
    old = {b"a": 5, b"a/b": 6, b"x": 9, b"x/y": 10, b"x/y/z": 11, b"x/y/z/f": 12}
    new = {b"m": 9, b"m/y": 10, b"m/y/k": 5, b"m/y/k/b": 6, b"m/y/k/b/z": 11, b"m/y/k/b/z/f": 12}
    shape = Shape(old, new, frozenset({5, 6, 9, 10, 11}))
    moved = directory(9, 34), directory(5, 10), directory(11, 6), directory(10, 9), directory(6, 5)
    assert Change(b"m/y/k/b/z/f") in shape.changes(*moved, file(12, 11))
    assert shape.searched == []
