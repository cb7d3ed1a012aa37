"""`penstock preview`: rows before and after the steps, and what would be quarantined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.opened import chosen, opened
from penstock.cli.show import document, number, say, table
from penstock.engine import connect
from penstock.model import ChunkId, File, Link
from penstock.pipeline import Stream
from penstock.ports import Claims
from penstock.runtimes.workspace import Workspace
from penstock.transform import Preview, preview_chunk

app = options.single()
LOOK_ROWS = 10_000
"""Rows that are read at most, of which some are shown."""
_SHOWN = ("rule", "column", "value", "reason", "position")


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock preview --select orders", "penstock preview --rows 3 --json"),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="Rows to show.")] = 5,
    json: options.Json = False,
) -> None:
    """Read the first rows of each stream and show them before and after the steps.

    Nothing is kept: no run, no file, no row. Columns with a mask are masked in both.
    """
    with opened(file, env) as workspace:
        streams = chosen(workspace.concrete().streams, select, exclude)
        previews = [(stream, _preview(workspace, stream, rows)) for stream in streams]
    if json:
        document({"streams": [_as_document(*pair) for pair in previews]})
    else:
        for stream, preview in previews:
            _print(stream, preview)


def _preview(workspace: Workspace, stream: Stream, rows: int) -> Preview | None:
    """None if the stream has no rows at all."""
    source = workspace.source(stream.source)
    short = replace(stream, limit_rows=min(stream.limit_rows or LOOK_ROWS, LOOK_ROWS))
    window = source.plan(short, "refresh", None, Claims())
    if not window.slices:
        return None
    with TemporaryDirectory(dir=workspace.folder) as folder:
        pieces = iter(source.read(short, window.slices[0], None, Path(folder)))
        piece = next(pieces, None)
        if piece is None:
            return None
        chunk = ChunkId(stream.name, "preview", 0, "", 0)
        link = Link(
            chunk,
            File("preview", "", 0, piece.rows),
            piece.fields,
            piece.position,
            piece.last,
            piece.origin,
        )
        with connect([Path(folder), piece.path.parent]) as connection:
            return preview_chunk(
                connection,
                stream,
                link,
                piece.path,
                None,
                read_reference=workspace.read_reference,
                rows=rows,
                at=workspace.clock.now(),
            )


def _print(stream: Stream, preview: Preview | None) -> None:
    if preview is None:
        say(f"{stream.name}: no rows")
        return
    counts = preview.counts
    say(
        f"{stream.name}: of {number(counts.read)} rows {number(counts.good)} are good, "
        f"{number(counts.quarantined)} bad, {number(counts.filtered)} filtered, "
        f"{number(counts.deduplicated)} deduplicated",
        "bold",
    )
    say("  before", "dim")
    table(preview.raw_columns, preview.raw, indent=4)
    say("  after", "dim")
    table([f"{column.name} {column.type}" for column in preview.columns], preview.good, indent=4)
    if preview.quarantined:
        say("  quarantined", "yellow")
        places = [preview.quarantine_columns.index(name) for name in _SHOWN]
        rows = [[row[place] for place in places] for row in preview.quarantined]
        table(_SHOWN, rows, indent=4)


def _as_document(stream: Stream, preview: Preview | None) -> dict[str, object]:
    if preview is None:
        return {"stream": stream.name, "counts": None}
    columns = [column.name for column in preview.columns]
    before, bad = preview.raw_columns, preview.quarantine_columns
    return {
        "stream": stream.name,
        "counts": preview.counts,
        "rules": preview.rules,
        "columns": preview.columns,
        "before": [dict(zip(before, row, strict=True)) for row in preview.raw],
        "after": [dict(zip(columns, row, strict=True)) for row in preview.good],
        "quarantined": [dict(zip(bad, row, strict=True)) for row in preview.quarantined],
    }
