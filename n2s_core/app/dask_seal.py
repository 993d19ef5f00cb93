"""The task that Dask runs on a worker; the scheduler imports this module too."""
# ruff: noqa: PLC0415 - the scheduler and the sender need no more than the name

from typing import Any

from n2s_core.app.remote_terms import PLUGIN


def n2s_seal(call: bytes) -> bytes:
    """Give the call to the plugin of `n2s worker`."""
    from distributed import get_worker

    plugin: Any = get_worker().plugins[PLUGIN]
    answer: bytes = plugin.answer(call)
    return answer
