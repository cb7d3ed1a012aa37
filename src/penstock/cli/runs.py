"""`penstock runs`: the runs there were, and one of them in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from penstock.cli import options
from penstock.cli.badrows import files_of, grouped
from penstock.cli.facts import RunSums, sums_of, troubles_of, window_text
from penstock.cli.opened import chosen, find_plans, opened, streams_with_state
from penstock.cli.show import document, number, say, size, table
from penstock.cli.summary import bad_line
from penstock.model import Plan
from penstock.observe.report import Trouble
from penstock.pipeline import Stream
from penstock.runtimes.workspace import Workspace
from penstock.stages.hands import given_up
from penstock.stages.state import RunState, read_head, read_plans, read_run

app = options.family("List runs, newest first, or show one.", needs_one=False)
Limit = Annotated[int, typer.Option("--limit", min=1, help="Runs at most.")]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands now."""

    stream: Stream
    plan: Plan
    state: RunState
    sums: RunSums
    status: str
    troubles: tuple[Trouble, ...]


@app.callback(
    invoke_without_command=True,
    epilog=options.examples("penstock runs", "penstock runs show 20261123T0600"),
)
def command(
    context: typer.Context,
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    limit: Limit = 20,
    json: options.Json = False,
) -> None:
    """List runs, newest first, or show one."""
    if context.invoked_subcommand is None:
        list_runs(file, env, select, exclude, limit, json)


@app.command(
    "list", context_settings=options.SETTINGS, epilog=options.examples("penstock runs list")
)
def list_runs(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    limit: Limit = 20,
    json: options.Json = False,
) -> None:
    """The newest runs of the chosen streams."""
    with opened(file, env) as workspace:
        streams = chosen(streams_with_state(workspace), select, exclude)
        plans = [
            (stream, plan)
            for stream in streams
            for plan in read_plans(workspace.journal, workspace.key(stream.name))
        ]
        plans.sort(key=lambda pair: (pair[1].planned_at, pair[1].run_id), reverse=True)
        runs = [read(workspace, stream, plan) for stream, plan in plans[:limit]]
    if json:
        document({"runs": [as_document(run) for run in runs]})
    elif not runs:
        say("no run yet -> penstock run")
    else:
        table(
            ("run", "stream", "status", ">read", ">good", ">quarantined", ">loaded", "window"),
            (_row(run) for run in runs),
        )


@app.command(
    "show",
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock runs show 20261123T0600"),
)
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or how it starts.")],
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
) -> None:
    """Everything durable about a run: window, sums, chunks, troubles, bad rows."""
    with opened(file, env) as workspace:
        found = [read(workspace, *pair) for pair in find_plans(workspace, run)]
        bad = [
            grouped(workspace, files) if (files := list(files_of(workspace, one.state))) else ()
            for one in found
        ]
    if json:
        document(
            {
                "runs": [
                    {**as_document(one), "bad_rows": groups}
                    for one, groups in zip(found, bad, strict=True)
                ]
            }
        )
        return
    for one, groups in zip(found, bad, strict=True):
        _print(one)
        for group in groups:
            say(f"  {bad_line(group)}", "yellow")


def read(workspace: Workspace, stream: Stream, plan: Plan) -> Run:
    """The run as its durable facts have it."""
    state = read_run(workspace.journal, workspace.store, plan)
    troubles = tuple(troubles_of(workspace, state))
    return Run(stream, plan, state, sums_of(state), _status(workspace, state, troubles), troubles)


def _status(workspace: Workspace, state: RunState, troubles: tuple[Trouble, ...]) -> str:
    """by hand, given up, closed, loaded, reading, rejected, held, or in work."""
    plan = state.plan
    if plan.by_hand is not None:
        return "by hand"
    if plan.run_id in given_up(read_plans(workspace.journal, plan.key)):
        return "given up"
    if state.closing is not None:
        return "closed"
    head, _ = read_head(workspace.journal, plan.key)
    if head.open and head.seq == plan.seq:
        return "reading"
    if state.settled:
        return "loaded"
    return troubles[0].kind if troubles else "in work"


def _row(run: Run) -> tuple[str, ...]:
    counts = run.state.closing.counts if run.state.closing else run.state.counts
    return (
        run.plan.run_id,
        run.plan.key.stream,
        run.status,
        number(run.sums.read),
        number(counts.good),
        number(counts.quarantined),
        number(run.sums.loaded),
        window_text(run.plan) if run.plan.by_hand is None else run.plan.by_hand.why,
    )


def _print(run: Run) -> None:
    plan, state, sums = run.plan, run.state, run.sums
    say(f"{plan.run_id}  {plan.key.stream} -> {run.stream.load.target}  {run.status}")
    if plan.by_hand is not None:
        say(f"  by hand: {plan.by_hand.who}: {plan.by_hand.why}")
        return
    counts = state.closing.counts if state.closing else state.counts
    how = f"{plan.kind}, replaces {plan.scope}" if plan.swap else plan.kind
    raw = sum(link.file.bytes for link in state.links.values())
    say(f"  planned {plan.planned_at:%Y-%m-%d %H:%M:%S} UTC, seq {plan.seq}, {how}")
    say(
        f"  window {window_text(plan)}, {len(plan.window.slices)} slices, {len(state.links)} chunks"
    )
    say(f"  pipeline file {plan.digest[:12]}, raw {size(raw)}")
    say(
        f"  read {number(sums.read)} = good {number(counts.good)} + quarantined "
        f"{number(counts.quarantined)} + filtered {number(counts.filtered)} + deduplicated "
        f"{number(counts.deduplicated)} + rejected {number(sums.rejected)} + waiting "
        f"{number(sums.waiting)}"
    )
    say(
        f"  good {number(counts.good)} = loaded {number(sums.loaded)} + superseded "
        f"{number(sums.superseded)} + not loaded {number(sums.not_loaded)}"
    )
    for trouble in run.troubles:
        say(f"  {trouble.kind}: {trouble.where}", "red")
        for line in trouble.reason.splitlines():
            say(f"    {line}")


def as_document(run: Run) -> dict[str, Any]:
    """The run for programs."""
    plan = run.plan
    return {
        "run_id": plan.run_id,
        "stream": plan.key.stream,
        "target": run.stream.load.target,
        "status": run.status,
        "seq": plan.seq,
        "kind": plan.kind,
        "swap": plan.swap,
        "planned_at": plan.planned_at,
        "window": window_text(plan),
        "digest": plan.digest,
        "chunks": len(run.state.links),
        "counts": run.state.closing.counts if run.state.closing else run.state.counts,
        "sums": run.sums,
        "troubles": run.troubles,
        "by_hand": plan.by_hand,
    }
