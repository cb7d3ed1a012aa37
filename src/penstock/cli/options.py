"""The options that verbs share, so that each is called the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

File = Annotated[Path, typer.Option("-f", "--file", metavar="FILE", help="The pipeline file.")]
Env = Annotated[
    str | None,
    typer.Option(
        "--env", metavar="NAME", help="The environment; else PENSTOCK_ENV, else its default."
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select", metavar="WHAT", help="Only these: a name, a glob, or tag:x. Repeatable."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="WHAT", help="Not these: a name, a glob, or tag:x. Repeatable."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, even where the file says protected.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; kept on record.")]

FILE = Path("pipeline.yaml")


def examples(*lines: str) -> str:
    """An epilog that shows command lines as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def single(doc: str = "") -> typer.Typer:
    """A verb that is one command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, help=doc or None)


def family(doc: str, *, needs_one: bool = True) -> typer.Typer:
    """A verb that has verbs of its own; without `needs_one` it also runs alone."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        help=doc,
        no_args_is_help=needs_one,
        context_settings=SETTINGS,
    )
