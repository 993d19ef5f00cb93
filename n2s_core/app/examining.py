"""`plugins` and `doctor`: what is installed here and whether it works."""

import importlib.metadata
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from n2s_core.app.answers import Json, PathLike
from n2s_core.app.api import path_of, workspace
from n2s_core.app.dask_parts import require_dask
from n2s_core.app.guarding import exposed
from n2s_core.app.opening import spec_of
from n2s_core.app.plugging import problem_here
from n2s_core.app.setback import setback_of
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue_address import files_of
from n2s_core.clock import iso
from n2s_core.config import folders_of, shown_url
from n2s_core.errors import N2sError
from n2s_core.layout import Shelf
from n2s_core.stores import open_store, start
from n2s_core.workers import DASK

REACH_S = 20.0
FREE_BYTES = 200 << 20
SKEW_S = 60
OLDEST_YEAR = 2024
LIBRARIES = (
    "blake3", "cryptography", "zstandard", "msgpack", "pyfastcdc", "pluggy", "typer", "SQLAlchemy",
)  # fmt: skip


class Verdict(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Examination:
    """All probes."""

    probes: tuple[Probe, ...]

    @property
    def exit_code(self) -> int:
        """2 when anything fails."""
        return 2 if any(one.verdict is Verdict.FAIL for one in self.probes) else 0

    def to_json(self) -> Json:
        """`ok` is the whole of it."""
        return {
            "ok": not self.exit_code,
            "probes": [
                {"probe": one.name, "verdict": one.verdict.value, "text": one.text}
                for one in self.probes
            ],
        }


Finding = tuple[Verdict, str]


def examine(root: PathLike | None, config: PathLike | None) -> Examination:
    """Run every probe that can be run; a probe that breaks is a probe that failed."""
    found = [_probe("python", _python), _probe("libraries", _libraries)]
    found.append(_probe("processors", _processors))
    try:
        space = workspace(root, config)
    except N2sError as error:
        found.append(Probe("configuration", Verdict.FAIL, str(error)))
        found += [_probe("clock", lambda: _clock(None))]
        return Examination(tuple(found))
    with space:
        path = space.config.path
        found.append(Probe("configuration", Verdict.OK, f"{path} describes {space.config.root}."))
        found += [
            _probe("root", lambda: _root(space)),
            _probe("rclone", lambda: _rclone(space)),
            _probe("store", lambda: _store(space)),
            _probe("catalogue", lambda: _catalogue(space)),
            _probe("space", lambda: _space(space)),
            _probe("permissions", lambda: _permissions(space)),
            _probe("history", lambda: _history(space)),
            _probe("key", lambda: _key(space)),
            _probe("clock", lambda: _clock(space)),
            _probe("plugin", lambda: _plugin(space)),
            _probe("workers", lambda: _workers(space)),
        ]
    return Examination(tuple(found))


def _probe(name: str, look: Callable[[], Finding]) -> Probe:
    try:
        verdict, text = look()
    except N2sError as error:
        return Probe(name, Verdict.FAIL, str(error))
    except Exception as error:  # noqa: BLE001 - doctor goes on
        return Probe(name, Verdict.FAIL, f"{type(error).__name__}: {error}")
    return Probe(name, verdict, text)


def _python() -> Finding:
    return Verdict.OK, f"Python {platform.python_version()} on {platform.platform(terse=True)}."


def _libraries() -> Finding:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Verdict.FAIL, f"Not installed: {', '.join(missing)}. Install n2s again with pip."
    return Verdict.OK, f"{', '.join(found)}."


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Verdict.OK, f"{count} may be used."


def _root(space: Workspace) -> Finding:
    root = space.config.root
    if not root.is_dir():
        return Verdict.FAIL, f"{root} is not there; is it mounted?"
    if not os.access(root, os.R_OK | os.X_OK):
        return Verdict.FAIL, f"{root} cannot be read by this user."
    return Verdict.OK, f"{root} can be read."


def _rclone(space: Workspace) -> Finding:
    if not space.store_url.startswith("rclone:"):
        return Verdict.OK, "This store needs no rclone."
    from n2s_core.stores.rclone_program import find_rclone  # noqa: PLC0415 - with http.client
    from n2s_core.stores.rclone_rc import RcClient  # noqa: PLC0415

    with start(spec_of(space.config)) as spec:
        assert spec.rclone_address is not None
        client = RcClient(spec.rclone_address)
        version = client.call("core/version", {}, limit_s=REACH_S).json().get("version")
        client.close()
    return Verdict.OK, f"{find_rclone()} is rclone {version}."


def _store(space: Workspace) -> Finding:
    found: list[Finding] = []
    url = shown_url(space.store_url)

    def ask() -> None:
        try:
            with start(spec_of(space.config)) as spec:
                store = open_store(spec)
                try:
                    count = sum(1 for _ in store.list(Shelf.KEYS.value))
                finally:
                    store.close()
        except Exception as error:  # noqa: BLE001 - told in the answer
            found.append((Verdict.FAIL, str(error)))
            return
        if not count:
            found.append((Verdict.FAIL, f"{url} answers, but has no key object in keys/."))
        else:
            found.append((Verdict.OK, f"{url} answers; it has {count} key object(s)."))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_S)
    return found[0] if found else (Verdict.FAIL, f"{url} does not answer within {REACH_S:.0f} s.")


