"""`penstock status`: what is STUCK or LATE, since when, why, and what to type.

Nothing here opens the warehouse or asks a source: looking never wakes anybody.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import typer

from penstock import codec
from penstock.cli import options
from penstock.cli.badrows import bad_files
from penstock.cli.events import failures
from penstock.cli.facts import fresh_at, troubles_of
from penstock.cli.opened import chosen, opened, state_folder, streams_with_state
from penstock.cli.show import age, document, number, say, table
from penstock.errors import Rejected
from penstock.pipeline import Stream
from penstock.ports import DeadLetter
from penstock.runtimes.embedded import queue_of_source
from penstock.runtimes.workspace import Workspace
from penstock.stages.state import read_head, read_run, unsettled_plans

app = options.single()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a stream that a person should know."""

    kind: str
    """STUCK: needs a hand. LATE: a freshness promise does not hold. OPEN: goes on by itself."""
    stream: str
    what: str
    since: str
    type_this: str


@dataclass(frozen=True, slots=True)
class Totals:
    streams: int
    waiting: int
    in_flight: int
    dead: int
    quarantined: int
    quarantined_today: int


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock status", "penstock status --json --select 'tag:finance'"),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    json: options.Json = False,
) -> None:
    """Show what is STUCK or LATE first: since when, why, and what to type.

    Exit 0: all is well. 3: something is stuck or late. The warehouse is not opened.
    """
    with opened(file, env) as workspace:
        streams = chosen(streams_with_state(workspace), select, exclude)
        found = sorted(_findings(workspace, streams), key=lambda item: _ORDER.index(item.kind))
        totals = _totals(workspace, streams)
    if json:
        document({"findings": found, "totals": totals, "ok": _is_well(found)})
    else:
        _print(found, totals)
    raise typer.Exit(0 if _is_well(found) else 3)


_ORDER = ("STUCK", "LATE", "OPEN")


def _is_well(found: Sequence[Finding]) -> bool:
    return all(item.kind == "OPEN" for item in found)


def _findings(workspace: Workspace, streams: Sequence[Stream]) -> Iterator[Finding]:
    failed = failures(state_folder(workspace) / "logs")
    dead = dead_by_stream(workspace)
    now = workspace.clock.now()
    for stream in streams:
        name = stream.name
        stuck = list(_stuck(workspace, stream, dead.get(name, []), now))
        if name in failed and not stuck:
            since, reason, count = failed[name]
            first = reason.strip().partition("\n")[0]
            runs = f"{count} run{'s' if count > 1 else ''}"
            yield Finding(
                "STUCK",
                name,
                f"{first} since {_clock(datetime.fromisoformat(since), now)} ({runs})",
                since,
                f"penstock check --select {shlex.quote(name)}",
            )
        yield from stuck
        yield from _late(workspace, stream, now)
        if not stuck and name not in failed:
            yield from _open(workspace, stream, now)


def _stuck(
    workspace: Workspace, stream: Stream, dead: Sequence[DeadLetter], now: datetime
) -> Iterator[Finding]:
    name, quoted = stream.name, shlex.quote(stream.name)
    has_rejected = False
    for plan in unsettled_plans(workspace.journal, workspace.key(name)):
        state = read_run(workspace.journal, workspace.store, plan)
        since = plan.planned_at.isoformat()
        for trouble in troubles_of(workspace, state):
            first = trouble.reason.partition("\n")[0]
            if trouble.kind == "rejected":
                has_rejected = True
                first = f"{number(trouble.rows)} rows rejected: {first}"
            what = f"{first} since {_clock(plan.planned_at, now)}"
            fix = f"penstock dlq show {quoted}" if trouble.kind == "rejected" else ""
            yield Finding("STUCK", name, what, since, fix or f"penstock runs show {plan.run_id}")
    if dead and not has_rejected:
        first = dead[0].reason.strip().partition("\n")[0]
        what = f"{len(dead)} dead: {first} since {_clock(dead[0].dead_at, now)}"
        since = dead[0].dead_at.isoformat()
        yield Finding("STUCK", name, what, since, f"penstock dlq show {quoted}")


def _late(workspace: Workspace, stream: Stream, now: datetime) -> Iterator[Finding]:
    if stream.freshness_s is None:
        return
    newest = fresh_at(workspace, workspace.key(stream.name))
    if newest is None:
        return
    age_s = (now - newest).total_seconds()
    if age_s > stream.freshness_s:
        what = f"fresh {age(age_s)}, promised {age(stream.freshness_s)}"
        fix = f"penstock run --select {shlex.quote(stream.name)}"
        yield Finding("LATE", stream.name, what, newest.isoformat(), fix)


def _open(workspace: Workspace, stream: Stream, now: datetime) -> Iterator[Finding]:
    key = workspace.key(stream.name)
    head, _ = read_head(workspace.journal, key)
    for plan in unsettled_plans(workspace.journal, key):
        said = "is read" if head.open and head.seq == plan.seq else "is to be loaded"
        what = f"run {plan.run_id} {said} since {_clock(plan.planned_at, now)}"
        yield Finding("OPEN", stream.name, what, plan.planned_at.isoformat(), "penstock run")


def dead_by_stream(workspace: Workspace) -> dict[str, list[DeadLetter]]:
    """Dead letters by the stream that they belong to; "" for those nobody can read."""
    found: dict[str, list[DeadLetter]] = {}
    for letter in workspace.queue.dead():
        try:
            name = codec.unpack(letter.body).key.stream
        except Rejected:
            name = ""
        found.setdefault(name, []).append(letter)
    return found


def _totals(workspace: Workspace, streams: Sequence[Stream]) -> Totals:
    names = [queue_of_source(source.name) for source in workspace.pipeline.sources]
    depths = [workspace.queue.depth(name) for name in (*names, "transform", "load")]
    today = workspace.clock.now().date()
    bad = [item for item in bad_files(workspace, streams) if not item.discarded]
    return Totals(
        streams=len(streams),
        waiting=sum(depth.ready + depth.delayed for depth in depths),
        in_flight=sum(depth.in_flight for depth in depths),
        dead=sum(depth.dead for depth in depths),
        quarantined=sum(item.file.rows for item in bad),
        quarantined_today=sum(
            item.file.rows for item in bad if item.plan.planned_at.date() == today
        ),
    )


def _print(found: Sequence[Finding], totals: Totals) -> None:
    if found:
        table(
            ("", "", "", ""),
            ((f.kind, f.stream, f.what, f"-> {f.type_this}") for f in found),
        )
    in_work = f" ({totals.in_flight} in work)" if totals.in_flight else ""
    today = f" (+{number(totals.quarantined_today)} today)" if totals.quarantined else ""
    streams = f"{totals.streams} stream{'s' if totals.streams != 1 else ''}"
    say(
        f"  {'ok' if _is_well(found) else '--'}     {streams}, queue {totals.waiting}{in_work}, "
        f"dead {totals.dead}, quarantine {number(totals.quarantined)}{today}"
    )


def _clock(at: datetime, now: datetime) -> str:
    """06:12 today, the date before that."""
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"
