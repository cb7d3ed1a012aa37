"""`penstock query`: rows from the warehouse."""

from __future__ import annotations

import csv as csv_text
import sys
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.opened import open_to_read, opened
from penstock.cli.show import as_json, cell, document, note, number, table
from penstock.ports import Rows

app = options.single()
MOST_ROWS = 1000


@app.command(
    context_settings={**options.SETTINGS, "ignore_unknown_options": True},  # "-- a comment"
    epilog=options.examples(
        'penstock query "select * from analytics.orders limit 5"',
        'penstock query --csv --limit 0 "select * from analytics.orders" > orders.csv',
        "penstock query --json - < question.sql",
    ),
)
def command(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The question; - reads it from stdin.")],
    file: options.File = options.FILE,
    env: options.Env = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Rows at most; 0 for all.")
    ] = MOST_ROWS,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header; NULL is empty.")] = False,
    json: options.Json = False,
) -> None:
    """Ask the warehouse. It is opened to read, and works while a run is going on.

    With --json, decimals and times are text, so that they stay exact.
    """
    text = sys.stdin.read() if sql == "-" else sql
    with opened(file, env) as workspace, open_to_read(workspace) as warehouse:
        answer = warehouse.query(text, limit + 1 if limit else None)
    shown = answer.rows[:limit] if limit else answer.rows
    if json:
        _print_json(answer, shown, is_cut=len(shown) < len(answer.rows))
        return
    if csv:
        writer = csv_text.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([_csv_cell(value) for value in row] for row in shown)
    else:
        table([_heading(answer, place) for place in range(len(answer.columns))], shown, indent=0)
    if len(shown) < len(answer.rows):
        note(f"only the first {number(limit)} rows; --limit 0 shows all")


_NUMERIC = ("INT", "DECIMAL", "NUMERIC", "DOUBLE", "FLOAT", "REAL", "int", "numeric", "double")


def _heading(answer: Rows, place: int) -> str:
    is_number = any(kind in answer.types[place] for kind in _NUMERIC)
    return (">" if is_number else "") + answer.columns[place]


def _csv_cell(value: object) -> object:
    made = as_json(value)
    return str(cell(made)) if isinstance(made, (dict, list)) else made


def _print_json(answer: Rows, shown: tuple[tuple[object, ...], ...], *, is_cut: bool) -> None:
    names = _unique(answer.columns)
    document(
        {
            "columns": [
                {"name": name, "type": kind} for name, kind in zip(names, answer.types, strict=True)
            ],
            "rows": [dict(zip(names, row, strict=True)) for row in shown],
            "is_cut": is_cut,
        }
    )


def _unique(names: tuple[str, ...]) -> list[str]:
    """The names, a second `id` as `id_2`."""
    made: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in made:
            candidate, number = f"{name}_{number}", number + 1
        made.append(candidate)
    return made
