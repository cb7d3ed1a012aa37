"""`penstock reconcile`: what is stuck between stages has gone on its way, as far as it can."""

from __future__ import annotations

import time

import typer

from penstock.cli import options
from penstock.cli.gather import gather
from penstock.cli.live import watched
from penstock.cli.opened import chosen, meet, opened
from penstock.cli.show import document, say
from penstock.cli.summary import print_report
from penstock.observe.progress import Progress
from penstock.observe.report import report_data
from penstock.runtimes.replay import known_pipeline, outstanding, settle_all, work_on
from penstock.stages.state import unsettled_plans

app = options.single()


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock reconcile", "penstock reconcile --select orders"),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Send what is stuck between stages on its way again, and work until nothing is left.

    `penstock run` does this by itself; here nothing new is planned.
    """
    started = time.monotonic()
    with opened(file, env, writes=True, yes=yes) as workspace:
        started_at = workspace.clock.now()
        meet(workspace)
        pipeline = known_pipeline(workspace)
        streams = chosen(pipeline.streams, select, exclude) if pipeline.streams else ()
        runs = [
            work_on(
                workspace,
                stream,
                list(unsettled_plans(workspace.journal, workspace.key(stream.name))),
            )
            for stream in streams
        ]
        runs = [run for run in runs if outstanding(workspace, run)]
        progress = Progress(time.monotonic)
        workspace.log.listen(progress.hear)
        with watched(progress) as tell:
            if runs:
                settle_all(workspace, workspace.keep(pipeline), runs, on_change=tell)
        report = gather(workspace, runs, progress, started_at, time.monotonic() - started)
    if json:
        document(report_data(report))
    elif not runs:
        say("nothing is stuck")
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)
