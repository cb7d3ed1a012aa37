"""`penstock gc`: files past retention, of runs that are accounted for, are gone."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.opened import chosen, meet, opened, streams_with_state
from penstock.cli.show import document, number, say, size, table
from penstock.pipeline import Stream
from penstock.runtimes.workspace import Workspace
from penstock.stages.gc import Collected, collect

app = options.single()


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock gc --dry-run", "penstock gc --select orders"),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Remove files past `storage.keep`, of runs that are accounted for.

    A run is closed with its sums first, in the warehouse and here; those are never removed.
    """
    with opened(file, env, writes=not dry_run, yes=yes) as workspace:
        streams = chosen(streams_with_state(workspace), select, exclude)
        found = _collect(workspace, streams, dry_run=dry_run)
    if json:
        document({"dry_run": dry_run, "runs": found})
        return
    if not found:
        say("nothing is past its retention and accounted for")
        return
    table(
        ("stream", "run", "", ">files", ">size"),
        (
            (item.stream, item.run_id, "closed" if item.closed else "", number(item.files),
             size(item.bytes))
            for item in found
        ),
    )  # fmt: skip
    total = sum(item.bytes for item in found)
    say(f"  {size(total)} {'would go' if dry_run else 'are gone'}")


def _collect(
    workspace: Workspace, streams: tuple[Stream, ...], *, dry_run: bool
) -> list[Collected]:
    if workspace.warehouse_id() is None:
        return []
    meet(workspace)
    warehouse = workspace.open_warehouse()
    warehouse.open()
    try:
        return [
            collected
            for stream in streams
            for collected in collect(
                workspace.journal,
                workspace.store,
                warehouse,
                workspace.key(stream.name),
                stream.load.target,
                workspace.pipeline.storage,
                workspace.clock.now(),
                dry_run=dry_run,
            )
        ]
    finally:
        warehouse.close()
