"""Extended attributes that are larger than all of the contents: stored as they are, or named."""

import errno
import os
from pathlib import Path

import pytest

from n2s_core.flows import commit
from n2s_core.flows.rebuild import EntryReader, read_heads
from n2s_core.reading import LARGEST_XATTRS
from n2s_core.sealing import LARGEST_PAYLOAD, Kind, Sealer
from tests.conftest import Dataset, Mount, missing, quiet, round_trip

VALUE_BYTES = 60_000


@pytest.fixture
def roomy(tmpfs: Mount) -> Dataset:
    """A dataset that lies, and is restored, where attributes have room."""
    base = tmpfs("size=900m")
    made = Dataset(base, base / "root", base / "store", base / "config" / "config.toml")
    made.root.mkdir()
    made.init()
    return made


def give(path: Path, size: int) -> None:
    """Attributes of `size` bytes in all, which a compressor makes next to nothing of."""
    try:
        for number, at in enumerate(range(0, size, VALUE_BYTES)):
            value = b"%d" % number + bytes(min(VALUE_BYTES, size - at))
            os.setxattr(path, f"user.n2s-{number}", value[:VALUE_BYTES])
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        missing("This test needs a tmpfs with user attributes (Linux 6.6).")


@pytest.mark.parametrize("kind", ["directories", "files"])
def test_attributes_that_fill_many_records_come_back(roomy: Dataset, kind: str) -> None:
    """All of them in one record would be more than a reader takes."""
    one = LARGEST_XATTRS // 2
    for number in range(LARGEST_PAYLOAD // one + 2):
        path = roomy.root / f"path-{number}"
        if kind == "directories":
            path.mkdir()
        else:
            path.write_bytes(b"%d" % number)
        give(path, one)
    round_trip(roomy)


def test_attributes_beyond_the_format_are_named_and_the_rest_is_stored(roomy: Dataset) -> None:
    for name in ("a", "b", "c"):
        (roomy.root / name).write_bytes(name.encode())
    give(roomy.root / "b", LARGEST_XATTRS + VALUE_BYTES)
    (failure,) = roomy.push().failures
    assert failure.path == b"b"
    assert "attributes" in failure.error
    assert sorted(os.listdir(roomy.pull())) == ["a", "c"]


def test_a_payload_that_no_reader_takes_is_never_sealed() -> None:
    with pytest.raises(ValueError, match="larger than the format allows"):
        Sealer(bytes(32)).seal(Kind.NODES, b"\x80", bytes(LARGEST_PAYLOAD + 1))


def test_a_checkpoint_of_large_entries_can_be_read(
    roomy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "checkpoint_is_due", lambda *_: True)
    one = LARGEST_XATTRS // 2
    for number in range(LARGEST_PAYLOAD // one + 2):
        (roomy.root / f"path-{number}").mkdir()
        give(roomy.root / f"path-{number}", one)
    roomy.push()
    (roomy.root / "one more").touch()
    roomy.push()
    with roomy.space() as space:
        heads = list(read_heads(space.store, roomy.master_key(), pytest.fail))
        reader = EntryReader(space.store, roomy.master_key(), pytest.fail, quiet)
        for one_head in heads:
            assert one_head.head.checkpoint
            read = sum(len(found) for found in reader.checkpoint(one_head))
            assert read == sum(count for _, count in one_head.head.checkpoint)
