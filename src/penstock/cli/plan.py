"""`penstock plan`: what the next run would do; nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from penstock import layout
from penstock.cli import options
from penstock.cli.facts import window_of
from penstock.cli.opened import chosen, opened
from penstock.cli.show import document, number, say
from penstock.engine import connect
from penstock.errors import PenstockError
from penstock.model import Contract, Field, Window
from penstock.pipeline import Stream
from penstock.ports import Claims
from penstock.runtimes.workspace import Workspace
from penstock.stages.state import read_contract, read_head
from penstock.transform import explain_sql, output_fields

app = options.single()
MOST_SLICES = 6


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the next run of a stream would do, and why."""

    stream: str
    source: str
    target: str
    write: str
    reason: str
    kind: str
    window: str
    slices: tuple[dict[str, object], ...]
    notes: tuple[str, ...]
    changes: tuple[str, ...]
    """To the target table."""
    columns: tuple[Field, ...]
    sql: str
    problem: str = ""


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock plan",
        "penstock plan --select orders --sql",
        "penstock plan --full-refresh --json",
    ),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="As a run that reads everything again.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Show the compiled SQL.")] = False,
    json: options.Json = False,
) -> None:
    """Show windows, slices, table changes, choices and why, and the compiled SQL; nothing changes.

    The sources are asked; the warehouse is not opened.
    """
    with opened(file, env) as workspace:
        streams = chosen(workspace.concrete().streams, select, exclude)
        outlooks = [_look(workspace, stream, refresh=full_refresh) for stream in streams]
    if json:
        document({"streams": outlooks})
    else:
        for outlook in outlooks:
            _print(outlook, with_sql=sql)
    raise typer.Exit(1 if any(outlook.problem for outlook in outlooks) else 0)


def _look(workspace: Workspace, stream: Stream, *, refresh: bool) -> Outlook:
    key = workspace.key(stream.name)
    head, _ = read_head(workspace.journal, key)
    contract = read_contract(workspace.journal, key)
    reads_all = refresh or stream.load.write == "replace"
    window, columns, sql, problem = Window(()), tuple[Field, ...](), "", ""
    try:
        source = workspace.source(stream.source)
        claims = _claims(workspace, stream)
        kind = "refresh" if reads_all else "increment"
        window = source.plan(stream, kind, head.cursor, claims)  # type: ignore[arg-type]
        fields = source.describe(stream).fields
        if fields:
            columns, sql = _compiled(workspace, stream, fields, contract)
    except PenstockError as error:
        problem = str(error)
    notes = list(window.notes)
    if head.open:
        notes.append(f"run {head.seq} is open, and is finished first")
    return Outlook(
        stream.name,
        stream.source,
        stream.load.target,
        stream.load.write,
        workspace.choices.get(stream.name, "the file says so"),
        "refresh" if reads_all else "increment",
        window_of(window) if window.slices else "nothing new",
        tuple({"number": part.number, "spec": part.spec} for part in window.slices),
        tuple(notes),
        tuple(_changes(stream, contract, columns)),
        columns,
        sql,
        problem,
    )


def _claims(workspace: Workspace, stream: Stream) -> Claims:
    if stream.files is None:
        return Claims()
    entries = workspace.journal.scan(layout.claim_entries(workspace.key(stream.name)))
    return Claims({e.value["path"]: tuple(e.value["versions"]) for e in entries})


def _compiled(
    workspace: Workspace, stream: Stream, fields: tuple[Field, ...], contract: Contract | None
) -> tuple[tuple[Field, ...], str]:
    with (
        TemporaryDirectory(dir=workspace.folder) as folder,
        connect([Path(folder)]) as connection,
    ):
        columns = output_fields(connection, stream, fields)
        return columns, explain_sql(connection, stream, fields, contract)


def _changes(
    stream: Stream, contract: Contract | None, columns: tuple[Field, ...]
) -> Iterator[str]:
    if not columns:
        return
    if contract is None:
        yield f"new table {stream.load.target} with {len(columns)} columns"
        return
    known = {column.name: column for column in contract.columns}
    policy = stream.schema_contract
    for column in columns:
        before = known.get(column.name)
        if before is None:
            yield f"new column {column.name} {column.type} (new_columns: {policy.new_columns})"
        elif before.type != column.type:
            yield (
                f"{column.name}: {before.type} in the table, {column.type} now "
                f"(changed_types: {policy.changed_types})"
            )


def _print(outlook: Outlook, *, with_sql: bool) -> None:
    say(f"{outlook.stream}: {outlook.source} -> {outlook.target}", "bold")
    if outlook.problem:
        for line in outlook.problem.splitlines():
            say(f"  {line}", "red")
        return
    say(f"  {outlook.write}, because: {outlook.reason}")
    count = len(outlook.slices)
    slices = f", {number(count)} slice{'s' if count != 1 else ''}" if count else ""
    say(f"  {outlook.kind} {outlook.window}{slices}")
    for part in outlook.slices[:MOST_SLICES]:
        text = ", ".join(f"{name} {value}" for name, value in _spec(part).items())
        if text:
            say(f"    {part['number']}: {text[:160]}", "dim")
    if count > MOST_SLICES:
        say(f"    and {number(count - MOST_SLICES)} more", "dim")
    for text in outlook.notes:
        say(f"  note: {text}")
    for text in outlook.changes:
        say(f"  change: {text}", "yellow")
    if with_sql and outlook.sql:
        for line in outlook.sql.split("\n"):
            say(f"    {line}")


def _spec(part: dict[str, object]) -> dict[str, object]:
    spec = part["spec"]
    return {k: v for k, v in spec.items() if v is not None} if isinstance(spec, dict) else {}
