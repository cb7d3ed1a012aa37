"""Looking before running: what a stream's rows will be, the SQL that makes them, and a preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engine import quote
from penstock.model import Contract, Counts, Field, Link
from penstock.pipeline import Stream
from penstock.transform.chunk import (
    OUT,
    Work,
    decide,
    quarantined_rows,
    raw_columns,
    raw_source,
    refuse_doubles,
    tally,
)
from penstock.transform.columns import JSON
from penstock.transform.compile import JUDGED, OK, Compiled, compile_chunk
from penstock.transform.masks import key_parameter, read_keys
from penstock.transform.quarantine import row_json, shown_raw
from penstock.transform.types import parse_type

if TYPE_CHECKING:
    import duckdb


def output_fields(
    connection: duckdb.DuckDBPyConnection, stream: Stream, fields: tuple[Field, ...]
) -> tuple[Field, ...]:
    """The columns that the stream's rows will have, without bookkeeping columns.

    Raises: Rejected if a column, step or expectation does not fit the fields.
    """
    return _compiled(connection, stream, fields, None).fields


def explain_sql(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    fields: tuple[Field, ...],
    contract: Contract | None = None,
) -> str:
    """The statement that makes the good rows of a chunk, for people to read.

    Raises: Rejected if a column, step or expectation does not fit the fields.
    """
    compiled = _compiled(connection, stream, fields, contract)
    listed = ",\n  ".join(f"{output.sql} AS {quote(output.name)}" for output in compiled.outputs)
    where = f"\nWHERE {OK}" if compiled.rule_checks else ""
    source = "SELECT * FROM read_parquet('<chunk>')"
    return compiled.statement(source, f"SELECT\n  {listed}\nFROM {JUDGED}{where}")


def _compiled(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    fields: tuple[Field, ...],
    contract: Contract | None,
) -> Compiled:
    physical = {field.name: _assumed(stream, field) for field in fields if field.path is None}
    if any(field.path is not None for field in fields):
        physical[JSON] = "VARCHAR"
    keys = (key_parameter(stream, column) for column in stream.columns)
    parameters = {**stream.vars, **{key: "" for key in keys if key is not None}}
    return compile_chunk(connection, stream, fields, physical, contract, parameters)


def _assumed(stream: Stream, field: Field) -> str:
    """The type a raw file will have: databases hand decimals over as text."""
    kind = parse_type(field.type)
    return "VARCHAR" if kind.name == "decimal" and stream.files is None else kind.duckdb


@dataclass(frozen=True, slots=True)
class Preview:
    """Some rows of a chunk as they came, as they would be staged, and as they would be kept back.

    Shape: every value is text, as DuckDB writes it, or None.
    """

    raw_columns: tuple[str, ...]
    raw: tuple[tuple[str | None, ...], ...]
    columns: tuple[Field, ...]
    good: tuple[tuple[str | None, ...], ...]
    quarantine_columns: tuple[str, ...]
    quarantined: tuple[tuple[str | None, ...], ...]
    counts: Counts
    rules: Mapping[str, int]


def preview_chunk(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    link: Link,
    raw: Path,
    contract: Contract | None,
    *,
    read_reference: Callable[[str], str],
    rows: int = 10,
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC),
) -> Preview:
    """What transform would make of a raw file; nothing is written, and no budget applies.

    Raises: Rejected if a column, step or expectation does not fit.
    """
    parameters = {**stream.vars, **read_keys(stream, read_reference)}
    physical = raw_columns(connection, raw)
    compiled = compile_chunk(connection, stream, link.fields, physical, contract, parameters)
    work = Work(connection, compiled, link, raw_source(raw, physical), raw.parent, 0, 0, at)
    refuse_doubles(work)
    good, doubles = decide(work)
    names = [output.name for output in compiled.outputs]
    own = [name for name in physical if name != JSON and not name.startswith("_penstock_")]
    shown = own + ([JSON] if JSON in physical else [])
    quarantined = quarantined_rows(work)
    heads = tuple(row[0] for row in work.run(f"DESCRIBE ({quarantined})").fetchall())
    counts, rules = tally(work, work.count(f"SELECT count(*) FROM ({work.source})"), good, doubles)
    return Preview(
        tuple(shown),
        _raw_texts(work, shown, rows),
        tuple(Field(output.name, output.type) for output in compiled.outputs),
        _texts(work, names, f"{OUT} WHERE fate = 0", rows),
        heads,
        _texts(work, heads, f"({quarantined})", rows),
        counts,
        rules,
    )


def _raw_texts(work: Work, names: list[str], rows: int) -> tuple[tuple[str | None, ...], ...]:
    typed = work.compiled.typed
    listed = ", ".join(
        row_json(work.stream, typed)
        if name == JSON
        else shown_raw(work.stream, typed, name, f"CAST(raw.{quote(name)} AS VARCHAR)")
        for name in names
    )
    return tuple(work.run(f"SELECT {listed} FROM ({work.source}) AS raw LIMIT {rows}").fetchall())


def _texts(
    work: Work, names: list[str] | tuple[str, ...], source: str, rows: int
) -> tuple[tuple[str | None, ...], ...]:
    listed = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in names) or "NULL"
    return tuple(work.run(f"SELECT {listed} FROM {source} LIMIT {rows}").fetchall())
