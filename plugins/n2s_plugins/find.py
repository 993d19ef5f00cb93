"""Discovery by walking: the whole tree, or only what was modified lately.

Options: `newer-than=7d` (s, m, h, d, w) looks at files and directories with a modification time
within that span, and never concludes that something was removed.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

from n2s_core.clock import SECOND_NS, now_ns
from n2s_core.errors import DiscoveryError
from n2s_core.model import Change, Discovery, Mark, Source
from n2s_plugins import hookimpl

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d+)([smhdw])")
OPTIONS = frozenset({"newer-than"})


def span_ns(text: str) -> int:
    """Nanoseconds of a span such as `90m`. Raises DiscoveryError."""
    match = _SPAN.fullmatch(text)
    if match is None:
        message = f"newer-than={text!r} is no span of time; write for example 90m, 12h, 7d or 2w."
        raise DiscoveryError(message)
    return int(match[1]) * _UNITS_S[match[2]] * SECOND_NS


class Find:
    """Walks the tree; needs nothing from the filesystem."""

    name = "find"

    def check(self, source: Source) -> None:
        """Raise DiscoveryError for options that it does not know."""
        unknown = sorted(set(source.options) - OPTIONS)
        if unknown:
            message = f"The find plugin has no option {unknown[0]!r}; it has newer-than."
            raise DiscoveryError(message)
        if "newer-than" in source.options:
            span_ns(source.options["newer-than"])

    def discover(self, source: Source, since: Mark | None) -> AbstractContextManager[Discovery]:
        """Every path of the tree, or with `newer-than` those modified since then."""
        del since
        changes = source.walk(source.root)
        newer_than = source.options.get("newer-than")
        if newer_than is None:
            return nullcontext(Discovery(source.root, None, complete=True, changes=changes))
        limit_ns = now_ns() - span_ns(newer_than)
        recent = _recent(changes, limit_ns)
        return nullcontext(Discovery(source.root, None, complete=False, changes=recent))


def _recent(changes: Iterator[Change], limit_ns: int) -> Iterator[Change]:
    for change in changes:
        if change.stat is not None and change.stat.st_mtime_ns >= limit_ns:
            yield change


@hookimpl
def n2s_discoverers() -> Iterable[Find]:
    """One discoverer, called find."""
    return [Find()]
