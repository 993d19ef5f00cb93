"""How long single questions take in the catalogue, in a process that has it open.

Called with a configuration; prints one line of JSON: for each question the milliseconds of the
first time and the median of the others.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from n2s_core.app.workspace import Workspace

TIMES = 21
EVERY = 37


def milliseconds(ask: Callable[[], object]) -> float:
    """Of one question."""
    began = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - began)


def main() -> int:
    with Workspace.find(Path(sys.argv[1])) as space:
        dataset, queries = space.dataset, space.catalogue.queries
        no, head = dataset.dataset_no, dataset.head_no
        parts = dataset.live_files // 10_000
        found: dict[str, list[float]] = {"history": [], "where": [], "list of its folder": []}
        for turn in range(TIMES):
            part, folder = turn * EVERY % max(1, parts), turn
            under = b"part-%05d/folder-%05d" % (part, folder)
            path = b"%s/document %09d.txt" % (under, part * 10_000 + folder * 100 + 1)
            row = queries.at(no, head, path) or queries.history(dataset, path)[0]
            found["history"].append(milliseconds(lambda path=path: queries.history(dataset, path)))  # type: ignore[misc]
            found["where"].append(milliseconds(lambda row=row: queries.object(row.object_no)))  # type: ignore[misc]
            found["list of its folder"].append(
                milliseconds(lambda under=under: list(queries.tree(no, head, under=under)))  # type: ignore[misc]
            )
    print(json.dumps({key: [some[0], statistics.median(some[1:])] for key, some in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
