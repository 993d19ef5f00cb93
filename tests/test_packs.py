"""Promise: nothing is sent that does not open."""

from typing import Any

import pytest
from blake3 import blake3

from n2s_core.errors import DamageError
from n2s_core.packs import Keyring, ObjectReader
from n2s_core.sealing import HEADER_SIZE, Kind, Sealer

KEYRING = Keyring(bytes(32))


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("size", [0, 50, 5000])
def test_a_record_that_a_bad_machine_spoilt_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, part: int, size: int
) -> None:
    seal = Sealer.seal

    def spoilt(*given: Any) -> tuple[bytes, bytes]:
        pieces = [*seal(*given)]
        whole = bytearray(pieces[part])
        whole[-5] ^= 4
        pieces[part] = bytes(whole)
        return pieces[0], pieces[1]

    monkeypatch.setattr(Sealer, "seal", spoilt)
    with pytest.raises(DamageError, match="does not open"):
        KEYRING.begin().add(Kind.BLOB, b"\x80", bytes(size))


def test_a_record_of_another_length_than_it_says_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seal = Sealer.seal
    monkeypatch.setattr(Sealer, "seal", lambda *given: (seal(*given)[0], b"short"))
    with pytest.raises(DamageError, match="check this machine's memory"):
        KEYRING.begin().add(Kind.BLOB, b"\x80", b"content")


@pytest.mark.parametrize("size", [0, 10, 4096 - HEADER_SIZE, 4096, 100_000])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_an_object_is_named_by_its_bytes_however_they_came(size: int, count: int) -> None:
    pack = KEYRING.begin()
    places = [
        pack.add(Kind.BLOB, b"\x80", bytes([number]) * (size if number % 3 else 7))
        for number in range(count)
    ]
    sealed = pack.finish()
    data = b"".join(sealed.chunks)
    assert (blake3(data).digest(), len(data)) == (sealed.digest, sealed.size)
    found = [(at, length) for at, length, _ in ObjectReader(data, bytes(32)).records(pytest.fail)]
    assert found == places


def test_a_record_that_comes_in_front_is_in_the_name() -> None:
    pack = KEYRING.begin()
    for _ in range(100):
        pack.add(Kind.ENTRIES, b"\x80", b"entries")
    body = pack.body()
    sealed = pack.with_first(Kind.HEAD, b"\x80").finish()
    data = b"".join(sealed.chunks)
    assert data.endswith(body)
    assert (blake3(data).digest(), len(data)) == (sealed.digest, sealed.size)
