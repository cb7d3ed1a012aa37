"""`penstock run`: each selected stream has had one run, and all that came of it is settled."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from penstock.errors import PenstockError, Transient
from penstock.model import Kind, Plan, StreamKey, Trigger
from penstock.pipeline import Pipeline, Stream
from penstock.runtimes.embedded import POLL_S, Workers
from penstock.runtimes.workspace import Workspace
from penstock.stages.plan import Planner, slices_of
from penstock.stages.reconcile import reconcile
from penstock.stages.state import read_head, read_plans, unsettled_plans

PATIENCE = 3
"""Times that a source which cannot be asked is asked again before its stream has failed."""


@dataclass
class StreamRun:
    """How one stream's run went.

    Shape: `plan` None and `status` done: there was nothing new. `error` says why it failed.
    """

    stream: Stream
    key: StreamKey
    trigger: Trigger
    status: str = "planning"
    """planning, working, done, blocked (a chunk was rejected, or an assertion holds it), failed."""
    plan: Plan | None = None
    plans: list[Plan] = field(default_factory=list)
    """Every run that this one helped finish, its own included."""
    error: str = ""
    tries: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        return self.status in ("done", "blocked", "failed")


def run(
    workspace: Workspace,
    pipeline: Pipeline,
    streams: Sequence[Stream],
    kind: Kind = "increment",
    on_change: Callable[[Sequence[StreamRun]], None] = lambda _: None,
) -> list[StreamRun]:
    """Every stream is done, blocked or failed; nothing that can be finished is left over.

    Shape: `pipeline` is concrete; `streams` are of it.
    """
    digest = workspace.keep(pipeline)
    now = workspace.clock.now()
    runs = [
        StreamRun(
            stream,
            workspace.key(stream.name),
            Trigger(f"manual:{uuid.uuid4().hex}", kind, now),
            started_at=now,
        )
        for stream in streams
    ]
    workers = Workers(workspace)
    workers.start()
    try:
        for item in runs:
            workers.send(reconcile(workspace.journal, workspace.store, item.key, digest))
        while not all(item.over for item in runs):
            workers.changed.clear()
            before = [item.status for item in runs]
            for item in runs:
                if not item.over:
                    _advance(workspace, workers, item, digest)
            on_change(runs)
            workers.check()
            if [item.status for item in runs] == before:
                workers.changed.wait(POLL_S)
    finally:
        workers.stop()
    on_change(runs)
    return runs


def _advance(workspace: Workspace, workers: Workers, item: StreamRun, digest: str) -> None:
    """The stream is one step further, if it can be; never waits."""
    if item.key in workers.failures:
        _end(workspace, item, "failed", workers.failures.pop(item.key))
    elif item.status == "planning":
        _plan(workspace, workers, item, digest)
    elif not _outstanding(workspace, item):
        _end(workspace, item, "done")
    elif workers.is_idle():
        missing = reconcile(workspace.journal, workspace.store, item.key, digest)
        if workers.send(missing) == 0 and workers.is_idle() and _outstanding(workspace, item):
            _end(workspace, item, "blocked")


def _plan(workspace: Workspace, workers: Workers, item: StreamRun, digest: str) -> None:
    planner = Planner(
        workspace.journal,
        workspace.store,
        workspace.clock,
        item.stream,
        digest,
        lambda: workspace.source(item.stream.source),
    )
    try:
        planned = planner(item.key, item.trigger)
    except Transient as error:
        item.tries += 1
        if item.tries >= PATIENCE:
            _end(workspace, item, "failed", str(error))
        return
    except PenstockError as error:
        _end(workspace, item, "failed", str(error))
        return
    if planned.run_id is not None:
        item.plan = next(
            (plan for plan in item.plans if plan.run_id == planned.run_id), None
        ) or _find(workspace, item.key, planned.run_id)
        item.status = "working"
    elif planned.plan is not None and planned.plan not in item.plans:
        item.plans.append(planned.plan)
        workspace.log.emit(
            "run_planned",
            stream=item.key.stream,
            run_id=planned.plan.run_id,
            seq=planned.plan.seq,
            slices=len(planned.plan.window.slices),
        )
        workers.send(slices_of(planned.plan))
    elif planned.plan is not None and workers.is_idle():
        workers.send(reconcile(workspace.journal, workspace.store, item.key, digest))


def _find(workspace: Workspace, key: StreamKey, run_id: str) -> Plan | None:
    """The plan of a run that another process opened and closed."""
    if not run_id:
        return None
    plans = (plan for plan in read_plans(workspace.journal, key) if plan.run_id == run_id)
    return next(plans, None)


def _outstanding(workspace: Workspace, item: StreamRun) -> bool:
    """Whether something of this stream is still to be loaded; a held run counts."""
    head, _ = read_head(workspace.journal, item.key)
    return head.open or next(unsettled_plans(workspace.journal, item.key), None) is not None


def _end(workspace: Workspace, item: StreamRun, status: str, error: str = "") -> None:
    item.status, item.error = status, error
    item.ended_at = workspace.clock.now()
    workspace.log.emit(
        "run_ended",
        stream=item.key.stream,
        run_id=item.plan.run_id if item.plan else "",
        status=status,
        reason=error,
    )
