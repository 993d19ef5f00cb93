"""Promise: a send stream is read exactly, and one that is damaged or unknown is never believed."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from n2s_core.errors import DiscoveryError
from n2s_core.model import ChangeKind
from n2s_plugins.btrfs.names import Names
from n2s_plugins.btrfs.stream import Attribute, Command, commands, crc32c

WRITE, UTIMES, ENCODED_WRITE = 15, 20, 25
FILE_OFFSET = 18


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("<HH", number, len(value)) + value


def command(number: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    head = struct.pack("<IHI", len(body), number, 0)
    return struct.pack("<IHI", len(body), number, crc32c(head + body)) + body


def about(number: int, path: bytes, to: bytes | None = None, link: bytes | None = None) -> bytes:
    attributes = [attribute(Attribute.PATH, path)]
    if to is not None:
        attributes.append(attribute(Attribute.PATH_TO, to))
    if link is not None:
        attributes.append(attribute(Attribute.PATH_LINK, link))
    return command(number, *attributes)


def stream(*parts: bytes, version: int = 1, end: bool = True) -> bytes:
    whole = struct.pack("<13sI", b"btrfs-stream\0", version) + b"".join(parts)
    return whole + command(Command.END) if end else whole


def changes(*parts: bytes) -> dict[bytes, ChangeKind]:
    names = Names()
    for said in commands(io.BytesIO(stream(*parts))):
        names.take(said)
    return {change.path: change.kind for change in names.changes()}


def test_the_checksum_is_crc32c_without_inversions() -> None:
    """Check value of CRC-32C is 0xE3069283 for "123456789" with both inversions."""
    assert crc32c(b"") == 0
    assert crc32c(b"\x01") == 0xF26B8303
    assert crc32c(b"123456789") == 0x58E3FA20


def test_version_2_has_data_without_a_size() -> None:
    long = b"x" * 70_000
    write = command(
        WRITE,
        attribute(Attribute.PATH, b"a/b"),
        attribute(FILE_OFFSET, bytes(8)),
        struct.pack("<H", Attribute.DATA) + long,
    )
    found = list(commands(io.BytesIO(stream(write, about(UTIMES, b"c"), version=2))))
    assert [(said.command, said.path) for said in found] == [(WRITE, b"a/b"), (UTIMES, b"c")]


GOOD = stream(
    about(Command.MKDIR, b"o1-2-0"),
    about(Command.RENAME, b"o1-2-0", to=b"new"),
    about(Command.LINK, b"new/link", link=b"old/file"),
    about(UTIMES, b""),
)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_stream_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(DiscoveryError):
        list(commands(io.BytesIO(GOOD[:length])))


@pytest.mark.parametrize("at", range(len(GOOD)))
def test_a_flipped_byte_is_refused(at: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= 0x41
    with pytest.raises(DiscoveryError):
        list(commands(io.BytesIO(bytes(damaged))))


@given(st.binary(max_size=300), st.integers(1, 3))
def test_noise_is_refused_or_read_but_nothing_else(noise: bytes, version: int) -> None:
    names = Names()
    try:
        for said in commands(io.BytesIO(stream(noise, version=version, end=False))):
            names.take(said)
    except DiscoveryError:
        return
    list(names.changes())


def test_unknown_commands_and_versions_are_refused() -> None:
    with pytest.raises(DiscoveryError, match="command 27"):
        list(commands(io.BytesIO(stream(command(27)))))
    with pytest.raises(DiscoveryError, match="version 4"):
        list(commands(io.BytesIO(stream(version=4))))


def test_temporary_names_are_followed_to_the_last_one() -> None:
    found = changes(
        about(Command.MKFILE, b"o300-9-0"),
        about(Command.RENAME, b"o300-9-0", to=b"dir/name"),
        about(WRITE, b"dir/name"),
        about(Command.RENAME, b"dir", to=b"o256-3-0"),
        about(Command.RENAME, b"o256-3-0", to=b"other"),
    )
    assert found[b"other/name"] is ChangeKind.WRITTEN
    assert found[b"other"] is found[b"dir"] is ChangeKind.SUBTREE_WRITTEN
    assert not any(path.startswith((b"o2", b"o3")) for path in found)


def test_names_that_are_swapped_are_both_subtrees() -> None:
    found = changes(
        about(Command.RENAME, b"a", to=b"o257-5-0"),
        about(Command.RENAME, b"b", to=b"a"),
        about(Command.RENAME, b"o257-5-0", to=b"b"),
        about(WRITE, b"a/inside"),
    )
    assert found[b"a"] is found[b"b"] is ChangeKind.SUBTREE_WRITTEN
    assert found[b"a/inside"] is ChangeKind.WRITTEN


def test_what_left_a_moved_directory_is_missed_at_its_first_place() -> None:
    found = changes(
        about(Command.RENAME, b"a", to=b"b"),
        about(Command.RENAME, b"b/x", to=b"y"),
        about(Command.UNLINK, b"b/z"),
    )
    assert {b"a/x", b"a/z", b"y", b"a", b"b"} <= set(found)


def test_a_name_that_cannot_be_there_is_refused() -> None:
    for parts in (
        (about(Command.UNLINK, b"a"), about(WRITE, b"a")),
        (about(Command.MKDIR, b"d"), about(WRITE, b"d/missing")),
        (about(Command.RMDIR, b""),),
    ):
        with pytest.raises(DiscoveryError):
            changes(*parts)
