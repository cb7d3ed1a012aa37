"""The table of verbs, and the group that imports a verb's module only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from penstock import __version__
from penstock.cli.failures import stopped
from penstock.errors import SpecError

VERBS: Mapping[str, str] = {
    "demo": "Real data from real sources into a DuckDB warehouse, with a report to look at.",
    "init": "Write a pipeline file that runs.",
    "discover": "List what each source offers, as YAML to paste.",
    "check": "Show every problem of the file at once, and let everything answer.",
    "plan": "Show what the next run would do; nothing changes.",
    "preview": "Show rows before and after the steps, and what would be quarantined.",
    "run": "Move what is new into the warehouse, once, and report.",
    "status": "Show what is STUCK or LATE first, and what to type.",
    "runs": "List runs, or show one.",
    "logs": "Show the event log.",
    "query": "Ask the warehouse.",
    "quarantine": "List, show, export or discard bad rows.",
    "replay": "Transform and load raw data again through today's file.",
    "audit": "Add up every row that was read; exit 3 if a sum does not hold.",
    "reconcile": "Send what is stuck between stages on its way again.",
    "dlq": "List, show, redrive or discard dead messages.",
    "state": "Show, set, reset or adopt cursors by hand, on the record.",
    "gc": "Remove files past retention that are accounted for.",
}
RESERVED = frozenset(
    {"test", "backfill", "pause", "resume", "cancel", "serve", "local-aws", "build", "deploy"}
    | {"destroy"}
)
_WORDS: Mapping[str, str] = {"--tenant": "tenants"}
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verbs(TyperGroup):
    """The verbs of `VERBS`, each from `penstock.cli.<verb>`, which defines `app`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The verb's name and what it does, for `--help`."""
        if cmd_name not in VERBS:
            return None
        return TyperCommand(cmd_name, short_help=VERBS[cmd_name], rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb itself, to be invoked."""
        if args[0] in RESERVED:
            raise SpecError(
                f"penstock {args[0]} is not built yet in this version",
                fix="penstock --help lists what is",
            )
        if args[0] in VERBS:
            return args[0], load_verb(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """The verb has run; Ctrl-C ends it with a word of its own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(stopped()) from None


def load_verb(name: str) -> Any:
    """The command of a verb; its module is imported now."""
    command = typer.main.get_command(import_module(f"penstock.cli.{name}").app)
    command.name = name
    return command


root = typer.Typer(
    cls=Verbs,
    name="penstock",
    add_completion=False,
    rich_markup_mode=None,
    context_settings=SETTINGS,
    no_args_is_help=True,
)


@root.callback(epilog="A pipeline in two commands: penstock init, then penstock run.")
def penstock(
    version: bool = typer.Option(False, "--version", help="Show the version, and exit."),
) -> None:
    """Data from where it is made into a warehouse, exactly once.

    One file, pipeline.yaml, says everything. `penstock VERB --help` has examples.
    """
    if version:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


def dispatch(words: Sequence[str]) -> int:
    """The verb has run; its exit code.

    Raises: what the verb raises.
    """
    for word in words:
        if word.partition("=")[0] in _WORDS:
            raise SpecError(
                f"{word.partition('=')[0]}: {_WORDS[word.partition('=')[0]]} are not built yet "
                "in this version",
                fix="leave it out",
            )
    kept = [word for word in words if word != "--debug"]
    try:
        typer.main.get_command(root).main(kept, prog_name="penstock")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
