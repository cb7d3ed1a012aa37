"""`penstock run`: what is new has moved, once, and the report says how it went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.gather import gather
from penstock.cli.live import watched
from penstock.cli.opened import chosen, meet, opened, state_folder
from penstock.cli.show import document, note, say
from penstock.cli.summary import print_report
from penstock.observe.page import render
from penstock.observe.progress import Progress
from penstock.observe.report import RunReport, report_data, report_text
from penstock.runtimes.run import run
from penstock.runtimes.workspace import Workspace

app = options.single()
MOST_REPORTS = 200


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock run",
        "penstock run --select orders --select 'tag:finance'",
        "penstock run --full-refresh --select 'shop_tables.*'",
        "penstock run --env prod --json > report.json",
    ),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    full_refresh: Annotated[
        bool,
        typer.Option("--full-refresh", help="Read everything again, and replace what is there."),
    ] = False,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Move what is new into the warehouse, once, and report.

    Exit 0: done. 1: a stream failed. 3: a chunk is rejected, an assertion holds a run, or a sum
    does not hold; the other streams are loaded.
    """
    with opened(file, env, writes=True, yes=yes) as workspace:
        report = _run(workspace, select, exclude, full_refresh=full_refresh)
        page = write_report(report, state_folder(workspace) / "reports")
    if json:
        document({**report_data(report), "page": str(page)})
    else:
        print_report(report)
        say(f"  report: {page}", "dim")
    raise typer.Exit(report.exit_code)


def _run(
    workspace: Workspace,
    select: list[str] | None,
    exclude: list[str] | None,
    *,
    full_refresh: bool,
) -> RunReport:
    started, started_at = time.monotonic(), workspace.clock.now()
    meet(workspace, start_anew=full_refresh)
    concrete = workspace.concrete()
    for name, why in workspace.new_tables.items():
        note(f"{name} is not loaded: {why}; to load it, name it in a stream of its own")
    streams = chosen(concrete.streams, select, exclude)
    progress = Progress(time.monotonic)
    workspace.log.listen(progress.hear)
    with watched(progress) as tell:
        runs = run(workspace, concrete, streams, "refresh" if full_refresh else "increment", tell)
    return gather(workspace, runs, progress, started_at, time.monotonic() - started)


def write_report(report: RunReport, folder: Path) -> Path:
    """The report stands in the folder as JSON and as one HTML page; the page's path.

    Shape: the folder keeps the newest `MOST_REPORTS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{report.started_at:%Y%m%dT%H%M%S-%f}"
    (folder / f"{name}.json").write_text(report_text(report), encoding="utf-8")
    page = folder / f"{name}.html"
    page.write_text(render(report), encoding="utf-8")
    for kind in ("html", "json"):
        for old in sorted(folder.glob(f"*.{kind}"))[:-MOST_REPORTS]:
            old.unlink(missing_ok=True)
    return page
