"""The public functions about what is kept: changesets, and what the store has besides."""

import math
from collections.abc import Mapping, Sequence

from n2s_core.app import retaining
from n2s_core.app.answers import PathLike
from n2s_core.app.api import silent, workspace
from n2s_core.app.listings import ChangesetAnswer
from n2s_core.app.pruning import PruneAnswer
from n2s_core.app.pruning import prune as run_prune
from n2s_core.app.reconciling import ReconcileAnswer
from n2s_core.app.reconciling import reconcile as run_reconcile
from n2s_core.app.retaining import ForgetAnswer
from n2s_core.config import RetentionTable
from n2s_core.errors import UsageError
from n2s_core.flows.repack import RepackWish
from n2s_core.model import Report
from n2s_core.retention import Duration, Policy, judged_policy
from n2s_core.sizes import parse_size

QUARANTINE_GRACE = "7d"
MAX_UNUSED = "5%"
UNLIMITED = "unlimited"
WHOLE = 100


def forget(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    rules: Mapping[str, object] | None = None,
    changeset_ids: Sequence[str] = (),
    dry_run: bool = False,
) -> ForgetAnswer:
    """Forget what the rules do not keep, or the changesets that are named.

    `rules` has the keys of [retention], such as keep_daily; without any, those of the configuration
    count. Nothing is removed from the store before a prune.
    """
    with workspace(root, config) as space:
        if changeset_ids:
            if rules:
                message = "Give rules, or changeset ids, not both."
                raise UsageError(message)
            return retaining.forget_these(space, changeset_ids, dry_run=dry_run)
        policy = _policy_of(space.config.retention) if not rules else _policy_in(rules)
        return retaining.forget(space, policy, dry_run=dry_run)


def _policy_in(rules: Mapping[str, object]) -> Policy:
    return judged_policy(rules, lambda key: f"--{key.replace('_', '-')}")


def _policy_of(table: RetentionTable) -> Policy:
    words = {name: getattr(table, name) for name in table.__slots__}
    return judged_policy(words, lambda key: f"[retention] {key}")


def bring_back(
    changeset_ids: Sequence[str],
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
) -> list[ChangesetAnswer]:
    """Forgotten changesets are kept again, as long as no prune has swept them."""
    with workspace(root, config) as space:
        return retaining.bring_back(space, changeset_ids)


def pin(
    changeset_ids: Sequence[str],
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
) -> list[ChangesetAnswer]:
    """These changesets are never forgotten by rules."""
    with workspace(root, config) as space:
        return retaining.pin(space, changeset_ids, key="pinned")


def unpin(
    changeset_ids: Sequence[str],
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
) -> list[ChangesetAnswer]:
    """These changesets are like the others again."""
    with workspace(root, config) as space:
        return retaining.pin(space, changeset_ids, key="unpinned")


def tag(
    changeset_ids: Sequence[str],
    root: PathLike | None = None,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    config: PathLike | None = None,
) -> list[ChangesetAnswer]:
    """Add tags to changesets, or remove them."""
    with workspace(root, config) as space:
        return retaining.tag(space, changeset_ids, add=add, remove=remove)


def prune(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    grace: str | None = None,
    max_unused: str = MAX_UNUSED,
    max_repack_size: str | None = None,
    dry_run: bool = False,
    report: Report = silent,
) -> PruneAnswer:
    """Mark what only forgotten changesets need, and remove what was marked a `grace` ago.

    `grace` is a duration in days and hours; without one that of the configuration counts.
    `max_unused` is a percentage, a size or "unlimited": objects that are used in part are repacked
    until no more than that is unused, at most `max_repack_size` bytes of them.
    """
    wish = judged_wish(max_unused, max_repack_size)
    with workspace(root, config) as space:
        wait = Duration.parse(space.config.retention.grace if grace is None else grace)
        return run_prune(space, grace_ns=wait.fixed_ns, dry_run=dry_run, report=report, wish=wish)


def reconcile(
    root: PathLike | None = None,
    *,
    config: PathLike | None = None,
    grace: str = QUARANTINE_GRACE,
    delete_quarantined: bool = False,
    dry_run: bool = False,
    report: Report = silent,
) -> ReconcileAnswer:
    """Compare what the store has with what the catalogue has, and sort what only one of them has.

    `delete_quarantined`: those that were in quarantine for longer than `grace`, a duration in days
    and hours, and still are not what their names say.
    """
    with workspace(root, config) as space:
        return run_reconcile(
            space,
            grace_ns=Duration.parse(grace).fixed_ns,
            delete=delete_quarantined,
            dry_run=dry_run,
            report=report,
        )


def judged_wish(max_unused: str, max_repack_size: str | None) -> RepackWish:
    """What `--max-unused` and `--max-repack-size` say. Raises UsageError, ConfigError."""
    most = None
    if max_repack_size is not None:
        most = parse_size(max_repack_size, where="--max-repack-size")
    word = max_unused.strip()
    if word == UNLIMITED:
        return RepackWish(most_bytes=most)
    if not word.endswith("%"):
        size = parse_size(word, where="--max-unused")
        return RepackWish(max_unused_bytes=size, most_bytes=most)
    try:
        percent = float(word[:-1])
    except ValueError:
        percent = math.nan
    if not 0 <= percent < WHOLE:
        message = f"--max-unused takes a percentage from 0% to below 100%, not {max_unused!r}."
        raise UsageError(message)
    return RepackWish(max_unused_percent=percent, most_bytes=most)
