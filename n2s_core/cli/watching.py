"""The command that stays: watch. What it says to people, to systemd and to scripts."""

# ruff: noqa: PLC0415 - a command imports what it runs, when it runs

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from n2s_core.cli.pushing import say_push
from n2s_core.cli.running import Output
from n2s_core.clock import SECOND_NS, parse_age
from n2s_core.relpath import show

if TYPE_CHECKING:
    from n2s_core.app.watching import News, Stop

FINISH_S = 20.0
LEAVE_S = 8.0


def watch_command(
    out: Output,
    *,
    delay: Annotated[
        str, typer.Option("--delay", metavar="AGE", help="Push after a quiet time this long.")
    ] = "10s",
    longest_delay: Annotated[
        str,
        typer.Option("--longest-delay", metavar="AGE", help="Push at the latest after this time."),
    ] = "5m",
    rescan: Annotated[
        str, typer.Option("--rescan", metavar="AGE", help="Walk the whole tree this often.")
    ] = "24h",
    once: Annotated[
        bool, typer.Option("--once", help="Catch up, wait for one quiet time, push, and end.")
    ] = False,
) -> int:
    """Push again and again, as soon as something has changed and it is quiet."""
    from n2s_core.app.api import watch
    from n2s_core.app.watching import Stop, Stopped, WatchOrder

    order = WatchOrder(
        delay_s=_seconds(delay),
        longest_delay_s=_seconds(longest_delay),
        rescan_s=_seconds(rescan),
        once=once,
    )
    stop = Stop()
    try:
        with (
            _signals(stop),
            out.progress() as report,
            closing(watch(order, stop, config=out.config, report=report)) as happening,  # type: ignore[type-var]
        ):
            for news in happening:
                _say(out, news)
    except Stopped:
        out.note("Stopped.")
    finally:
        tell_systemd("STOPPING=1")
    return 0


def _seconds(age: str) -> float:
    return parse_age(age) / SECOND_NS


@contextmanager
def _signals(stop: "Stop") -> Iterator[None]:
    """SIGTERM and SIGINT end the watch; a push has a while to finish, then it is broken off.

    Whoever breaks off may have to wait for a worker that reads a large file, or for a store that
    does not answer, so after another while the process ends its children and leaves. What was
    confirmed is kept in either case.
    """
    from n2s_core.app.watching import Stopped

    leaving = False

    def end(_number: int, _frame: FrameType | None) -> None:
        if not stop.wanted:
            signal.setitimer(signal.ITIMER_REAL, FINISH_S)
            stop.want()

    def hurry(_number: int, _frame: FrameType | None) -> None:
        nonlocal leaving
        if leaving:
            _end_children()
            os._exit(0)
        leaving = True
        signal.setitimer(signal.ITIMER_REAL, LEAVE_S)
        raise Stopped

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGINT: signal.signal(signal.SIGINT, end),
        signal.SIGALRM: signal.signal(signal.SIGALRM, hurry),
    }
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_children() -> None:
    """Workers and the program of the store, which would go on until they have something to say."""
    for thread in Path("/proc/self/task").glob("*/children"):
        for child in thread.read_text("ascii").split():
            os.kill(int(child), signal.SIGKILL)


def _say(out: Output, news: "News") -> None:
    from n2s_core.app.watching import Began, Retry, Trouble

    if isinstance(news, Began):
        tell_systemd("READY=1\nSTATUS=Catching up.")
        out.note(f"Recording the changes of {show(news.root)}.")
    elif isinstance(news, Trouble):
        tell_systemd(f"STATUS={news.sentence}")
        out.problem(f"{news.sentence} The whole tree is walked instead, as --rescan says.")
    elif isinstance(news, Retry):
        tell_systemd(f"STATUS={news.error}")
        out.problem(f"{news.error} The push is tried again in {news.pause_s:.0f} s.")
    else:
        tell_systemd(f"STATUS=Last push: {news.written} written, {news.removed} removed.")
        say_push(out, news)
    sys.stdout.flush()
    sys.stderr.flush()


def tell_systemd(state: str) -> None:
    """The protocol of sd_notify(3), when systemd wants to hear."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messages:
        messages.connect(address)
        messages.sendall(state.encode("utf-8", "backslashreplace"))
