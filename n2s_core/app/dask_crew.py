"""Workers on other machines for one push, made when there is a batch for them."""

import os
import queue
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from n2s_core.app.dask_parts import exposure, require_dask
from n2s_core.app.dask_tries import Home
from n2s_core.app.remote_work import RemoteWork
from n2s_core.app.sealing_call import SealingCall
from n2s_core.app.serving import is_shared_catalogue
from n2s_core.app.workspace import Workspace
from n2s_core.errors import ConfigError
from n2s_core.flows.dispatch import Workers
from n2s_core.jobs import SealSetting, StoredSegments
from n2s_core.ports import Executor
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.dask_pool import DaskPool


@dataclass(slots=True)
class DaskCrew:
    """Gives batches to Dask. `local` are the processes of this machine, `notes` for the user."""

    space: Workspace
    stack: ExitStack
    told: "queue.SimpleQueue[StoredSegments]"
    notes: list[str]
    local: Callable[[], Executor]
    local_width: int
    _pool: "DaskPool | None" = field(default=None)

    def workers(self, setting: SealSetting, call: SealingCall) -> Workers | None:
        """None when this machine has to seal by itself, which the notes then say.

        Raises ConfigError, UsageError.
        """
        config = self.space.config
        if config.store.share and not is_shared_catalogue(config.catalogue_address):
            message = (
                "With share = true workers on other machines ask the catalogue what is stored, and"
                " a file of this machine they cannot ask: use a PostgreSQL catalogue, or"
                ' executor = "processes" under [workers].'
            )
            raise ConfigError(message)
        below = _below(setting.root, self.space.root)
        if below is None:
            self.notes.append(
                f"What is read lies at {show(setting.root)}, outside of the root, where workers on"
                " other machines do not see it. This machine sealed by itself."
            )
            return None
        work = RemoteWork.of(self.space, setting, below)
        return Workers(
            seal=call,
            executor=lambda: self._executor(work, call),
            remote_seal=call,
            width=lambda: 1 if self._pool is None else self._pool.width(),
            told=self.told,
        )

    def _executor(self, work: RemoteWork, call: SealingCall) -> Executor:
        if self._pool is None:
            require_dask()
            from n2s_core.app.dask_pool import DaskPool  # noqa: PLC0415 - imports distributed

            table = self.space.config.workers
            warning = exposure(table.scheduler)
            if warning:
                self.notes.append(warning)

            home = None
            if table.fallback:
                home = Home(lambda batch: self.local().submit(call, batch), self.local_width)
            self._pool = DaskPool(table, work, self.told, self.notes, home)
            self.stack.callback(self._pool.shutdown)
        return self._pool


def _below(root: bytes, top: bytes) -> bytes | None:
    """Where `root` lies below the root of the dataset: "" for that itself, None if elsewhere."""
    if root == top:
        return b""
    base = top.rstrip(b"/") + b"/"
    found = os.path.normpath(root)
    return found[len(base) :] if found.startswith(base) else None
