"""`penstock replay`: raw is transformed and loaded again through today's file."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.gather import gather
from penstock.cli.live import watched
from penstock.cli.opened import chosen, find_plans, meet, opened
from penstock.cli.show import document, note, number, say
from penstock.cli.summary import print_report
from penstock.errors import Broken, SpecError
from penstock.model import ChunkId, Plan
from penstock.observe.progress import Progress
from penstock.observe.report import report_data
from penstock.pipeline import Stream
from penstock.runtimes.replay import known_pipeline, replay, replayable
from penstock.runtimes.workspace import Workspace

app = options.single()
Parts = list[tuple[Stream, list[tuple[Plan, tuple[ChunkId, ...]]]]]


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock replay orders",
        "penstock replay orders --quarantined     (after a correction of the file)",
        "penstock replay --run 20261123T0600",
        "penstock replay --all                    (the warehouse was lost)",
    ),
)
def command(
    stream: Annotated[
        str, typer.Argument(metavar="[STREAM]", help="A stream: a name, a glob, or tag:x.")
    ] = "",
    file: options.File = options.FILE,
    env: options.Env = None,
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Only the run whose id starts so.")
    ] = "",
    all_streams: Annotated[bool, typer.Option("--all", help="Every stream.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only chunks that have bad rows.")
    ] = False,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Transform and load raw data again through today's file; no source is asked.

    With --all a warehouse that is empty is set up anew, as the one that the journal knows.
    """
    if not (stream or run or all_streams):
        raise SpecError("replay what?", fix="name a stream, --run RUN, or --all")
    started = time.monotonic()
    with opened(file, env, writes=True, yes=yes) as workspace:
        started_at = workspace.clock.now()
        if all_streams:
            set_up_again(workspace)
        meet(workspace)
        pipeline = known_pipeline(workspace)
        names = _names(workspace, stream, run)
        streams = chosen(pipeline.streams, names, None) if pipeline.streams else ()
        parts: Parts = [
            (each, replayable(workspace, each, run, quarantined=quarantined)) for each in streams
        ]
        parts = [(each, plans) for each, plans in parts if plans]
        progress = Progress(time.monotonic)
        workspace.log.listen(progress.hear)
        _tell(parts)
        with watched(progress) as tell:
            runs = replay(workspace, workspace.keep(pipeline), parts, tell) if parts else []
        report = gather(workspace, runs, progress, started_at, time.monotonic() - started)
    if json:
        document(report_data(report))
    elif not parts:
        say("nothing to replay")
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)


def _names(workspace: Workspace, stream: str, run: str) -> list[str]:
    if stream or not run:
        return [stream] if stream else []
    return sorted({found.name for found, _ in find_plans(workspace, run)})


def _tell(parts: Parts) -> None:
    for stream, plans in parts:
        chunks = sum(len(found) for _, found in plans)
        note(f"{stream.name}: {number(chunks)} chunks of {number(len(plans))} runs once more")


def set_up_again(workspace: Workspace) -> None:
    """A warehouse that is empty is the one that the journal knows from now on.

    Raises: Broken when it is another pipeline's, or nothing was ever loaded.
    """
    known = workspace.warehouse_id()
    if known is None:
        raise Broken("there is nothing to replay: no run yet", fix="penstock run")
    warehouse = workspace.open_warehouse()
    warehouse.open()
    try:
        identity = warehouse.identity()
        if identity is None:
            warehouse.set_up(known)
        elif identity != known:
            raise Broken(
                "this warehouse is in use under another id; replay does not write over it",
                why=f"it is {identity}, the journal knows {known}",
                fix="point warehouse at an empty one, or: penstock run --full-refresh",
            )
    finally:
        warehouse.close()
