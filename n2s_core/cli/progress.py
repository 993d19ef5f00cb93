"""Progress on stderr: a bar on a terminal, else a plain line now and then."""

import sys
import time
from typing import TYPE_CHECKING

from n2s_core.cli.text import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from n2s_core.model import Progress

BAR_AFTER_S = 0.7
LINE_EVERY_S = 5.0


class Showing:
    """A report for the flows, and the context in which it is shown.

    Nothing is shown of what takes less than a moment, so that a short run does not pay for rich.
    """

    def __init__(self, *, quiet: bool) -> None:
        """`quiet` shows nothing at all."""
        self._quiet = quiet
        self._terminal = not quiet and sys.stderr.isatty()
        self._began = self._last = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "Showing":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: "Progress") -> None:
        """Hear how far it is."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._terminal:
            if now - self._began >= BAR_AFTER_S:
                self._show(progress)
        elif now - self._last >= LINE_EVERY_S:
            self._last = now
            sys.stderr.write(_text(progress) + "\n")
            sys.stderr.flush()

    def _show(self, progress: "Progress") -> None:
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415 - 60 ms, only for long runs
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.progress import Progress as Bar  # noqa: PLC0415

            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        assert self._task is not None
        self._bar.update(
            self._task,
            description=_text(progress),
            total=progress.total_files,
            completed=progress.files,
        )


def _text(progress: "Progress") -> str:
    of = f" of {progress.total_files}" if progress.total_files is not None else ""
    size = f", {size_text(progress.bytes)}" if progress.bytes else ""
    return f"{progress.what}: {progress.files}{of}{size}"
