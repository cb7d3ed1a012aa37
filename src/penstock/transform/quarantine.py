"""Quarantined rows: what was wrong with each, where it came from, and what it looked like.

One row per bad row: `rule`, `column`, `value` and `reason` are of the first rule it broke, `rules`
lists all. Values are cut to 1 KiB. What a column masks is masked in `value` and in `row` too; the
text of a record that could not be read is hidden where any column of the stream is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from penstock.engine import literal, quote
from penstock.model import ChunkId
from penstock.pipeline import Column, Stream
from penstock.transform.casts import shortened
from penstock.transform.columns import JSON, ROW, Check, Typed
from penstock.transform.masks import REDACTED, key_parameter, mask_expression
from penstock.transform.types import digits_of, is_nested

VALUE_BYTES = 1024
BAD = "_penstock_bad"


def failures(stream: Stream, checks: Sequence[Check]) -> str:
    """SQL of a list that holds one struct for each check that a row breaks."""
    items = ", ".join(
        f"CASE WHEN NOT {check.holds} THEN {{'rule': {literal(check.rule)}, "
        f"'column': {_name(check.column)}, 'value': {_value(stream, check)}, "
        f"'reason': {check.reason}}} END"
        for check in checks
    )
    return f"list_filter([{items}], lambda failure: failure IS NOT NULL)"


def _name(column: str | None) -> str:
    return literal(column) if column is not None else "CAST(NULL AS VARCHAR)"


def _value(stream: Stream, check: Check) -> str:
    if check.value == "NULL":
        return "CAST(NULL AS VARCHAR)"
    if check.rule == "malformed":
        hides = any(column.mask for column in stream.columns)
        return f"'{REDACTED}'" if hides else shortened(check.value, VALUE_BYTES)
    column = stream.column(check.column) if check.column is not None else None
    if column is not None and column.mask is not None:
        return masked_text(stream, column, check.value)
    return shortened(check.value, VALUE_BYTES)


def masked_text(stream: Stream, column: Column, sql: str) -> str:
    """SQL of the masked value of a text."""
    parameter = key_parameter(stream, column)
    return mask_expression(column, sql, True, f"${parameter}" if parameter else None)


def quarantine_query(
    stream: Stream,
    typed: Sequence[Typed],
    raw: str,
    *,
    chunk: ChunkId,
    origin: str,
    generation: int,
    at: datetime,
    malformed: bool,
) -> str:
    """The quarantine file's rows, made of the table BAD and the raw rows that it names.

    Shape: `raw` is a query for the raw rows with their number. BAD has the row's number, the list
    of failures, and JSON text of the row where the steps made one of several.
    """
    place = f"'row ' || (bad.{ROW} + 1) || {literal(f' of {chunk}')}"
    made = f"'row ' || (bad.{ROW} + 1) || {literal(f' of what the steps made of {chunk}')}"
    line = literal(f"{origin}:" if origin else "line ") + " || raw._penstock_line"
    reason = "COALESCE(failed[1].reason, 'no reason')"
    if malformed:
        reason = (
            f"CASE WHEN failed[1].rule = 'malformed' THEN raw._penstock_error ELSE {reason} END"
        )
    columns = {
        "stream": literal(stream.name),
        "run_id": literal(chunk.run_id),
        "chunk": literal(str(chunk)),
        "generation": f"CAST({generation} AS INTEGER)",
        "rule": "failed[1].rule",
        "rules": "array_to_string(list_transform(failed, lambda one: one.rule), ', ')",
        "column": "failed[1].column",
        "value": "failed[1].value",
        "reason": reason,
        "position": f"CASE WHEN bad.made IS NULL THEN COALESCE({line}, {place}) ELSE {made} END",
        "row": f"COALESCE(bad.made, {row_json(stream, typed)})",
        "quarantined_at": f"CAST({literal(at.isoformat())} AS TIMESTAMPTZ)",
    }
    listed = ",\n  ".join(f"{sql} AS {quote(name)}" for name, sql in columns.items())
    return (
        f"SELECT {listed}\nFROM {BAD} AS bad LEFT JOIN ({raw}) AS raw ON raw.{ROW} = bad.{ROW}\n"
        f"ORDER BY bad.{ROW}"
    )


def row_json(stream: Stream, typed: Sequence[Typed]) -> str:
    """SQL of a raw record as JSON text, without Penstock's own columns, masked where asked.

    Why: numbers other than integers are text, so that none of their digits is lost.
    """
    masks = any(item.column is not None and item.column.mask for item in typed)
    paths = [item for item in typed if item.field.path is not None]
    if paths and len(paths) == len(typed) and not masks:
        return f"raw.{JSON}"
    parts, seen = [], set()
    for item in typed:
        if item.field.name in seen:
            continue
        seen.add(item.field.name)
        parts.append(f"{literal(item.field.name)}: {_json_value(stream, typed, item)}")
    return f"CAST(to_json({{{', '.join(parts)}}}) AS VARCHAR)" if parts else "'{}'"


def shown_raw(stream: Stream, typed: Sequence[Typed], name: str, text: str) -> str:
    """SQL of a raw column's text, masked if an output column made of it is."""
    for item in typed:
        if item.field.name == name and item.column is not None and item.column.mask is not None:
            return masked_text(stream, item.column, text)
    return text


def _json_value(stream: Stream, typed: Sequence[Typed], item: Typed) -> str:
    sql = f"raw.{quote(item.field.name)}"
    if item.field.path is not None:
        sql = f"json_extract_string(raw.{JSON}, {literal(item.field.path)})"
    text = f"CAST({sql} AS VARCHAR)"
    shown = shown_raw(stream, typed, item.field.name, text)
    if shown != text:
        return shown
    digits = digits_of(item.physical)
    whole = digits is not None and digits[1] == 0
    if whole or item.physical == "BOOLEAN" or is_nested(item.physical):
        return sql
    return f"CAST({sql} AS VARCHAR)"
