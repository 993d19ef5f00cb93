"""Rows of one dataset as versions that name their changesets."""

from n2s_core.app.listings import Version
from n2s_core.catalogue.queries import Queries
from n2s_core.facts import Dataset
from n2s_core.model import FileRow


class Naming:
    """Turns rows into versions. Knows the changesets that were stored when it was made."""

    def __init__(self, queries: Queries, dataset: Dataset) -> None:
        self._by_number = {one.changeset_no: one for one in queries.changesets(dataset.dataset_no)}

    def version(self, row: FileRow, *, removed: bool = False) -> Version:
        """`removed`: what ended the version was the removal of the path."""
        made, ended = self._by_number.get(row.valid_from), self._by_number.get(row.valid_to)
        return Version(
            row.path,
            row.type,
            row.size,
            row.mtime_ns,
            row.mode,
            row.uid,
            row.gid,
            row.user_name,
            row.group_name,
            row.file_hash,
            row.blob_id,
            None if made is None else made.changeset_id,
            None if made is None else made.created_ns,
            None if ended is None else ended.changeset_id,
            removed,
        )

    def not_made_between(self, first_ns: int | None, last_ns: int | None) -> frozenset[int]:
        """Numbers of the changesets that were made before or after a span of time."""
        return frozenset(
            number
            for number, one in self._by_number.items()
            if (first_ns is not None and one.created_ns < first_ns)
            or (last_ns is not None and one.created_ns > last_ns)
        )
