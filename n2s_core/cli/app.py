"""The typer application: global options, the list of commands, and which of them is loaded."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

import n2s_core
from n2s_core.cli.running import COULD_NOT_RUN, Setting, run, say_error
from n2s_core.cli.text import is_percent

DOING = "n2s_core.cli.doing"
CHECKING = "n2s_core.cli.checking"
ASKING = "n2s_core.cli.asking"
WATCHING = "n2s_core.cli.watching"
STORING = "n2s_core.cli.storing"
REPAIRING = "n2s_core.cli.repairing"
RETAINING = "n2s_core.cli.retaining"
KEYS = "n2s_core.cli.keys"
CATALOGUING = "n2s_core.cli.cataloguing"
WORKING = "n2s_core.cli.working"
COMMANDS = {
    "init": DOING,
    "push": DOING,
    "pull": DOING,
    "watch": WATCHING,
    "status": ASKING,
    "changesets": ASKING,
    "list": ASKING,
    "search": ASKING,
    "history": ASKING,
    "where": ASKING,
    "diff": ASKING,
    "verify": CHECKING,
    "repair": REPAIRING,
    "reconcile": REPAIRING,
    "rebuild": CHECKING,
    "recover": DOING,
    "store": STORING,
    "rebuild-objects": STORING,
    "forget": RETAINING,
    "prune": RETAINING,
    "pin": RETAINING,
    "unpin": RETAINING,
    "tag": RETAINING,
    "key": KEYS,
    "catalogue": CATALOGUING,
    "plugins": ASKING,
    "doctor": ASKING,
    "worker": WORKING,
}

ConfigOption = Annotated[
    str | None,
    typer.Option("-c", "--config", metavar="FILE", parser=str, help="The configuration to use."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; messages on stderr.")
]
LinesOption = Annotated[
    bool, typer.Option("--json-lines", help="As --json, and of a list one document on a line each.")
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Say only what is wrong.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show tracebacks.")]

_JSON = frozenset({"--json", "--json-lines"})


def _version(wanted: bool) -> None:  # noqa: FBT001 - the signature of a typer callback
    if wanted:
        sys.stdout.write(f"n2s {n2s_core.__version__}\n")
        raise typer.Exit


def _global(
    ctx: typer.Context,
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    json_lines: LinesOption = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Back up what changed: n2s asks the filesystem, seals and stores it, and brings it back."""
    del version
    ctx.obj = Setting(config, json or json_lines, quiet, verbose, json_lines)


def _with_globals(body: Callable[..., int]) -> Callable[..., int]:
    """The command as typer gets it: `body(out, ...)` and the global options, which work here too.

    Typer reads the signature, so that is made of both.
    """
    own = list(inspect.signature(body).parameters.values())[1:]

    def command(ctx: typer.Context, **values: Any) -> int:
        lines = values.pop("json_lines")
        here = Setting(
            values.pop("config"),
            values.pop("json") or lines,
            values.pop("quiet"),
            values.pop("verbose"),
            lines,
        )
        return run(ctx.obj.joined(here), lambda out: body(out, **values))

    only_word = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, only_word, default=default, annotation=annotation)
        for name, default, annotation in (
            ("config", None, ConfigOption),
            ("json", False, JsonOption),
            ("quiet", False, QuietOption),
            ("verbose", False, VerboseOption),
            ("json_lines", False, LinesOption),
        )
    ]
    context = inspect.Parameter("ctx", only_word, annotation=typer.Context)
    words = [one.replace(kind=only_word) for one in own]
    command.__signature__ = inspect.Signature([context, *words, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {}
    command.__doc__ = body.__doc__
    command.__name__ = body.__name__
    return command


def build(names: list[str]) -> typer.Typer:
    """The application with these commands."""
    app = typer.Typer(
        name="n2s",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global)
    for name in names:
        body = getattr(import_module(COMMANDS[name]), f"{name.replace('-', '_')}_command")
        app.command(name)(_with_globals(body))
    return app


def command_line(given: list[str], *, completing: bool) -> int:
    """Parse and run; the exit code. Only the command that is named is loaded."""
    named = None if completing else _named(given)
    app = build([named] if named else list(COMMANDS))
    command = typer.main.get_command(app)
    _without_pydantic()
    try:
        code = command.main(args=_with_percent(given), prog_name="n2s", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _usage(error, given)
    return code if isinstance(code, int) else 0


def _named(given: list[str]) -> str | None:
    """The command, when the words before it are global options."""
    words = iter(given)
    for word in words:
        if word in ("-c", "--config"):
            next(words, None)
        elif not word.startswith("-"):
            return word if word in COMMANDS else None
    return None


def _with_percent(given: list[str]) -> list[str]:
    """`--data` without a value is `--data=100`; typer has no options with optional values."""
    if _named(given) not in ("verify", "repair"):
        return given
    following = [*given[1:], ""]
    return [
        "--data=100" if word == "--data" and not is_percent(after) else word
        for word, after in zip(given, following, strict=True)
    ]


def _usage(error: Any, given: list[str]) -> int:
    """A mistake in the words of the command line, as typer found it."""
    words = given[: given.index("--")] if "--" in given else given
    if _JSON.isdisjoint(words):
        error.show()
        return COULD_NOT_RUN
    return say_error(error.format_message(), COULD_NOT_RUN, json_too=True)


def _without_pydantic() -> None:
    """Spare the 80 ms in which newer typer loads pydantic: these options are strings and flags.

    Typer asks this one function how to turn words into values; the answer here is "as they are".
    A typer that has no such function loads no pydantic either.
    """
    try:
        from typer import core  # noqa: PLC0415 - only where typer has it
        from typer._coercion import RuntimeParam  # noqa: PLC0415
    except ImportError:
        return

    class AsItIs(RuntimeParam):
        """The words of the command line as they are."""

        def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
            del param, ctx
            return list(value) if isinstance(value, tuple) else value

    def build_runtime_param(descriptor: Any) -> AsItIs:
        return AsItIs(descriptor.parameter_info, descriptor.annotation)

    if hasattr(core, "build_runtime_param"):
        core.build_runtime_param = build_runtime_param
