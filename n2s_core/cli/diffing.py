"""What `diff` prints, as it is found: memory does not follow the number of paths."""

import json
import shutil
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO

from n2s_core.app.diffing import Differences, Kind
from n2s_core.cli.running import Output
from n2s_core.relpath import show

_SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.CHANGED: "M"}


def say_differences(out: Output, between: Differences) -> int:
    """In words, as one document, or as one for each path."""
    if out.setting.lines:
        out.documents({"change": one.kind.value, **one.version.to_json()} for one in between.found)
    elif out.json:
        _write_document(between)
    else:
        _write_text(out, between)
    return 0


def _write_text(out: Output, between: Differences) -> None:
    counts: Counter[Kind] = Counter()
    for kind, version in between.found:
        end = "/" if version.type == "directory" else ""
        out.line(f"{_SIGNS[kind]} {show(version.path) or '.'}{end}")
        counts[kind] += 1
    out.note(", ".join(f"{counts[kind]} {kind.value}" for kind in Kind))


def _write_document(between: Differences) -> None:
    """One list after the other, although they come mixed: the later ones wait in files.

    Nothing is written before the first path is there, so an error until then stands alone.
    """
    found = iter(between.found)
    first = list(islice(found, 1))
    head = {"from": between.older.changeset_id, "to": between.newer.changeset_id}
    with ExitStack() as stack:
        lists: dict[Kind, IO[str]] = {Kind.ADDED: sys.stdout}
        for kind in (Kind.REMOVED, Kind.CHANGED):
            lists[kind] = stack.enter_context(TemporaryFile("w+", encoding="ascii"))
        sys.stdout.write(f'{json.dumps(head)[:-1]}, "{Kind.ADDED.value}": [')
        commas = dict.fromkeys(Kind, "")
        for kind, version in chain(first, found):
            lists[kind].write(commas[kind] + json.dumps(version.to_json()))
            commas[kind] = ",\n "
        for kind in (Kind.REMOVED, Kind.CHANGED):
            sys.stdout.write(f'], "{kind.value}": [')
            lists[kind].seek(0)
            shutil.copyfileobj(lists[kind], sys.stdout)
        sys.stdout.write("]}\n")
