"""What was asked of a store, by remote and kind of request, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from n2s_core.app.answers import REQUESTS, Json
from n2s_core.prices import PriceTable
from n2s_core.stores.counting import RECEIVED, SENT, by_remote

DIGITS = 6


class Share(NamedTuple):
    """What one remote was asked; its name is empty when the store is one place."""

    remote: str
    requests: Mapping[str, int]
    sent: int
    received: int


class Cost(NamedTuple):
    """Money: for the requests and what was read, and each month for what was sent."""

    currency: str
    requests: float
    monthly: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """The `counts` of a command, as the counting stores give them; `prices` may be None."""

    counts: Mapping[str, int]
    prices: PriceTable | None

    def shares(self) -> list[Share]:
        """By remote, in the order of their names."""
        return [
            Share(
                remote,
                {kind: counts.get(kind, 0) for kind in REQUESTS},
                counts.get(SENT, 0),
                counts.get(RECEIVED, 0),
            )
            for remote, counts in sorted(by_remote(self.counts).items())
        ]

    def cost(self) -> Cost | None:
        """Of all remotes together; None without prices."""
        if self.prices is None:
            return None
        shares = [(self.prices.of(one.remote), one) for one in self.shares()]
        return Cost(
            self.prices.currency,
            sum(prices.of_requests(one.requests, one.received) for prices, one in shares),
            sum(prices.of_a_month(one.sent) for prices, one in shares),
        )

    def to_json(self) -> Json:
        """The keys of docs/commands.md that several commands have."""
        cost = self.cost()
        return {
            "requests": {kind: self.counts.get(kind, 0) for kind in REQUESTS},
            SENT: self.counts.get(SENT, 0),
            RECEIVED: self.counts.get(RECEIVED, 0),
            "remotes": {
                one.remote: {"requests": one.requests, SENT: one.sent, RECEIVED: one.received}
                for one in self.shares()
                if one.remote
            },
            "cost": None
            if cost is None
            else {
                "currency": cost.currency,
                "requests": round(cost.requests, DIGITS),
                "monthly": round(cost.monthly, DIGITS),
            },
        }
