"""Replay, reconcile and redrive: work that is there already goes on until all of it is settled.

No source is asked for anything that was read before: raw is the write-ahead log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from penstock.errors import Rejected
from penstock.model import ChunkId, Message, Plan, Trigger
from penstock.pipeline import Pipeline, Stream
from penstock.runtimes.embedded import POLL_S, Workers
from penstock.runtimes.run import StreamRun
from penstock.runtimes.workspace import Workspace
from penstock.spec.streams import expand, settle_write, takes
from penstock.stages.hands import given_up
from penstock.stages.reconcile import reconcile, regenerate
from penstock.stages.state import RunState, read_head, read_plans, read_run, unsettled_plans


def known_pipeline(workspace: Workspace) -> Pipeline:
    """Today's file with patterns expanded and write modes settled from what earlier runs found.

    Shape: streams that never ran, and are not settled by the file alone, are left out.
    """
    planned = _planned_streams(workspace)
    streams: list[Stream] = []
    for stream in workspace.pipeline.streams:
        parts: tuple[Stream, ...] = (stream,)
        if stream.tables:
            tables = [
                known.table
                for name, known in planned.items()
                if name.startswith(f"{stream.name}.") and known.table is not None
            ]
            parts = _expanded(stream, tables, workspace.pipeline.streams)
        for part in parts:
            if part.auto_write and part.files is None:
                if part.name not in planned:
                    continue
                part, _ = settle_write(part, _source_key(planned[part.name]))
            elif part.auto_write:
                part, _ = settle_write(part)
            streams.append(part)
    return replace(workspace.pipeline, streams=tuple(streams))


def _expanded(
    stream: Stream, tables: Sequence[str], streams: Sequence[Stream]
) -> tuple[Stream, ...]:
    """The streams of a pattern among these tables; globs that take none of them are left out."""
    globs = tuple(glob for glob in stream.tables if any(takes(table, [glob]) for table in tables))
    return expand(replace(stream, tables=globs), tables, streams) if globs else ()


def _planned_streams(workspace: Workspace) -> dict[str, Stream]:
    """Each stream as its newest run had it."""
    found: dict[str, Stream] = {}
    for name in workspace.known_streams():
        for plan in read_plans(workspace.journal, workspace.key(name)):
            if plan.by_hand is None:
                try:
                    found[name] = workspace.stream_of(plan.digest, name)
                except Rejected:
                    found.pop(name, None)
    return found


def _source_key(planned: Stream) -> tuple[str, ...]:
    """The database's key as the newest run knew it, by the source's names."""
    origin = {column.name: column.source or column.name for column in planned.columns}
    return tuple(origin.get(name, name) for name in planned.primary_key)


def replayable(
    workspace: Workspace, stream: Stream, run: str = "", *, quarantined: bool = False
) -> list[tuple[Plan, tuple[ChunkId, ...]]]:
    """The runs that shape the stream's table today, with the chunks to make again.

    Shape: runs older than the newest replacement, given up, or closed by gc are left out, and so
    are chunks that are not transformed yet; with `quarantined`, also those without bad rows.
    """
    key = workspace.key(stream.name)
    plans = list(read_plans(workspace.journal, key))
    abandoned = given_up(iter(plans))
    states = [
        read_run(workspace.journal, workspace.store, plan)
        for plan in plans
        if plan.by_hand is None and plan.run_id not in abandoned
    ]
    swaps = [
        place
        for place, state in enumerate(states)
        if state.plan.swap and state.plan.scope == "table" and state.complete
    ]
    found = []
    for state in states[swaps[-1] if swaps else 0 :]:
        if state.closing is not None or not state.plan.run_id.startswith(run):
            continue
        chunks = tuple(chunk for chunk in sorted(state.links) if _asked(state, chunk, quarantined))
        if chunks:
            found.append((state.plan, chunks))
    return found


def _asked(state: RunState, chunk: ChunkId, quarantined: bool) -> bool:
    commit = state.commits.get(chunk)
    if commit is None:
        return chunk in state.rejections
    return commit.counts.quarantined > 0 or not quarantined


def replay(
    workspace: Workspace,
    digest: str,
    chosen: Iterable[tuple[Stream, Sequence[tuple[Plan, tuple[ChunkId, ...]]]]],
    on_change: Callable[[Sequence[StreamRun]], None] = lambda _: None,
) -> list[StreamRun]:
    """The chunks are made again under the pipeline file of `digest`, and loaded."""
    runs, messages = [], []
    for stream, parts in chosen:
        run = work_on(workspace, stream, [plan for plan, _ in parts])
        runs.append(run)
        for plan, chunks in parts:
            messages += list(regenerate(workspace.journal, plan, chunks, digest))
    return settle_all(workspace, digest, runs, messages, on_change)


def work_on(workspace: Workspace, stream: Stream, plans: Sequence[Plan]) -> StreamRun:
    """A record of going on with a stream's runs, to be settled."""
    now = workspace.clock.now()
    run = StreamRun(stream, workspace.key(stream.name), Trigger("", "increment", now), "working")
    run.plans, run.started_at = list(plans), now
    return run


def settle_all(
    workspace: Workspace,
    digest: str,
    runs: Sequence[StreamRun],
    messages: Iterable[Message] = (),
    on_change: Callable[[Sequence[StreamRun]], None] = lambda _: None,
) -> list[StreamRun]:
    """Every stream's work is done, blocked or failed; nothing that can be finished is left over."""
    workers = Workers(workspace)
    workers.start()
    try:
        workers.send(messages)
        for item in runs:
            workers.send(reconcile(workspace.journal, workspace.store, item.key, digest))
        while not all(item.over for item in runs):
            workers.changed.clear()
            for item in _unfinished(runs):
                _advance(workspace, workers, item, digest)
            on_change(runs)
            workers.check()
            if not all(item.over for item in runs):
                workers.changed.wait(POLL_S)
    finally:
        workers.stop()
    on_change(runs)
    return list(runs)


def _unfinished(runs: Sequence[StreamRun]) -> Iterator[StreamRun]:
    return (item for item in runs if not item.over)


def _advance(workspace: Workspace, workers: Workers, item: StreamRun, digest: str) -> None:
    if item.key in workers.failures:
        item.status, item.error = "failed", workers.failures.pop(item.key)
    elif not outstanding(workspace, item):
        item.status = "done"
    elif workers.is_idle():
        missing = reconcile(workspace.journal, workspace.store, item.key, digest)
        if workers.send(missing) == 0 and workers.is_idle() and outstanding(workspace, item):
            item.status = "blocked"
    if item.over:
        item.ended_at = workspace.clock.now()


def outstanding(workspace: Workspace, item: StreamRun) -> bool:
    """Whether something of this stream is still to be read or loaded."""
    head, _ = read_head(workspace.journal, item.key)
    return head.open or next(unsettled_plans(workspace.journal, item.key), None) is not None
