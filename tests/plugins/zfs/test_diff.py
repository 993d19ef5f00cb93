"""The lines of zfs diff: what is understood, and what is refused."""

import pytest

from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, ChangeKind
from n2s_plugins.zfs.diff import LONGEST_PATH, Line, hints, parse, relative, unescape
from tests.plugins.zfs.recordings import DIFFS, Diff, bytes_of

HEAD = b"1795205118.920000000\t"


def looks(*lines: bytes, mountpoint: bytes = b"/m") -> list[tuple[bytes, ChangeKind]]:
    found = hints([HEAD + line + b"\n" for line in lines], mountpoint)
    return [(change.path, change.kind) for change in found]


def test_every_byte_of_a_name_comes_back() -> None:
    for value in range(1, 256):
        plain = 0x20 < value < 0x7F and value != 0x5C
        written = bytes([value]) if plain else b"\\0%03o" % value
        assert unescape(b"a" + written + b"z") == b"a" + bytes([value]) + b"z"


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"a b",
        b"a\nb",
        b"caf\xc3\xa9",
        b"\x7f",
        b"\\",
        b"a\\",
        b"\\040",
        b"\\0400x",  # of two ways to read it none is what zfs writes
        b"\\0038\\",
        b"\\0899",
        b"\\1040",
        b"\\x41",
        b"\\0101",
        b"\\0000",
        b"\\\\",
    ],
)
def test_a_name_with_another_escape_is_refused(name: bytes) -> None:
    with pytest.raises(DiscoveryError, match="zfs diff"):
        unescape(name)


@pytest.mark.parametrize("diff", DIFFS, ids=str)
def test_every_recorded_line_is_understood(diff: Diff) -> None:
    stdout = bytes_of(diff.answer, "stdout")
    for line in stdout.splitlines(keepends=True):
        assert parse(line).path.startswith(b"/")


def test_fields_are_told_apart() -> None:
    assert parse(HEAD + b"M\tF\t/m/f\n") == Line(b"M", b"F", b"/m/f", None, 0)
    assert parse(HEAD + b"M\tF\t/m/f\t(-12)\n") == Line(b"M", b"F", b"/m/f", None, -12)
    assert parse(HEAD + b"R\t/\t/m/a\t/m/\\0040\n") == Line(b"R", b"/", b"/m/a", b"/m/ ", 0)


def test_times_before_2001_and_before_1970_are_times() -> None:
    assert parse(b" 946684800.000000000\t+\tF\t/m/f\n").change == b"+"
    assert parse(b"        -5.000000001\t-\t|\t/m/f\n").kind == b"|"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        HEAD + b"M\tF\t/m/f",
        HEAD + b"M\tF\t/m/f\r\n",
        HEAD + b"M\t/m/f\n",
        HEAD + b"X\tF\t/m/f\n",
        HEAD + b"M\t?\t/m/f\n",
        HEAD + b"M\tF\t\n",
        HEAD + b"M\tF\t/m/f\t\n",
        HEAD + b"M\tF\t/m/f\t/m/g\n",
        HEAD + b"M\tF\t/m/f\t(1)\n",
        HEAD + b"+\tF\t/m/f\t(+1)\n",
        HEAD + b"R\tF\t/m/f\n",
        HEAD + b"R\tF\t/m/f\t/m/g\t(+1)\n",
        HEAD + b"R\tF\t/m/f -> /m/g\n",
        b"M\tF\t/m/f\n",
        b"1795205118\tM\tF\t/m/f\n",
        b"Unable to determine path\n",
    ],
)
def test_a_line_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(DiscoveryError, match="zfs diff"):
        parse(line)


def test_the_root_is_the_mount_point_and_a_slash() -> None:
    assert relative(b"/m/", b"/m") == b""
    assert relative(b"/m/d/f", b"/m") == b"d/f"
    assert relative(b"/d/f", b"/") == b"d/f"
    assert relative(b"/", b"/") == b""


@pytest.mark.parametrize(
    "path", [b"/m", b"/mm/f", b"/other", b"m/f", b"/m//f", b"/m/../f", b"/m/d/"]
)
def test_a_path_outside_of_the_dataset_is_refused(path: bytes) -> None:
    with pytest.raises(DiscoveryError, match="does not lie below"):
        relative(path, b"/m")


def test_a_path_that_may_be_cut_off_is_refused() -> None:
    longest = b"n/" * 2046 + b"n"
    assert len(b"/" + longest) == LONGEST_PATH - 1
    assert relative(b"/m/" + longest, b"/m") == longest
    with pytest.raises(DiscoveryError, match="cuts off"):
        relative(b"/m/" + longest + b"n", b"/m")


def test_both_sides_of_a_rename_are_looked_at() -> None:
    written, subtree = ChangeKind.WRITTEN, ChangeKind.SUBTREE_WRITTEN
    assert looks(b"R\tF\t/m/a\t/m/b") == [(b"a", written), (b"b", written)]
    assert looks(b"R\t/\t/m/a\t/m/b") == [(b"a", subtree), (b"b", subtree)]


@pytest.mark.parametrize("change", [b"+", b"-", b"M"])
def test_nothing_is_believed_removed(change: bytes) -> None:
    assert looks(change + b"\tF\t/m/f") == [(b"f", ChangeKind.WRITTEN)]
    assert looks(change + b"\t/\t/m/d") == [(b"d", ChangeKind.WRITTEN)]


def test_what_waits_for_deletion_has_no_path() -> None:
    assert looks(b"+\tF\t/m(on_delete_queue)", b"M\tF\t/m(on_delete_queue)") == []
    assert looks(b"R\tF\t/m(on_delete_queue)\t/m/linked") == [(b"linked", ChangeKind.WRITTEN)]
    assert looks(b"-\tF\t/(on_delete_queue)", mountpoint=b"/") == [
        (b"(on_delete_queue)", ChangeKind.WRITTEN)
    ]
    assert looks(b"-\tF\t/m/(on_delete_queue)") == [(b"(on_delete_queue)", ChangeKind.WRITTEN)]


def test_an_extended_attribute_is_a_change_of_its_file() -> None:
    assert Change(b"d/f") in list(hints([HEAD + b"+\tF\t/m/d/f/<xattrdir>/user.k\n"], b"/m"))
    assert looks(b"-\t/\t/m/f/<xattrdir>") == [
        (b"f/<xattrdir>", ChangeKind.WRITTEN),
        (b"f", ChangeKind.WRITTEN),
    ]
    assert (b"", ChangeKind.WRITTEN) in looks(b"+\tF\t/m/<xattrdir>/user.k")
    assert looks(b"+\tF\t/m/a<xattrdir>") == [(b"a<xattrdir>", ChangeKind.WRITTEN)]
