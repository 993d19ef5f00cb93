"""The public Python API: what the commands do, as functions.

Paths are str, bytes or Path; `root` is the directory that was prepared and `config` its
configuration (a file, or a folder that holds one); with neither the rules of the command line
apply. Every function raises N2sError with a sentence for the user, and answers a frozen fact with
`to_json()`. `report` hears of progress. The passphrase comes from the environment or the
configuration. Each function imports what it needs, because a push that finds nothing to do takes
less time than the imports of a restore.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from n2s_core.errors import N2sError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from n2s_core.app.answers import PathLike, PullAnswer, PushAnswer
    from n2s_core.app.examining import Examination
    from n2s_core.app.key_objects import KeyAnswer
    from n2s_core.app.keying import KeyOrder
    from n2s_core.app.plugging import PluginAnswer
    from n2s_core.app.preparing import Prepared
    from n2s_core.app.pushing import PushOrder
    from n2s_core.app.rebuilding import RebuildAnswer
    from n2s_core.app.repairing import RepairAnswer
    from n2s_core.app.storing import StoreAnswer
    from n2s_core.app.verifying import VerifyAnswer
    from n2s_core.app.watching import News, Stop, WatchOrder
    from n2s_core.app.workspace import Workspace
    from n2s_core.config import Config
    from n2s_core.model import Progress, Report


__all__ = [
    "STORE_ACTIONS", "N2sError", "doctor", "init", "key", "list_plugins", "pull", "push", "rebuild",
    "recover", "repair", "store", "verify", "watch", "workspace",
]  # fmt: skip

STORE_ACTIONS = ("list", "status", "sync", "verify", "repair")


def silent(_progress: Progress) -> None:
    """The report of whoever does not want to know."""


def path_of(path: PathLike) -> Path:
    """A Path; bytes that are not UTF-8 survive in it."""
    return Path(os.fsdecode(path))


def workspace(root: PathLike | None, config: PathLike | None) -> Workspace:
    """The dataset that is meant. A context manager. Raises ConfigError."""
    from n2s_core.app.workspace import Workspace

    return Workspace(_configured(root, config))


def _configured(root: PathLike | None, config: PathLike | None) -> Config:
    from n2s_core.config import chosen

    wanted = config if config is not None else root
    return chosen(None if wanted is None else path_of(wanted))


def init(
    root: PathLike,
    store: str,
    *,
    dataset: str | None = None,
    using: str = "find",
    options: Mapping[str, str] | None = None,
    exclude: Iterable[str] = (),
    exclude_if_present: Iterable[str] = (),
    exclude_caches: bool = False,
    one_file_system: bool = False,
    catalogue: str | None = None,
    share: bool = False,
    pack_size: int | None = None,
    store_options: Mapping[str, str] | None = None,
    push_credential: PathLike | None = None,
    kdf_s: float | None = None,
    config: PathLike | None = None,
    report: Report = silent,
) -> Prepared:
    """Prepare a dataset; a store that exists is joined, and a dataset in it is continued.

    A dataset that is prepared already is refused. `store_options` are keys of `[store]`, as words.
    With a `push_credential` it is pushed and never read here. `kdf_s`: how many seconds a guess at
    the passphrase of a new store takes.
    """
    from n2s_core.app.preparing import InitOrder
    from n2s_core.app.preparing import init as prepare

    order = InitOrder(
        root=path_of(root),
        store_url=store,
        dataset=dataset,
        using=using,
        options=options,
        exclude=tuple(exclude),
        exclude_if_present=tuple(exclude_if_present),
        exclude_caches=exclude_caches,
        one_file_system=one_file_system,
        catalogue=catalogue,
        share=share,
        pack_size=pack_size,
        store_options=store_options or {},
        push_credential=None if push_credential is None else path_of(push_credential),
        kdf_s=kdf_s,
        config=None if config is None else path_of(config),
    )
    return prepare(order, report)


def push(
    root: PathLike | None = None,
    paths: Iterable[PathLike] | None = None,
    *,
    config: PathLike | None = None,
    changeset_name: str = "",
    using: str | None = None,
    options: Mapping[str, str] | None = None,
    exclude: Iterable[str] = (),
    full: bool = False,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
    tags: Iterable[str] = (),
    report: Report = silent,
) -> PushAnswer:
    """Store what changed. `paths` (relative to the root, or absolute below it) ask no discoverer.

    Paths that cannot be read are failures in the answer; the rest is stored.
    """
    from n2s_core.app.unlocking import begin_early

    found = _configured(root, config)
    unlocking = begin_early(found)
    from n2s_core.app.pushing import PushOrder
    from n2s_core.app.workspace import Workspace

    with Workspace(found, unlocking) as space:
        order = PushOrder(
            changeset_name=changeset_name,
            using=using,
            options=options,
            exclude=tuple(exclude),
            paths=None if paths is None else [os.fsencode(path) for path in paths],
            full=full,
            dry_run=dry_run,
            allow_mass_removal=allow_mass_removal,
            tags=tuple(tags),
        )
        return push_in(space, order, report)


def push_in(space: Workspace, order: PushOrder, report: Report) -> PushAnswer:
    """Push a dataset that is open already."""
    from n2s_core.app.answers import PushAnswer
    from n2s_core.app.pushing import push as run

    upgraded = not order.dry_run and space.upgrade_catalogue()
    done, used, seconds = run(space, order, report)
    return PushAnswer(
        changeset_id=None if done.changeset_id is None else done.changeset_id.hex(),
        changeset_name=order.changeset_name,
        dataset=space.config.dataset.name,
        using=used,
        complete=done.complete,
        fallback=done.fallback,
        written=done.written,
        touched=done.touched,
        removed=done.removed,
        unchanged=done.unchanged,
        failed=done.failed,
        failures=tuple(done.failures),
        bytes_read=done.bytes_read,
        bytes_stored=done.bytes_stored,
        objects_stored=done.objects_stored,
        audited=done.audit.looked,
        audit_misses=done.audit.missed,
        seconds=seconds,
        dry_run=order.dry_run,
        traffic=space.traffic(done.requests),
        debts=done.debts,
        store_address=None if order.dry_run else space.store_address(),
        setback=done.setback,
        catalogue_upgraded=upgraded,
        notes=done.notes,
    )


def pull(
    target_path: PathLike,
    root: PathLike | None = None,
    paths: Iterable[PathLike] = (),
    *,
    config: PathLike | None = None,
    changeset_id: str | None = None,
    at: str | None = None,
    force: bool = False,
    delete: bool = False,
    dry_run: bool = False,
    report: Report = silent,
) -> PullAnswer:
    """Restore a changeset (an id, a prefix of one, "latest"), or the state `at` an ISO 8601 time.

    Files that are right already are skipped, different ones are replaced with `force` only, and
    with `delete` what the changeset does not have is removed from the target.
    """
    with workspace(root, config) as space:
        space.begin_unlock()
        from n2s_core.app.answers import PullAnswer
        from n2s_core.app.asking import chosen
        from n2s_core.app.pulling import pull as run
        from n2s_core.app.pulling import source_of
        from n2s_core.flows.pull import PullWish
        from n2s_core.relpath import parse

        wish = PullWish(
            target=os.fsencode(os.path.abspath(os.fsdecode(target_path))),
            paths=tuple(parse(os.fsencode(path), root=space.root) for path in paths),
            force=force,
            delete=delete,
            dry_run=dry_run,
        )
        changeset = chosen(space.catalogue.queries, space.dataset, changeset_id, at)
        done, seconds = run(source_of(space, changeset), wish, report)
        return PullAnswer(
            changeset_id=(changeset.changeset_id or b"").hex(),
            dataset=space.config.dataset.name,
            target=wish.target,
            files=done.files,
            bytes=done.bytes,
            skipped=done.skipped,
            damaged=done.damaged,
            failures=tuple(done.failures),
            seconds=seconds,
            dry_run=dry_run,
            traffic=space.traffic(done.requests),
        )


def verify(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    percent: float = 0.0,
    older_than_ns: int | None = None,
    most_bytes: int | None = None,
    report: Report = silent,
) -> VerifyAnswer:
    """Compare the store with the catalogue; read `percent` of the objects, hash and open them.

    Those come first that were read longest ago. `older_than_ns`: only objects whose last
    verification is at least as long ago. `most_bytes`: read no more than that.
    """
    from n2s_core.app.verifying import verify as run

    with workspace(root, config) as space:
        return run(
            space,
            percent=percent,
            older_than_ns=older_than_ns,
            most_bytes=most_bytes,
            report=report,
        )


def repair(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    percent: float = 0.0,
    dry_run: bool = False,
    report: Report = silent,
) -> RepairAnswer:
    """Heal what a verify finds, or found, to be missing or damaged; `percent` as there.

    An object is written again when every byte of it could be made, and is read back. What cannot
    be healed is in the answer, and is stored again by the next push if the source has it.
    """
    from n2s_core.app.repairing import repair as run

    with workspace(root, config) as space:
        return run(space, percent=percent, dry_run=dry_run, report=report)


def rebuild(
    root: PathLike | None = None, *, config: PathLike | None = None, report: Report = silent
) -> RebuildAnswer:
    """Make the catalogue anew from the store; what cannot be read is named in the answer."""
    from n2s_core.app.rebuilding import rebuild as run

    with workspace(root, config) as space:
        return run(space, report)


def recover(
    store: str,
    target_path: PathLike,
    *,
    dataset: str | None = None,
    changeset_id: str | None = None,
    at: str | None = None,
    store_options: Mapping[str, str] | None = None,
    words: PathLike | None = None,
    report: Report = silent,
) -> PullAnswer:
    """Restore with nothing but the store and its passphrase, or a key file or page (`words`).

    `store_options` as for `init`.
    """
    from n2s_core.app.recovering import RecoverOrder
    from n2s_core.app.recovering import recover as run

    target = path_of(target_path)
    page = None if words is None else path_of(words)
    order = RecoverOrder(store, target, dataset, changeset_id, at, store_options or {}, page)
    return run(order, report)


def store(
    action: str,
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    remote: str | None = None,
    percent: float = 0.0,
    report: Report = silent,
) -> StoreAnswer:
    """Look at the remotes of a store, or put them right; `action` is one of STORE_ACTIONS.

    `list` asks none of them, `status` each; `sync` pays what is owed, `verify` compares each with
    the catalogue and reads `percent` of what it has, `repair` does both. `remote` names one.
    """
    from n2s_core.app import storing
    from n2s_core.errors import UsageError

    if action not in STORE_ACTIONS:
        message = f"There is no action {action!r}; there are {', '.join(STORE_ACTIONS)}."
        raise UsageError(message)
    with workspace(root, config) as space:
        if action in {"list", "status"}:
            return storing.show(space, ask=action == "status")
        if action == "sync":
            return storing.sync(space, remote, report)
        run = storing.verify if action == "verify" else storing.repair
        return run(space, remote, percent, report)


def key(
    action: str, order: KeyOrder, root: PathLike | None = None, *, config: PathLike | None = None
) -> KeyAnswer:
    """Look at the keys of a store or change them; `action` is one of `keying.ACTIONS`."""
    from n2s_core.app.keying import run

    return run(action, order, lambda: workspace(root, config))


def watch(
    order: WatchOrder,
    stop: Stop,
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    report: Report = silent,
) -> Iterator[News]:
    """Push again and again as the tree changes; what happens, as it happens.

    Close the iterator to end it. `stop` is for a signal handler.
    """
    from n2s_core.app.watching import watch as run

    return run(_configured(root, config), order, stop, report)


def list_plugins(
    root: PathLike | None = None, *, config: PathLike | None = None
) -> list[PluginAnswer]:
    """Every plugin of this installation, and whether it works for this dataset or directory."""
    from n2s_core.app.plugging import examine_plugins

    return examine_plugins(root, config)


def doctor(root: PathLike | None = None, *, config: PathLike | None = None) -> Examination:
    """Look at everything that a push or a pull needs; never raises N2sError."""
    from n2s_core.app.examining import examine

    return examine(root, config)
