"""After a rebuild: what was decided applies, and what it let go is no loss."""

from typing import NamedTuple

from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.facts import Dataset
from n2s_core.flows.prune import Sight
from n2s_core.flows.rebuild import Line
from n2s_core.relpath import RelPath, show
from n2s_core.uses import Use


class Unread(NamedTuple):
    """A version whose list of pieces, in the object with this BLAKE3, could not be read, and why.

    `valid_from` is the changeset_no.
    """

    path: RelPath
    valid_from: int
    digest: bytes
    why: str


def settle(catalogue: Catalogue, dataset: Dataset, line: Line, unread: list[Unread]) -> list[str]:
    """Drop the versions that only swept changesets saw; which of the unread ones are a loss.

    Objects that any version needs, or that a prune repacked, are known to be ours from then on.
    """
    announced = [
        one for one in line.announcements if one.announcement.dataset_id == dataset.dataset_id
    ]
    catalogue.verdicts.restore(dataset.dataset_no, line.verdicts, announced)
    pruning = catalogue.pruning
    sight = Sight.of(pruning.numbers())
    pruning.begin_scan(Use.NONE)
    for page in pruning.versions():
        seen = [one for one in page if sight.use(one) is not Use.NONE]
        pruning.note_origins(page)
        pruning.use(seen, Use.KEPT)
        if len(seen) < len(page):
            pruning.remove_versions([one for one in page if sight.use(one) is Use.NONE])
    pruning.note_repacked(
        dataset.dataset_no,
        {
            digest
            for one in announced
            for move in one.announcement.moves
            for digest in (move.to, *(source.digest for source in move.sources))
        },
    )
    pruning.forget_lost()
    return [
        f"{show(one.path)}: {one.why}"
        for one in dict.fromkeys(unread)
        if pruning.has(dataset.dataset_no, one.path, one.valid_from, one.digest)
    ]
