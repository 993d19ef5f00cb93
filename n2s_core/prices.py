"""What the remotes of a store charge, as the user's configuration says it; judged when read.

There are no prices without a configuration: they differ between providers, places and months.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from n2s_core.errors import ConfigError

PER_REQUESTS = 1000
GB = 1000**3
DAY_NS = 86_400 * 10**9
MONTH_DAYS = 30
CURRENCY = "currency"
MOST_WORDS = 20


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one remote: money for 1000 requests of a kind, for a GB and month, for a GB read.

    `stat` are questions about one object (HEAD). An object that is removed before it is
    `minimum_days` old costs as much as if it had stayed so long.
    """

    put: float = 0.0
    get: float = 0.0
    list: float = 0.0
    stat: float = 0.0
    delete: float = 0.0
    storage: float = 0.0
    egress: float = 0.0
    minimum_days: float = 0.0

    def of_requests(self, counts: Mapping[str, int], received: int) -> float:
        """What requests by kind, and bytes that were read, cost."""
        asked: float = sum(getattr(self, kind) * counts.get(kind, 0) for kind in REQUEST_KINDS)
        return asked / PER_REQUESTS + self.egress * received / GB

    def of_a_month(self, size: int) -> float:
        """What so many bytes cost in a month."""
        return self.storage * size / GB

    @property
    def minimum_ns(self) -> int:
        """`minimum_days` in nanoseconds."""
        return int(self.minimum_days * DAY_NS)

    def of_early_removal(self, byte_ns: float) -> float:
        """What bytes cost that are paid for so long although they are gone."""
        return self.of_a_month(1) * byte_ns / (MONTH_DAYS * DAY_NS)


REQUEST_KINDS = ("put", "get", "list", "stat", "delete")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """`[prices]`: those of every remote, and in `[prices.NAME]` what differs with one of them."""

    currency: str
    all: Prices
    remotes: Mapping[str, Prices] = field(default_factory=dict)

    @classmethod
    def judged(cls, found: object, where: str, remotes: frozenset[str]) -> "PriceTable":
        """From a table. Raises ConfigError that begins with `where`."""
        if not isinstance(found, dict):
            message = f"{where} must be a table."
            raise ConfigError(message)
        currency = found.get(CURRENCY, "")
        printable = isinstance(currency, str) and currency.isprintable()
        if not printable or not 0 < len(currency) <= MOST_WORDS:
            message = f"{where}: {CURRENCY} is a word such as EUR."
            raise ConfigError(message)
        own = {key: value for key, value in found.items() if isinstance(value, dict)}
        common = _numbers({k: v for k, v in found.items() if k not in own}, where)
        special = {}
        for name, table in own.items():
            if name not in remotes:
                named = ", ".join(sorted(remotes)) or "none, because the store is one place"
                message = f"{where}: there is no remote {name!r}; there are {named}."
                raise ConfigError(message)
            numbers = _numbers(table, f"{where}, {name}")
            special[name] = Prices(**{**common, **numbers})
        return cls(currency, Prices(**common), special)

    def of(self, remote: str) -> Prices:
        """The prices of a remote; of a store that is one place its name is empty."""
        return self.remotes.get(remote, self.all)


def _numbers(table: Mapping[str, Any], where: str) -> dict[str, float]:
    known = [one.name for one in fields(Prices)]
    found: dict[str, float] = {}
    for key, value in table.items():
        if key == CURRENCY:
            continue
        if key not in known:
            message = f"{where}: there is no key {key!r}; there are {', '.join(known)}."
            raise ConfigError(message)
        number = type(value) in (int, float)
        if not number or not math.isfinite(value) or value < 0:
            message = f"{where}: {key} must be a number that is not negative."
            raise ConfigError(message)
        found[key] = float(value)
    return found
