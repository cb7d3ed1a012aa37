"""What a stream's durable facts say, in the words that reports and `status` use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from penstock import codec, layout
from penstock.errors import Problem
from penstock.model import Json, Plan, StreamKey, Window
from penstock.observe.report import Trouble
from penstock.runtimes.workspace import Workspace
from penstock.stages.state import RunState, read_head, read_plan, unsettled_plans


@dataclass(frozen=True, slots=True)
class RunSums:
    """The sums of one run, from its links, commit records and receipts; no warehouse is asked."""

    read: int
    rejected: int
    waiting: int
    loaded: int
    superseded: int
    not_loaded: int
    inserted: int
    updated: int
    holds: bool


def sums_of(state: RunState) -> RunSums:
    """The run added up."""
    if state.closing is not None:
        closing = state.closing
        counts = closing.counts
        holds = counts.holds and counts.good == closing.loaded + closing.superseded
        return RunSums(counts.read, 0, 0, closing.loaded, closing.superseded, 0, 0, 0, holds)
    rejected = waiting = loaded = superseded = not_loaded = inserted = updated = 0
    holds = True
    for chunk, link in state.links.items():
        commit, receipt = state.commits.get(chunk), state.receipts.get(chunk)
        if commit is None:
            if chunk in state.rejections:
                rejected += link.file.rows
            else:
                waiting += link.file.rows
            continue
        good = commit.counts.good
        holds = holds and commit.counts.holds and commit.counts.read == link.file.rows
        if receipt is None or not state.is_received(chunk):
            not_loaded += good
        elif receipt.status == "superseded":
            superseded += good
        else:
            loaded += good
            inserted += receipt.inserted
            updated += receipt.updated
    return RunSums(
        state.rows_read, rejected, waiting, loaded, superseded, not_loaded, inserted, updated, holds
    )


def troubles_of(workspace: Workspace, state: RunState) -> Iterator[Trouble]:
    """What keeps the run from being loaded, each reason once."""
    by_reason: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    for chunk, rejection in sorted(state.rejections.items()):
        by_reason.setdefault(rejection.reason, []).append(str(chunk))
        rows[rejection.reason] = rows.get(rejection.reason, 0) + rejection.rows
    for reason, chunks in by_reason.items():
        more = f" and {len(chunks) - 1} more" if len(chunks) > 1 else ""
        yield Trouble("rejected", f"chunk {chunks[0]}{more}", reason, rows[reason])
    entry = workspace.journal.read(layout.held_entry(state.plan.key, state.plan.seq))
    if entry is not None and state.closing is None:
        for failure in entry.value["failures"]:
            problem = codec.read(Problem, failure)
            yield Trouble("held", problem.where, str(problem), state.counts.good)


def fresh_at(workspace: Workspace, key: StreamKey) -> datetime | None:
    """The newest moment whose rows are sure to be loaded; None before the first load.

    Shape: with runs at work, where the oldest of them started. Else the cursor where that is a
    moment, or when the newest run was planned; or later, when a source said: nothing new.
    """
    oldest = next(unsettled_plans(workspace.journal, key), None)
    head, _ = read_head(workspace.journal, key)
    if oldest is not None:
        return moment_of(oldest.cursor_before) or _planned_at(workspace, key, oldest.seq - 1)
    if head.seq == 0:
        return None
    until = moment_of(head.cursor) or _planned_at(workspace, key, head.seq)
    answered = [
        entry.changed_at
        for entry in workspace.journal.scan(layout.trigger_entries(key))
        if not entry.value["run_id"]
    ]
    return max((moment for moment in (until, *answered) if moment is not None), default=None)


def _planned_at(workspace: Workspace, key: StreamKey, seq: int) -> datetime | None:
    """When that run was planned; None for none, and for a change by hand."""
    plan = read_plan(workspace.journal, key, seq)
    return plan.planned_at if plan is not None and plan.by_hand is None else None


def moment_of(cursor: Json) -> datetime | None:
    """The cursor as a moment in UTC, if it is one."""
    if isinstance(cursor, dict):
        return next((m for m in map(moment_of, cursor.values()) if m is not None), None)
    if not isinstance(cursor, str) or len(cursor) < 10 or "-" not in cursor[4:]:
        return None
    try:
        moment = datetime.fromisoformat(cursor)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def window_text(plan: Plan) -> str:
    """The window in a few words: `(2026-11-22, 2026-11-23]`, `3 files`, `everything`."""
    return window_of(plan.window)


def window_of(window: Window) -> str:
    """A window that is not planned yet, in the same words."""
    if window.claims:
        return f"{len(window.claims)} file{'s' if len(window.claims) > 1 else ''}"
    if window.hi is None and window.lo is None:
        return "everything"
    return f"({_bound(window.lo)}, {_bound(window.hi)}]"


def _bound(value: Json) -> str:
    if value is None:
        return "…"
    if isinstance(value, dict):
        return _bound(value.get("value"))
    moment = moment_of(value)
    if moment is None:
        return str(value)
    return f"{moment:%Y-%m-%d %H:%M:%S}".removesuffix(":00").removesuffix(" 00:00")