def _catalogue(space: Workspace) -> Finding:
    dataset = space.dataset
    count = len(space.catalogue.queries.changesets(dataset.dataset_no))
    failures = len(space.catalogue.queries.failures(dataset.dataset_no))
    begun = time.monotonic()
    space.catalogue.db.one("SELECT 1")
    took_ms = (time.monotonic() - begun) * 1000
    what = f"{space.catalogue.db.version()}, answers in {took_ms:.1f} ms"
    text = (
        f"{space.catalogue.address} opens ({what});"
        f" dataset {dataset.name!r} has {count} changeset(s)"
    )
    if failures:
        return Verdict.WARN, f"{text} and {failures} file(s) that could not be stored."
    complaint = space.catalogue.db.complaint()
    if complaint:
        return Verdict.WARN, f"{text}. {complaint}"
    return Verdict.OK, f"{text}."


def _space(space: Workspace) -> Finding:
    places = [path.parent for path in files_of(space.config.catalogue_address)[:1]]
    places += [path_of(one) for one in folders_of(space.store_url)]
    texts, verdict = [], Verdict.OK
    for place in places:
        free = shutil.disk_usage(place).free
        texts.append(f"{place} has {free >> 20} MiB free")
        if free < FREE_BYTES:
            verdict = Verdict.WARN
    return verdict, f"{', '.join(texts)}."


def _permissions(space: Workspace) -> Finding:
    found = exposed(space.config)
    if found:
        return Verdict.WARN, " ".join(found)
    return Verdict.OK, "Configuration, catalogue and key files are for their owner alone."


def _history(space: Workspace) -> Finding:
    setback = setback_of(space, space.store)
    if setback:
        return Verdict.FAIL, setback
    return Verdict.OK, "The store has the newest changeset that was stored in it."


def _key(space: Workspace) -> Finding:
    space.check_keyring()
    if space.is_write_only:
        return Verdict.OK, "The push credential fits; this machine stores, and reads nothing."
    return Verdict.OK, "The key opens the store."


def _clock(space: Workspace | None) -> Finding:
    now = time.time()
    here = iso(time.time_ns())
    if time.gmtime(now).tm_year < OLDEST_YEAR:
        return Verdict.FAIL, f"It is not {here}; set the clock of this machine."
    newest = now
    if space is not None:
        folders = [path_of(one) / Shelf.CHANGESETS.value for one in folders_of(space.store_url)]
        newest = max([newest, *(one.stat().st_mtime for one in folders if one.is_dir())])
    if newest > now + SKEW_S:
        text = f"The store was written {newest - now:.0f} s after now ({here}): a clock is wrong."
        return Verdict.WARN, text
    return Verdict.OK, f"It is {here}."


def _plugin(space: Workspace) -> Finding:
    problem = problem_here(space)
    if problem:
        return Verdict.FAIL, problem
    return Verdict.OK, f"{space.config.dataset.using} works here."


def _workers(space: Workspace) -> Finding:
    table = space.config.workers
    if table.executor != DASK:
        return Verdict.OK, "The processes of this machine seal."
    require_dask()
    from n2s_core.app.dask_probe import judged_workers  # noqa: PLC0415 - imports distributed

    try:
        well, text = judged_workers(table, space.config.dataset.id)
    except OSError as error:
        return Verdict.FAIL, f"The scheduler {table.scheduler} cannot be used: {error}."
    return Verdict.OK if well else Verdict.WARN, text
