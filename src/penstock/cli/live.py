"""Progress of a run while it goes on: a table where a person watches, lines where not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli.show import cell, console, note, number
from penstock.observe.progress import Progress, Tally
from penstock.runtimes.run import StreamRun

MOST_LINES = 30
"""Streams in the live table; a terminal is not much higher."""


@contextmanager
def watched(progress: Progress) -> Iterator[Callable[[Sequence[StreamRun]], None]]:
    """What the block is told about its runs is shown on stderr until it ends."""
    if not sys.stderr.isatty():
        lines = _Lines(progress)
        yield lines.tell
        return
    runs: list[StreamRun] = []

    def tell(now: Sequence[StreamRun]) -> None:
        runs[:] = now

    live = Live(
        console=console(errors=True),
        get_renderable=lambda: _table(runs, progress),
        refresh_per_second=5,
        transient=True,
    )
    with live:
        yield tell


class _Lines:
    """A line when a stream starts to work and when it ends."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said: dict[str, str] = {}

    def tell(self, runs: Sequence[StreamRun]) -> None:
        for run in runs:
            name = run.stream.name
            if self._said.get(name, "planning") == run.status:
                continue
            if run.status == "working" and not run.plans:
                continue
            self._said[name] = run.status
            tally = self._progress.tally(name)
            if run.status == "working":
                parts = sum(len(plan.window.slices) for plan in run.plans)
                note(f"{name}: reading {parts} slice{'s' if parts != 1 else ''}")
            elif run.status == "done" and not run.plans and run.plan is None:
                note(f"{name}: nothing new")
            else:
                note(
                    f"{name}: {run.status}, {number(tally.rows['extract'])} rows read, "
                    f"{number(tally.rows['load'])} loaded"
                )


def _table(runs: Sequence[StreamRun], progress: Progress) -> Table:
    grid = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(Text("  stream", style="dim"), no_wrap=True)
    for name in ("read", "good", "quarantined", "loaded", "rows/s"):
        grid.add_column(Text(name, style="dim"), justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True, overflow="ellipsis")
    busy = sorted(runs, key=lambda run: (run.over, run.stream.name))
    for run in busy[:MOST_LINES]:
        grid.add_row(*_row(run, progress.tally(run.stream.name), progress.elapsed_s))
    if len(busy) > MOST_LINES:
        rest = busy[MOST_LINES:]
        over = sum(1 for run in rest if run.over)
        grid.add_row(Text(f"  and {len(rest)} more, {over} of them over", style="dim"))
    return grid


def _row(run: StreamRun, tally: Tally, elapsed_s: float) -> tuple[Text, ...]:
    read = tally.rows["extract"]
    end_s = tally.last_at.get("load", elapsed_s) if run.over else elapsed_s
    start_s = tally.first_at.get("extract", end_s)
    speed = read / (end_s - start_s) if end_s - start_s >= 0.5 else 0
    style = {"failed": "red", "blocked": "yellow", "done": "green"}.get(run.status, "")
    said = run.status if run.status != "working" else ""
    if run.status == "working" and tally.retried:
        said = "again: " + tally.last_reason.partition("\n")[0]
    return (
        Text("  ") + cell(run.stream.name),
        Text(number(read)),
        Text(number(tally.good)),
        Text(number(tally.quarantined), style="yellow" if tally.quarantined else ""),
        Text(number(tally.rows["load"])),
        Text(number(int(speed)) if speed else ""),
        Text(said, style=style),
    )
