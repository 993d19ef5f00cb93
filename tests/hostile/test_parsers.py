"""Whatever bytes a parser is given: it returns, or raises an error of n2s with a sentence."""

import os
import zlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.mutating import MESSAGEPACK, mutants
from tests.hostile.parsers import PARSERS, understood

CORPUS = Path(__file__).parent / "corpus"
SEEDS = range(int(os.environ.get("N2S_TEST_SEEDS", "1")))
MUTANTS = int(os.environ.get("N2S_TEST_MUTANTS", "1500"))
LONGEST = 20_000
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def read(name: str, data: bytes) -> None:
    """Only a sentence comes out."""
    said = None
    try:
        PARSERS[name].read(data)
    except PARSERS[name].refuses as error:
        said = str(error)
    assert said is None or said.strip(), "an error without a sentence"
    assert said is None or len(said) < LONGEST, "an error that repeats all of what it was given"


@pytest.mark.parametrize(("name", "good"), list(understood()))
def test_the_good_examples_are_understood(name: str, good: bytes) -> None:
    PARSERS[name].read(good)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_spoilt_bytes_are_an_error_of_ours(name: str, seed: int, tmp_path: Path) -> None:
    """What breaks a parser is left in the test's folder; once mended it goes into the corpus."""
    start = zlib.crc32(name.encode()) + seed
    for data in mutants(PARSERS[name].good, seed=start, count=MUTANTS):
        try:
            read(name, data)
        except BaseException:
            (tmp_path / f"{name}-{zlib.crc32(data):08x}").write_bytes(data)
            raise


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: Path) -> None:
    read(path.parent.name, path.read_bytes())


def test_every_finding_belongs_to_a_parser() -> None:
    assert FOUND, "the corpus lies in tests/hostile/corpus"
    assert {path.parent.name for path in FOUND} <= PARSERS.keys()


@settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), name=st.sampled_from(sorted(PARSERS)))
def test_noise_is_an_error_of_ours(data: bytes, name: str) -> None:
    read(name, data)


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(),
    st.binary(max_size=40), st.text(max_size=8), st.sampled_from(MESSAGEPACK),
)  # fmt: skip
_KEYS = st.sampled_from([*"ptsmougUGxldhbnifqakOdNkPtnuMCHReixS", ""])
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(_KEYS, inner, max_size=12),
    max_leaves=30,
)


@pytest.mark.parametrize("name", ["entries", "segments", "nodes", "metadata", "head", "table"])
def test_messagepack_of_any_shape_is_an_error_of_ours(name: str) -> None:
    @settings(
        deadline=None, max_examples=200, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(values=st.lists(VALUES, min_size=1, max_size=3))
    def run(values: list[object]) -> None:
        read(name, b"".join(msgpack.packb(value) for value in values))

    run()
