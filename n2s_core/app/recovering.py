"""`recover`: a restore with nothing but the store and its passphrase."""

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from n2s_core.app import secrets
from n2s_core.app.answers import PullAnswer
from n2s_core.app.asking import chosen
from n2s_core.app.opening import opened, spec_from
from n2s_core.app.pulling import Source, pull
from n2s_core.app.pushing import MOST_WORKERS
from n2s_core.app.rebuilding import rebuild_into, survey
from n2s_core.app.traffic import Traffic
from n2s_core.app.unlocking import tried
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.clock import now_ns
from n2s_core.config import KeyTable, StoreTable, absolute_url, shown_url, store_options
from n2s_core.errors import UsageError
from n2s_core.flows.pull import PullWish
from n2s_core.flows.rebuild import Line
from n2s_core.keypage import read_key
from n2s_core.keys import store_id
from n2s_core.model import Report
from n2s_core.stores import start


@dataclass(frozen=True, slots=True)
class RecoverOrder:
    """What the user wants back; None means the only dataset, the latest changeset.

    `store_options` are keys of `[store]`; `words`: a key file or a key page, in the
    place of the passphrase.
    """

    store_url: str
    target: Path
    dataset: str | None = None
    changeset_id: str | None = None
    at: str | None = None
    store_options: Mapping[str, str] = field(default_factory=dict)
    words: Path | None = None


def recover(order: RecoverOrder, report: Report) -> PullAnswer:
    """Run it. Raises N2sError; what is damaged is named in the answer, the rest is restored."""
    started_ns = now_ns()
    url = absolute_url(order.store_url, Path.cwd())
    wished = spec_from(url, StoreTable(url, **store_options(order.store_options)))
    given = None if order.words is None else read_key(order.words)
    secret = secrets.passphrase(KeyTable()) if given is None else ""
    target = Path(os.path.abspath(order.target))
    with start(wished) as spec, contextlib.ExitStack() as stack:
        store = opened(spec)
        stack.callback(store.close)
        whole, damaged = secrets.key_objects(store)
        where = f"the store {shown_url(url)}"
        if given is None:
            master = secrets.unlock(whole, damaged, secret, where=where)
        else:
            master = tried(given, store, where)
        line = _choose(survey(store, master, report), order.dataset, url)
        folder = stack.enter_context(_scratch(target))
        catalogue = stack.enter_context(
            Catalogue.create(folder / "catalogue.db", store_id=store_id(master), store_url=url)
        )
        problems = [f"The key object {name} is damaged." for name in damaged]
        problems += rebuild_into(catalogue, store, master, [line], report)
        dataset = catalogue.dataset(line.dataset_id)
        changeset = chosen(catalogue.queries, dataset, order.changeset_id, order.at)
        workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
        source = Source(catalogue, dataset, changeset, spec, master, workers)
        done, _ = pull(source, PullWish(os.fsencode(target)), report)
        return PullAnswer(
            changeset_id=(changeset.changeset_id or b"").hex(),
            dataset=dataset.name,
            target=os.fsencode(target),
            files=done.files,
            bytes=done.bytes,
            skipped=done.skipped,
            damaged=done.damaged,
            failures=tuple(done.failures),
            seconds=(now_ns() - started_ns) / 1e9,
            problems=tuple(problems),
            traffic=Traffic(store.take_requests() + done.requests, None),
        )


def _choose(lines: list[Line], wanted: str | None, url: str) -> Line:
    found = [line for line in lines if wanted is None or line.name == wanted]
    if wanted is not None and not found:
        found = [line for line in lines if line.dataset_id.hex() == wanted.lower()]
    names = Counter(line.name for line in lines)
    listed = ", ".join(
        sorted(
            f"{line.name} ({line.dataset_id.hex()})" if names[line.name] > 1 else line.name
            for line in lines
        )
    )
    if len(found) == 1:
        return found[0]
    if not lines:
        message = f"The store {url} holds no changesets; there is nothing to recover."
    elif found:
        message = (
            f"The store holds several datasets: {listed}. Choose one with --dataset, by name or,"
            " where two have the same, by id."
        )
    else:
        message = f"The store has no dataset {wanted!r}; it has {listed}."
    raise UsageError(message)


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder (0700) for the catalogue: in $TMPDIR, else beside the target, else in /tmp."""
    near = target.parent
    while not near.exists():
        near = near.parent
    if os.environ.get("TMPDIR") or not os.access(near, os.W_OK):
        made = tempfile.TemporaryDirectory(prefix="n2s-recover-")
    else:
        made = tempfile.TemporaryDirectory(prefix=".n2s-recover-", dir=near)
    with made as folder:
        yield Path(folder)
