"""Promise: who drops a client drops its connections, without waiting for the garbage collector."""

import gc
import weakref
from collections.abc import Callable

import pytest

from n2s_core.stores.ipfs_place import parse_place
from n2s_core.stores.ipfs_rpc import RpcClient
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.spec import RcloneAddress


@pytest.mark.parametrize(
    "client",
    [
        lambda: RcClient(RcloneAddress("/nowhere/s", "/nowhere", "", "")),
        lambda: RpcClient(parse_place("ipfs://127.0.0.1:9/x")),
    ],
)
def test_a_dropped_client_hangs_up_at_once(client: Callable[[], RcClient | RpcClient]) -> None:
    gc.disable()
    try:
        made = client()
        connection = weakref.ref(made._connections.ready(1.0))
        assert connection() is not None
        del made
        assert connection() is None
    finally:
        gc.enable()
