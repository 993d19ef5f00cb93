"""The call that a worker gets: compare one span of the tree with the catalogue."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.database import incarnation
from n2s_core.catalogue_address import CatalogueAddress
from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow
from n2s_core.flows.spread import SpanResult, compare_span
from n2s_core.relpath import Span

_catalogues: dict[CatalogueAddress, tuple[object, Catalogue]] = {}


def catalogue_to_read(address: CatalogueAddress) -> Catalogue:
    """The catalogue as a worker sees it; it stays open for the next call.

    One that a rebuild put in the place of another numbers its objects anew.
    """
    kept = _catalogues.get(address)
    which = incarnation(address)
    if kept is not None and kept[0] == which:
        return kept[1]
    if kept is not None:
        kept[1].close()
    found = Catalogue(address, read_only=True)
    _catalogues[address] = which, found
    return found


@dataclass(frozen=True, slots=True)
class ComparingCall:
    """Compares spans of the tree at `root` in whichever process it is called."""

    catalogue: CatalogueAddress
    dataset_no: int
    root: bytes
    excludes: Excludes

    def __call__(self, span: Span) -> SpanResult:
        """Raises CatalogueError."""
        pages = catalogue_to_read(self.catalogue).pushes.live(self.dataset_no, span)
        rows: Iterator[LiveRow] = chain.from_iterable(pages)
        return compare_span(self.root, self.excludes, span, rows)
