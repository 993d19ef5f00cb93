"""The call that a worker gets: compare one span of the tree with the catalogue."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.excludes import Excludes
from n2s_core.facts import LiveRow
from n2s_core.flows.spread import SpanResult, compare_span
from n2s_core.relpath import Span

_catalogues: dict[Path, tuple[tuple[int, int] | None, Catalogue]] = {}


def catalogue_to_read(path: Path) -> Catalogue:
    """The catalogue as a worker sees it; it stays open for the next call.

    One that a rebuild put in the place of another numbers its objects anew.
    """
    kept = _catalogues.get(path)
    if kept is not None and kept[0] == _file(path):
        return kept[1]
    if kept is not None:
        kept[1].close()
    found = Catalogue(path, read_only=True)
    _catalogues[path] = _file(path), found
    return found


def _file(path: Path) -> tuple[int, int] | None:
    """Which file it is; while it is open no other one gets its number."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


@dataclass(frozen=True, slots=True)
class ComparingCall:
    """Compares spans of the tree at `root` in whichever process it is called."""

    catalogue: Path
    dataset_no: int
    root: bytes
    excludes: Excludes

    def __call__(self, span: Span) -> SpanResult:
        """Raises CatalogueError."""
        pages = catalogue_to_read(self.catalogue).pushes.live(self.dataset_no, span)
        rows: Iterator[LiveRow] = chain.from_iterable(pages)
        return compare_span(self.root, self.excludes, span, rows)
