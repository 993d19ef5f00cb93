"""Promise: money is what the configuration says, for what was counted, of all remotes together."""

import os
from collections import Counter
from pathlib import Path

import pytest

from n2s_core import config
from n2s_core.app.api import push
from n2s_core.app.keeping import forget, prune
from n2s_core.app.standing import status
from n2s_core.app.traffic import Traffic
from n2s_core.cli.spending import money
from n2s_core.errors import ConfigError
from n2s_core.prices import Prices, PriceTable
from tests import several
from tests.conftest import Dataset

GB = 1000**3
TABLE = """
[prices]
currency = "EUR"
put = 5
get = 0.4
list = 5.0
stat = 0.4
storage = 20
egress = 90
"""


def priced(dataset: Dataset, table: str = TABLE) -> Dataset:
    with dataset.config.open("a") as file:
        file.write(table)
    return dataset


def test_requests_cost_by_the_thousand_and_bytes_by_the_gigabyte() -> None:
    prices = Prices(put=5, get=0.4, list=5, stat=0.4, delete=1, storage=20, egress=90)
    counts = {"put": 3000, "get": 500, "list": 2, "stat": 250, "delete": 10, "about": 7}
    assert prices.of_requests(counts, GB // 2) == pytest.approx(15 + 0.2 + 0.01 + 0.1 + 0.01 + 45)
    assert prices.of_a_month(GB // 4) == 5
    assert Prices().of_requests(counts, GB) == Prices().of_a_month(GB) == 0


def test_remotes_add_up_each_by_its_own_prices() -> None:
    table = PriceTable("EUR", Prices(put=1, storage=10), {"cold": Prices(put=8, storage=1)})
    counts = Counter({"put": 2000, "hot/put": 1000, "cold/put": 1000})
    counts += Counter({"bytes_sent": 2 * GB, "hot/bytes_sent": GB, "cold/bytes_sent": GB})
    cost = Traffic(counts, table).cost()
    assert cost is not None
    assert (cost.currency, cost.requests, cost.monthly) == ("EUR", 9.0, 11.0)


def test_a_push_says_what_it_cost_and_what_it_will(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(bytes(range(256)) * 1000)
    done = push(config=priced(dataset).config).to_json()
    asked = done["requests"]
    wanted = (5 * asked["put"] + 0.4 * (asked["get"] + asked["stat"])) / 1000
    wanted += 90 * done["bytes_received"] / GB
    assert asked["put"] > 0
    assert done["cost"]["currency"] == "EUR"
    assert done["cost"]["requests"] == pytest.approx(wanted, abs=1e-6)
    assert done["cost"]["monthly"] == pytest.approx(20 * done["bytes_sent"] / GB, abs=1e-6)


def test_without_prices_nothing_has_a_cost(dataset: Dataset) -> None:
    assert push(config=dataset.config).to_json()["cost"] is None
    assert status(config=dataset.config).to_json()["cost"] is None


def test_a_status_says_what_all_of_it_costs_a_month(dataset: Dataset) -> None:
    (dataset.root / "file").write_bytes(bytes(range(256)) * 10_000)
    push(config=priced(dataset).config)
    found = status(config=dataset.config).to_json()
    assert found["stored_bytes"] > 0
    assert found["cost"] == {
        "currency": "EUR",
        "monthly": pytest.approx(20 * found["stored_bytes"] / GB, abs=1e-6),
        "remotes": {},
    }


def test_every_copy_of_a_mirror_is_paid_for(tmp_path: Path) -> None:
    mirror = several.make(tmp_path / "mirror", 'mode = "mirror"', 2)
    priced(mirror, TABLE + "[prices.r1]\nstorage = 1\nput = 1\n")
    done = push(config=mirror.config).to_json()
    puts = done["requests"]["put"]
    assert {name: one["requests"]["put"] for name, one in done["remotes"].items()} == {
        "r0": puts // 2,
        "r1": puts // 2,
    }
    found = status(config=mirror.config).to_json()
    size = found["stored_bytes"]
    assert found["cost"]["monthly"] == pytest.approx(21 * size / GB, abs=1e-6)
    assert set(found["cost"]["remotes"]) == {"r0", "r1"}
    assert done["cost"]["monthly"] == pytest.approx(21 * (done["bytes_sent"] / 2) / GB, abs=1e-6)


def test_shards_cost_by_their_size(tmp_path: Path) -> None:
    pytest.importorskip("zfec")
    head = 'mode = "erasure"\nminimal_shards = 2\nexpected_shards = 3'
    shards = priced(several.make(tmp_path / "shards", head, 3))
    push(config=shards.config)
    there = sum(one.stat().st_size for one in shards.store.rglob("*") if one.is_file())
    found = status(config=shards.config).to_json()
    assert found["cost"]["monthly"] == pytest.approx(20 * there / GB, rel=0.25)


@pytest.mark.parametrize(("days", "share"), [(90.0, 1.0), (0.0, 0.0)])
def test_removal_before_its_time_is_charged(dataset: Dataset, days: float, share: float) -> None:
    priced(dataset, TABLE + f"minimum_days = {days}\n")
    for _ in range(3):  # the second of them is alone in its object
        (dataset.root / "file").write_bytes(os.urandom(200_000))
        dataset.push()
    forget(config=dataset.config, rules={"keep_last": "1"})
    for dry_run in (True, False):
        found = prune(
            config=dataset.config, grace="0h", max_unused="unlimited", dry_run=dry_run
        ).to_json()
        assert found["objects_removed"] == 1
        wanted = share * 20 * found["bytes_removed"] / GB * days / 30
        assert found["early_cost"] == pytest.approx(wanted, abs=2e-6)
    again = prune(config=dataset.config, grace="0h", max_unused="unlimited")
    assert again.to_json()["early_cost"] == 0


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("[prices]\nput = 1", "currency is a word"),
        ('[prices]\ncurrency = ""', "currency is a word"),
        ('[prices]\ncurrency = "EUR"\nputs = 1', "no key 'puts'"),
        ('[prices]\ncurrency = "EUR"\nput = -1', "put must be a number"),
        ('[prices]\ncurrency = "EUR"\nput = "1"', "put must be a number"),
        ('[prices]\ncurrency = "EUR"\nput = nan', "put must be a number"),
        ('[prices]\ncurrency = "EUR"\nput = true', "put must be a number"),
        ('[prices]\ncurrency = "EUR"\n[prices.r9]\nput = 1', "no remote 'r9'"),
    ],
)
def test_prices_that_cannot_be_are_refused(dataset: Dataset, table: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.read(priced(dataset, table).config)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.0, "0.00 EUR"), (12.345, "12.35 EUR"), (0.5, "0.5 EUR"), (0.000123, "0.00012 EUR")],
)
def test_small_amounts_are_said_so_that_they_say_something(amount: float, text: str) -> None:
    assert money(amount, "EUR") == text
