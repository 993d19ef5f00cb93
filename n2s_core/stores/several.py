"""A store of several remotes, built from its description."""

from collections.abc import Callable

from n2s_core.ports import Store
from n2s_core.remotes import Mode, RemoteSet, RemoteTable
from n2s_core.stores.fleet import Fleet, Remote, SetStore
from n2s_core.stores.mirror import MirrorStore
from n2s_core.stores.retrying import RetryingStore
from n2s_core.stores.spec import TIMEOUT_S

ATTEMPTS = 2
BASE_S = 0.5


def open_set(
    wanted: RemoteSet,
    open_remote: Callable[[RemoteTable], Store],
    *,
    timeout_s: float = TIMEOUT_S,
) -> SetStore:
    """The store of a set. Raises UsageError when its placement cannot be had.

    Each remote is asked again once, so that a short fault makes no debt.
    """
    judge_set(wanted)
    fleet = Fleet(
        [
            Remote(one, RetryingStore(open_remote(one), attempts=ATTEMPTS, base_s=BASE_S))
            for one in wanted.remotes
        ],
        limit_s=timeout_s,
    )
    if wanted.mode is Mode.MIRROR:
        return MirrorStore(fleet, minimum=wanted.needed, url=wanted.to_url())
    from n2s_core.stores.erasure import ErasureStore  # noqa: PLC0415 - zfec is an extra

    return ErasureStore(fleet, wanted)


def judge_set(wanted: RemoteSet) -> None:
    """Raise UsageError, in words, when shards cannot be placed as the set asks for."""
    if wanted.mode is Mode.ERASURE:
        from n2s_core.stores.placement import judge  # noqa: PLC0415 - mirrors place nothing

        judge(wanted)
