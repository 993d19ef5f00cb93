"""Promise: what was decided about changesets is read from a store as it was written."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from blake3 import blake3

from n2s_core import packs, sealing
from n2s_core.errors import DamageError, UsageError
from n2s_core.verdicts import KEPT, Standing, Verdict, check_tags
from tests.vectors.make_forget import MASTER, VERDICT, frozen

VECTOR: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "forget-1.json").read_text("ascii")
)
ONE, TWO = b"1" * 32, b"2" * 32


def verdict(made_ns: int = 5, **lists: Any) -> Verdict:
    return Verdict(b"d" * 16, "home", made_ns, **lists)


def test_the_same_decision_gives_the_frozen_bytes() -> None:
    assert frozen() == VECTOR


def test_the_frozen_object_opens_to_the_decision() -> None:
    data = bytes.fromhex(VECTOR["object"])
    assert blake3(data).hexdigest() == VECTOR["blake3"]
    ((_, _, found),) = packs.ObjectReader(data, MASTER).records(pytest.fail)
    assert found.kind == sealing.Kind.FORGET
    assert Verdict.parse(found.meta) == VERDICT


@pytest.mark.parametrize(
    "change",
    [{"t": None}, {"t": -1}, {"t": 1 << 63}, {"d": "text"}, {"F": 7}, {"F": ["text"]},
     {"G": [[ONE]]}, {"G": [[7, []]]}, {"G": 1}],
)  # fmt: skip
def test_a_decision_that_says_nonsense_is_damage(change: dict[str, Any]) -> None:
    body = {**msgpack.unpackb(verdict(forgotten=(ONE,)).pack()), **change}
    with pytest.raises(DamageError, match="lacks"):
        Verdict.parse(body)
    with pytest.raises(DamageError, match="lacks"):
        Verdict.parse({})


def test_keys_that_are_not_known_are_ignored() -> None:
    body = {**msgpack.unpackb(verdict(forgotten=(ONE,)).pack()), "Z": 1}
    assert Verdict.parse(body) == verdict(forgotten=(ONE,))


def test_a_forgotten_changeset_comes_back_until_it_is_swept() -> None:
    found: dict[bytes, Standing] = {}
    verdict(5, forgotten=(ONE, TWO)).apply(found)
    verdict(6, forgotten=(ONE,)).apply(found)
    assert found == {ONE: Standing(forgotten_ns=5), TWO: Standing(forgotten_ns=5)}
    verdict(7, brought_back=(ONE,)).apply(found)
    verdict(8, swept=(TWO,)).apply(found)
    verdict(9, brought_back=(TWO,)).apply(found)
    assert found == {ONE: KEPT, TWO: Standing(forgotten_ns=5, swept=True)}


def test_tags_replace_tags_and_pins_end() -> None:
    found = {ONE: Standing(tags=frozenset({"a"}))}
    verdict(pinned=(ONE, TWO), tags={ONE: ("b",)}).apply(found)
    verdict(unpinned=(TWO,)).apply(found)
    assert found == {ONE: Standing(pinned=True, tags=frozenset({"b"})), TWO: KEPT}


@pytest.mark.parametrize("tag", ["", "a,b", "line\nbreak", "\udcff"])
def test_what_could_not_be_named_is_no_tag(tag: str) -> None:
    with pytest.raises(UsageError, match="tag"):
        check_tags(["well", tag])
