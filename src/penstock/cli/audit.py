"""`penstock audit`: every row that was read, accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.opened import chosen, open_to_read, opened, streams_with_state
from penstock.cli.show import document, number, say, table
from penstock.pipeline import Stream
from penstock.ports import Warehouse
from penstock.runtimes.workspace import Workspace
from penstock.stages.audit import RunAudit, StreamAudit, audit_stream
from penstock.stages.load import target_of

app = options.single()
_HEADS: Mapping[str, str] = {
    "read": "read",
    "good": "= good",
    "quarantined": "+ quarantined",
    "filtered": "+ filtered",
    "deduplicated": "+ deduplicated",
    "rejected": "+ rejected",
    "not_transformed": "+ waiting",
    "loaded": "good = in ledger",
    "superseded": "+ superseded",
    "not_loaded": "+ not loaded",
}
_SUMS = tuple(_HEADS)
_ALWAYS = ("read", "good", "quarantined", "loaded")


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock audit",
        "penstock audit --final --select orders",
        "penstock audit --json",
    ),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    final: Annotated[
        bool, typer.Option("--final", help="Work in flight counts as broken, too.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Add up every row that was read; exit 3 if a sum does not hold.

    read = good + quarantined + filtered + deduplicated + rejected + waiting (not transformed);
    good = in ledger + superseded + not loaded. The ledger is the warehouse's own.
    """
    with opened(file, env) as workspace:
        streams = chosen(streams_with_state(workspace), select, exclude)
        audits = _audit(workspace, streams)
    holds = all(audit.holds(final) for audit in audits)
    if json:
        document({"holds": holds, "streams": [_as_document(audit, final) for audit in audits]})
    else:
        _print(audits, final=final, holds=holds)
    raise typer.Exit(0 if holds else 3)


def _audit(workspace: Workspace, streams: tuple[Stream, ...]) -> list[StreamAudit]:
    known = workspace.warehouse_id()
    if known is None:
        return []
    with open_to_read(workspace) as warehouse:
        if warehouse.identity() != known:
            workspace.meet_warehouse(warehouse)
        return [_audit_one(workspace, warehouse, stream) for stream in streams]


def _audit_one(workspace: Workspace, warehouse: Warehouse, stream: Stream) -> StreamAudit:
    target = target_of(stream)
    counted = None
    if stream.load.write != "merge":
        counted = warehouse.count(target, by_chunk=True)
    return audit_stream(
        workspace.journal,
        workspace.store,
        workspace.key(stream.name),
        warehouse.ledger(str(target)),
        counted,
    )


def sums(runs: Iterable[RunAudit]) -> dict[str, int]:
    """The runs of a stream added up, by name."""
    total = dict.fromkeys(_SUMS, 0)
    for run in runs:
        for name in _SUMS:
            part = (
                run.counts if name in ("good", "quarantined", "filtered", "deduplicated") else run
            )
            total[name] += getattr(part, name)
    return total


def _print(audits: list[StreamAudit], *, final: bool, holds: bool) -> None:
    if not audits:
        say("nothing has been loaded yet")
        return
    total = sums(run for audit in audits for run in audit.runs)
    shown = [name for name in _SUMS if name in _ALWAYS or total[name]]
    table(
        ("stream", *(f">{_HEADS[name]}" for name in shown), ""),
        (
            (
                audit.stream,
                *(number(sums(audit.runs)[name]) for name in shown),
                "holds" if audit.holds(final) else "BROKEN",
            )
            for audit in audits
        ),
    )
    for audit in audits:
        for text in audit.broken:
            say(f"  BROKEN  {audit.stream}  {text}", "red")
        for run in audit.runs:
            for text in run.broken:
                say(f"  BROKEN  {audit.stream}  run {run.run_id}: {text}", "red")
            if run.in_flight:
                say(f"  {run.status}  {audit.stream}  run {run.run_id}  -> penstock run", "yellow")
    if holds:
        said = f"every sum holds: {number(total['read'])} rows read, {number(total['loaded'])} in"
        say(f"  {said} the ledger, {number(total['quarantined'])} quarantined", "green")


def _as_document(audit: StreamAudit, final: bool) -> dict[str, object]:
    return {
        "stream": audit.stream,
        "holds": audit.holds(final),
        "sums": sums(audit.runs),
        "broken": audit.broken,
        "runs": audit.runs,
    }
