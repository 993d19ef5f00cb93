"""What a store costs each month, by the prices of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

from n2s_core.app.answers import Json
from n2s_core.app.traffic import DIGITS
from n2s_core.config import Config
from n2s_core.layout import Shelf
from n2s_core.prices import PriceTable
from n2s_core.remotes import PREFIX, ZSTOR_SHARDS, Metadata, Mode, RemoteSet

_COPIED = frozenset({Shelf.KEYS.value, Shelf.CHANGESETS.value})


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Money each month; `remotes` says how much of it for each of several."""

    currency: str
    monthly: float
    remotes: Mapping[str, float]

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "currency": self.currency,
            "monthly": round(self.monthly, DIGITS),
            "remotes": {name: round(money, DIGITS) for name, money in self.remotes.items()},
        }


def upkeep(config: Config, stored: Mapping[str, int]) -> Upkeep | None:
    """Of so many bytes on each shelf; None when the configuration has no prices.

    What remotes owe is reckoned as if it were there. Shards are taken to lie evenly on the remotes.
    """
    prices = config.prices
    if prices is None:
        return None
    url = config.store_url
    if not url.startswith(PREFIX):
        return Upkeep(prices.currency, prices.all.of_a_month(sum(stored.values())), {})
    return _of_several(prices, RemoteSet.from_url(url), stored)


def minimums_ns(config: Config) -> frozenset[int]:
    """For how long remotes charge in any case; without what is nothing."""
    if config.prices is None:
        return frozenset()
    several = [config.prices.all, *config.prices.remotes.values()]
    return frozenset(one.minimum_ns for one in several if one.minimum_days)


def early_removal(config: Config, lacking: Mapping[int, float]) -> float | None:
    """Money for objects that are removed before their time, by what each minimum lacks."""
    if config.prices is None:
        return None
    url = config.store_url
    if not url.startswith(PREFIX):
        return config.prices.all.of_early_removal(lacking.get(config.prices.all.minimum_ns, 0.0))
    wanted = RemoteSet.from_url(url)
    each = [config.prices.of(one.name) for one in wanted.remotes]
    share = _share(wanted, Shelf.DATA.value)
    return sum(share * one.of_early_removal(lacking.get(one.minimum_ns, 0.0)) for one in each)


def _of_several(prices: PriceTable, wanted: RemoteSet, stored: Mapping[str, int]) -> Upkeep:
    size = round(sum(_share(wanted, shelf) * size for shelf, size in stored.items()))
    remotes = {one.name: prices.of(one.name).of_a_month(size) for one in wanted.remotes}
    return Upkeep(prices.currency, sum(remotes.values()), remotes)


def _share(wanted: RemoteSet, shelf: str) -> float:
    """How much of an object each remote has, on the average."""
    if wanted.mode is Mode.MIRROR:
        return 1.0
    if shelf not in _COPIED:
        return wanted.expected_shards / wanted.minimal_shards / len(wanted.remotes)
    if wanted.metadata is Metadata.COPIES:
        return 1.0
    return ZSTOR_SHARDS / ZSTOR_NEEDED / len(wanted.remotes)


ZSTOR_NEEDED = 2
