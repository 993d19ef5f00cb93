"""The comparison of a whole tree, shared among processes: each takes spans of the byte order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow
from n2s_core.flows.compare import Difference, Seen, merge
from n2s_core.model import Failure
from n2s_core.ports import Executor
from n2s_core.relpath import RelPath, Span
from n2s_core.walking import walk

SPREAD_FROM = 50_000  # live paths; fewer are compared before a second process has started
SPANS_PER_PROCESS = 6
MOST_DIFFERENCES = 10_000
WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SpanResult:
    """What one process found; `rest` is where it stopped because there was too much to send."""

    differences: list[Difference]
    unchanged: int
    failures: list[Failure]
    rest: RelPath | None


def compare_span(
    root: bytes, excludes: Excludes, span: Span, rows: Iterable[LiveRow]
) -> SpanResult:
    """Compare the part of the tree in `span` with the live rows in it."""
    failures: list[Failure] = []
    found: list[Difference] = []
    seen = Seen()

    def report(path: RelPath, error: str) -> None:
        seen.protected.add(path)
        failures.append(Failure(path, error))

    for one in merge(walk(root, excludes, report, span=span), rows, seen):
        if len(found) == MOST_DIFFERENCES:
            return SpanResult(found, seen.unchanged, failures, one.path)
        found.append(one)
    return SpanResult(found, seen.unchanged, failures, None)


@dataclass(frozen=True, slots=True)
class Spread:
    """Who compares spans: `call` runs in the processes of `executor`, `width` of them."""

    call: Callable[[Span], SpanResult]
    executor: Callable[[], Executor]
    width: int

    def results(
        self,
        first: RelPath,
        cut: Callable[[RelPath], RelPath | None],
        waiting: Callable[[], None],
    ) -> Iterator[tuple[Span, SpanResult]]:
        """One result per span, in order; as many are under way as there are processes, and one.

        `cut(path)` says where the span that begins at `path` ends. `waiting` is called now and
        then while nothing else can be done.
        """
        under_way: list[tuple[Span, Future[SpanResult]]] = []
        low: RelPath | None = first
        while low is not None or under_way:
            while low is not None and len(under_way) <= self.width:
                span = Span(low, cut(low))
                under_way.append((span, self.executor().submit(self.call, span)))
                low = span.high
            span, future = under_way.pop(0)
            while True:
                try:
                    result = future.result(WAIT_S)
                    break
                except NotYet:
                    if future.done():
                        raise
                    waiting()
            yield span, result
