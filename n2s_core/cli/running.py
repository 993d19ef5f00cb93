"""Running of one command: what goes where, and which exit code every ending has."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from n2s_core.errors import N2sError

if TYPE_CHECKING:
    from n2s_core.model import Report

INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141
COULD_NOT_RUN = 2


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same clean way out as Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The global options; `lines` is JSON too, of a list one object on a line."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    lines: bool = False

    def joined(self, other: "Setting") -> "Setting":
        """These options and those that stood behind the command."""
        return Setting(
            other.config if other.config is not None else self.config,
            self.json or other.json,
            self.quiet or other.quiet,
            self.verbose or other.verbose,
            self.lines or other.lines,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command says what: answers on stdout, everything else on stderr."""

    setting: Setting

    @property
    def json(self) -> bool:
        """Whether stdout gets one JSON document and nothing else."""
        return self.setting.json

    @property
    def config(self) -> str | None:
        """The configuration that was named."""
        return self.setting.config

    @property
    def verbose(self) -> bool:
        """Whether more is to be said."""
        return self.setting.verbose

    def document(self, found: Any) -> None:
        """The JSON document."""
        import json  # noqa: PLC0415 - not for those who ask for none

        sys.stdout.write(json.dumps(found) + "\n")

    def documents(self, found: Iterable[Any]) -> None:
        """A JSON list, or one document on a line each; written as they come, and not kept.

        Nothing is written before the first is there, so an error until then stands alone.
        """
        import json  # noqa: PLC0415 - not for those who ask for none

        encode = json.JSONEncoder(check_circular=False).encode
        write = sys.stdout.write
        if self.setting.lines:
            for one in found:
                write(encode(one) + "\n")
            return
        before = "["
        for one in found:
            write(before + encode(one))
            before = ",\n "
        write("[]\n" if before == "[" else "]\n")

    def line(self, text: str) -> None:
        """A line that was asked for."""
        sys.stdout.write(text + "\n")

    def summary(self, text: str) -> None:
        """What was done, for people who did not ask for silence."""
        if not self.setting.quiet:
            self.line(text)

    def note(self, text: str) -> None:
        """A remark beside the answer."""
        if not self.setting.quiet:
            sys.stderr.write(text + "\n")

    def problem(self, text: str) -> None:
        """Something that is wrong, said in any case."""
        sys.stderr.write(text + "\n")

    def progress(self) -> "AbstractContextManager[Report]":
        """Shows how far it is."""
        from n2s_core.cli.progress import Showing  # noqa: PLC0415 - not needed by those who only ask

        return Showing(quiet=self.setting.quiet)


def run(setting: Setting, body: Callable[[Output], int]) -> int:
    """The exit code of a command; every error becomes a sentence."""
    try:
        code = body(Output(setting))
        sys.stdout.flush()
    except N2sError as error:
        code, text = error.exit_code, str(error)
    except BrokenPipeError:
        return PIPE_CLOSED
    except KeyboardInterrupt as stop:
        by, code = (
            ("SIGTERM", TERMINATED) if isinstance(stop, Terminated) else ("Ctrl-C", INTERRUPTED)
        )
        text = f"Stopped by {by}. What was confirmed is kept; run the command again to go on."
    except Exception as error:  # noqa: BLE001 - the last resort before a traceback
        code, text = COULD_NOT_RUN, _unexpected(error)
        if setting.verbose:
            import traceback  # noqa: PLC0415 - for our bugs only

            traceback.print_exc()
    else:
        return code
    return say_error(text, code, json_too=setting.json)


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError):
        name = f" ({os.fsdecode(error.filename)!r})" if error.filename else ""
        return f"The operating system refuses: {error.strerror or error}{name}."
    kind = type(error).__name__
    return f"This is a bug in n2s: {kind}: {error}; run with -v for details."


def say_error(text: str, code: int, *, json_too: bool = False) -> int:
    """A sentence on stderr, with `json_too` a document on stdout; gives back the code."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
    if json_too:
        import json  # noqa: PLC0415 - not for those who ask for none

        with suppress(OSError):
            sys.stdout.write(json.dumps({"error": text, "exit_code": code}) + "\n")
    return code


def finish_output(code: int) -> int:
    """Flush stdout; whoever closed the other end of the pipe hears nothing more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or PIPE_CLOSED
    return code
