"""What was asked of the store, and what it costs, in words."""

from n2s_core.app.traffic import Traffic
from n2s_core.cli.running import Output
from n2s_core.cli.text import size_text

_WORDS = {"put": "PUT", "get": "GET", "list": "LIST", "stat": "HEAD", "delete": "DELETE"}


def money(amount: float, currency: str) -> str:
    """Two digits behind the point, of small amounts as many as say something."""
    text = f"{amount:.2f}" if amount >= 1 or not amount else f"{amount:.2g}"
    return f"{text} {currency}"


def say_traffic(out: Output, traffic: Traffic | None) -> None:
    """Requests and bytes for who wants to hear more; what they cost for who has prices."""
    if traffic is None:
        return
    if out.verbose:
        for one in traffic.shares():
            counts = ", ".join(f"{one.requests[kind]} {word}" for kind, word in _WORDS.items())
            where = f"{one.remote}: " if one.remote else ""
            out.summary(
                f"requests: {where}{counts}; {size_text(one.sent)} sent,"
                f" {size_text(one.received)} received"
            )
    cost = traffic.cost()
    if cost is not None:
        text = f"cost: {money(cost.requests, cost.currency)} for requests and what was read"
        if cost.monthly:
            text += f", {money(cost.monthly, cost.currency)} a month for what was stored"
        out.summary(text)
