#!/usr/bin/env python3
"""What n2s does with ready-made objects, without all that it does besides: a part of stores.py.

`put` stores each file of a folder under its name there, as a push does: asked again while the store
is unavailable, and confirmed. `get` reads the objects with these names into another folder.
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from n2s_core.app.opening import OpenedStore, opened
from n2s_core.stores import StoreSpec, start
from n2s_core.stores.spec import RcloneOptions


def put(store: OpenedStore, objects: Path, name: str) -> None:
    data = (objects / name).read_bytes()
    store.put(name, [data], len(data))


def get(store: OpenedStore, target: Path, name: str) -> None:
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(store.get(name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("put", "get"))
    parser.add_argument("url", help="of the store")
    parser.add_argument("objects", type=Path, help="a folder of objects")
    parser.add_argument("--into", type=Path, help="where get writes them")
    parser.add_argument("--transfers", type=int, default=4, help="objects at a time (4)")
    parser.add_argument("--bwlimit", default="", help="as in [store]")
    given = parser.parse_args()
    if (given.verb == "get") != (given.into is not None):
        parser.error("get, and nothing else, takes --into")
    files = [path for path in given.objects.rglob("*") if path.is_file()]
    names = [str(path.relative_to(given.objects)) for path in files]
    with start(StoreSpec(given.url, rclone_options=RcloneOptions(given.bwlimit))) as spec:
        store = opened(spec)
        work: Callable[[str], None] = (
            partial(put, store, given.objects)
            if given.verb == "put"
            else partial(get, store, given.into)
        )
        with ThreadPoolExecutor(given.transfers) as threads:
            for done in [threads.submit(work, name) for name in names]:
                done.result()


if __name__ == "__main__":
    main()
