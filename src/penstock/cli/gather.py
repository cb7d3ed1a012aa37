"""The report of a run, gathered from its durable facts and the events that were heard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from penstock import __version__
from penstock.cli.badrows import files_of, grouped
from penstock.cli.facts import fresh_at, sums_of, troubles_of, window_text
from penstock.model import Counts, Plan
from penstock.observe.progress import STAGES, Progress
from penstock.observe.report import BadRows, RunReport, StageTime, StreamReport, Trouble
from penstock.pipeline import WarehouseConfig
from penstock.runtimes.run import StreamRun
from penstock.runtimes.workspace import Workspace
from penstock.stages.state import RunState, read_run

MOST_FILES = 40
"""Quarantine files of a stream that examples are taken from; rule counts are always whole."""


def gather(
    workspace: Workspace,
    runs: Sequence[StreamRun],
    progress: Progress,
    started_at: datetime,
    took_s: float,
) -> RunReport:
    """The report of what these runs did."""
    return RunReport(
        pipeline=workspace.pipeline.name,
        environment=workspace.pipeline.environment,
        version=__version__,
        warehouse=warehouse_text(workspace.pipeline.warehouse),
        storage=workspace.pipeline.storage.url,
        started_at=started_at,
        took_s=round(took_s, 3),
        streams=tuple(_of_stream(workspace, item, progress) for item in runs),
        curves={stage: progress.curve(stage) for stage in STAGES},
    )


def warehouse_text(config: WarehouseConfig) -> str:
    """What and where the warehouse is, without who opens it."""
    place = config.options.get("path") or config.options.get("database") or ""
    return f"{config.type} {place}".strip() if "${" not in str(place) else config.type


def _of_stream(workspace: Workspace, item: StreamRun, progress: Progress) -> StreamReport:
    plans = _plans_of(item)
    states = [read_run(workspace.journal, workspace.store, plan) for plan in plans]
    sums = [sums_of(state) for state in states]
    counts = Counts()
    for state in states:
        counts = counts + (state.closing.counts if state.closing else state.counts)
    troubles = [trouble for state in states for trouble in troubles_of(workspace, state)]
    if item.error:
        troubles.append(Trouble("failed", item.stream.name, item.error))
    newest = fresh_at(workspace, item.key)
    ended = item.ended_at or workspace.clock.now()
    return StreamReport(
        stream=item.stream.name,
        status=item.status,
        source=item.stream.source,
        target=item.stream.load.target,
        write=item.stream.load.write,
        kind=plans[-1].kind if plans else item.trigger.kind,
        swap=any(plan.swap for plan in plans),
        run_ids=tuple(plan.run_id for plan in plans),
        read=sum(one.read for one in sums),
        counts=counts,
        rejected=sum(one.rejected for one in sums),
        waiting=sum(one.waiting for one in sums),
        loaded=sum(one.loaded for one in sums),
        superseded=sum(one.superseded for one in sums),
        not_loaded=sum(one.not_loaded for one in sums),
        inserted=sum(one.inserted for one in sums),
        updated=sum(one.updated for one in sums),
        slices=sum(len(plan.window.slices) for plan in plans),
        chunks=sum(len(state.links) for state in states),
        raw_bytes=sum(link.file.bytes for state in states for link in state.links.values()),
        staged_bytes=sum(
            file.bytes
            for state in states
            for commit in state.commits.values()
            for file in commit.good
        ),
        took_s=round((ended - (item.started_at or ended)).total_seconds(), 3),
        fresh_s=round((ended - newest).total_seconds(), 3) if newest else None,
        window=window_text(plans[-1]) if plans else "",
        columns=max((len(c.columns) for s in states for c in s.commits.values()), default=0),
        bad_rows=_bad_rows(workspace, states),
        troubles=tuple(troubles),
        stages=_stages(progress, item.stream.name, swap=any(plan.swap for plan in plans)),
        sums_hold=all(one.holds for one in sums),
    )


def _plans_of(item: StreamRun) -> list[Plan]:
    plans = list(item.plans)
    if item.plan is not None and item.plan not in plans:
        plans.append(item.plan)
    return plans


def _bad_rows(workspace: Workspace, states: Sequence[RunState]) -> tuple[BadRows, ...]:
    files = [file for state in states for file in files_of(workspace, state)]
    return grouped(workspace, files[:MOST_FILES]) if files else ()


def _stages(progress: Progress, stream: str, *, swap: bool) -> tuple[StageTime, ...]:
    """Each stage's time; a run that replaces loads when all of it is transformed."""
    tally = progress.tally(stream)
    begins = {
        "extract": tally.planned_at,
        "transform": tally.first_at.get("extract"),
        "load": (tally.last_at if swap else tally.first_at).get("transform"),
    }
    times = []
    for stage in STAGES:
        if stage in tally.first_at:
            begin, end = begins[stage], tally.last_at[stage]
            start = min(tally.first_at[stage] if begin is None else begin, end)
            rows, pieces = tally.rows[stage], tally.pieces[stage]
            times.append(StageTime(stage, rows, pieces, round(start, 3), round(end, 3)))
    return tuple(times)
