"""`penstock quarantine`: bad rows by rule and reason, and what to do about them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock import layout
from penstock.cli import options
from penstock.cli.badrows import COLUMNS, BadFile, bad_files, bad_rows, grouped
from penstock.cli.opened import chosen, one_stream, opened, streams_with_state, who
from penstock.cli.show import document, number, say, table
from penstock.engine import literal
from penstock.errors import SpecError
from penstock.pipeline import Stream
from penstock.runtimes.workspace import Workspace

app = options.family("List, show, export or discard bad rows.")
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help="Only the run whose id starts so.")]
Rule = Annotated[str, typer.Option("--rule", metavar="RULE", help="Only this rule.")]
_FORMATS = {".csv": "csv, header", ".ndjson": "json", ".jsonl": "json", ".parquet": "parquet"}


@app.command(
    "list",
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock quarantine list", "penstock quarantine list --json"),
)
def list_bad(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    run: Run = "",
    json: options.Json = False,
) -> None:
    """Bad rows by stream, rule and column, each with an example and the next command."""
    with opened(file, env) as workspace:
        streams = chosen(streams_with_state(workspace), select, exclude)
        files = [item for item in bad_files(workspace, streams, run) if not item.discarded]
        groups = grouped(workspace, files) if files else ()
    if json:
        document({"rows": sum(group.rows for group in groups), "groups": groups})
        return
    if not groups:
        say("no bad rows")
        return
    table(
        ("stream", "rule", "column", ">rows", "example", "reason"),
        (
            (g.stream, g.rule, g.column, number(g.rows), _shown(g.value), _shown(g.reason))
            for g in groups
        ),
    )
    first = shlex.quote(groups[0].stream)
    say(
        f"  look:  penstock quarantine show {first}      after a correction:  "
        f"penstock replay {first} --quarantined",
        "dim",
    )


@app.command(
    "show",
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock quarantine show orders",
        "penstock quarantine show orders --rule between --limit 3 --json",
    ),
)
def show(
    stream: StreamName,
    file: options.File = options.FILE,
    env: options.Env = None,
    run: Run = "",
    rule: Rule = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows at most.")] = 20,
    json: options.Json = False,
) -> None:
    """The bad rows of a stream: where each came from, why it is bad, and the row itself."""
    with opened(file, env) as workspace:
        files = _files(workspace, one_stream(workspace, stream), run)
        rows = _rows(workspace, files, rule, limit) if files else []
    if json:
        document({"rows": rows})
        return
    if not rows:
        say("no bad rows")
        return
    for row in rows:
        place = f"{row['stream']}.{row['column']}" if row["column"] else row["stream"]
        say(f"{place}  {row['rule']}  {row['position'] or row['chunk']}", "yellow")
        say(f"  why:  {row['reason']}")
        say(f"  row:  {_shown(row['row'], 2000)}")


@app.command(
    "export",
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock quarantine export orders bad.csv"),
)
def export(
    stream: StreamName,
    target: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new .csv, .ndjson or .parquet file.")
    ],
    file: options.File = options.FILE,
    env: options.Env = None,
    run: Run = "",
    rule: Rule = "",
    json: options.Json = False,
) -> None:
    """The bad rows of a stream stand in a file."""
    form = _FORMATS.get(target.suffix.lower())
    if form is None:
        raise SpecError(f"what is {target.suffix or target}?", fix=f"use {', '.join(_FORMATS)}")
    if target.exists():
        raise SpecError(f"{target} is there already", fix="name a new file")
    with opened(file, env) as workspace:
        files = _files(workspace, one_stream(workspace, stream), run)
        if not files:
            raise SpecError(f"{stream} has no bad rows", fix="penstock quarantine list")
        with bad_rows(workspace, files) as (connection, rows, folder):
            made = folder / f"export{target.suffix.lower()}"
            connection.execute("CREATE TEMP TABLE bad AS " + _select(rows, rule), _bound(rule))
            connection.execute(f"COPY bad TO {literal(str(made))} (FORMAT {form})")
            count = connection.execute("SELECT count(*) FROM bad").fetchone()
            target.write_bytes(made.read_bytes())
    number_of = int(count[0]) if count else 0
    if json:
        document({"file": str(target), "rows": number_of})
    else:
        say(f"{number(number_of)} bad rows in {target}")


@app.command(
    "discard",
    context_settings=options.SETTINGS,
    epilog=options.examples('penstock quarantine discard orders --why "test orders of June"'),
)
def discard(
    stream: StreamName,
    why: options.Why,
    file: options.File = options.FILE,
    env: options.Env = None,
    run: Run = "",
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """The bad rows of a stream need no more attention: recorded, with who and why.

    Nothing is removed: `audit` counts them as before, `list` and `status` pass them by.
    """
    with opened(file, env, writes=True, yes=yes) as workspace:
        key = workspace.key(one_stream(workspace, stream).name)
        files = _files(workspace, one_stream(workspace, stream), run)
        for item in files:
            name = layout.discarded_entry(key, item.chunk)
            entry = workspace.journal.read(name)
            value = {
                "who": who(),
                "why": why,
                "at": workspace.clock.now().isoformat(),
                "generation": item.generation,
            }
            workspace.journal.swap(name, value, entry.version if entry else None)
    count = sum(item.file.rows for item in files)
    if json:
        document({"discarded": count})
    else:
        say(f"{number(count)} bad rows discarded, on the record")


def _files(workspace: Workspace, stream: Stream, run: str) -> list[BadFile]:
    return [item for item in bad_files(workspace, [stream], run) if not item.discarded]


def _select(rows: str, rule: str) -> str:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    return f"SELECT {names} FROM {rows}" + (" WHERE rule = $1" if rule else "")


def _bound(rule: str) -> list[str]:
    return [rule] if rule else []


def _rows(
    workspace: Workspace, files: Sequence[BadFile], rule: str, limit: int
) -> list[dict[str, Any]]:
    """The newest bad rows, as text."""
    with bad_rows(workspace, files) as (connection, rows, _):
        newest = f"SELECT * FROM ({_select(rows, rule)}) ORDER BY quarantined_at DESC LIMIT {limit}"
        texts = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in COLUMNS)
        found = connection.execute(f"SELECT {texts} FROM ({newest})", _bound(rule)).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def _shown(text: str | None, most: int = 80) -> str:
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "…"
