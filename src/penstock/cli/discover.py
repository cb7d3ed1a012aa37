"""`penstock discover`: what each source offers."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.opened import opened
from penstock.cli.proposals import stream_lines
from penstock.cli.show import document, note, say
from penstock.errors import PenstockError, SpecError
from penstock.ports import Dataset

app = options.single()


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock discover", "penstock discover --source shopdb --json"),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    source: Annotated[str, typer.Option("--source", metavar="NAME", help="Only this one.")] = "",
    json: options.Json = False,
) -> None:
    """List tables, views and groups of files with keys and likely cursors, as YAML to paste."""
    found: dict[str, list[Dataset]] = {}
    failed = ""
    with opened(file, env) as workspace:
        names = [each.name for each in workspace.pipeline.sources]
        if source and source not in names:
            raise SpecError(f"no source {source}", fix=f"one of {', '.join(names)}")
        for name in [source] if source else names:
            try:
                found[name] = workspace.source(name).discover()
            except PenstockError as error:
                failed = str(error)
                note(f"{name}: {error}", "red")
    if json:
        document({"sources": found})
    else:
        for name, datasets in found.items():
            say(f"# {name}: {len(datasets)} found")
            if datasets:
                say("streams:")
            for line in stream_lines(name, datasets):
                say(line)
    raise typer.Exit(1 if failed else 0)
