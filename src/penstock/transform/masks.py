"""Masks: what a column shows after its rules were checked.

`hash` is SHA-256 in hex of key, a zero byte, and the value as text; without a key, of the value.
SQL has no HMAC; the zero byte keeps a key from running into a value. `redact` is `***` for text
and NULL for everything else. NULL stays NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.pipeline import Column, Stream

REDACTED = "***"


def mask_expression(column: Column, sql: str, text: bool, key: str | None = None) -> str:
    """SQL for the masked value of `sql`; `key` is SQL too, `text` whether the value is text."""
    if column.mask == "hash":
        value = f"CAST({sql} AS VARCHAR)"
        return f"sha256({value})" if key is None else f"sha256({key} || chr(0) || {value})"
    if column.mask == "redact":
        if not text:
            return f"CASE WHEN false THEN {sql} END"
        return f"CASE WHEN {sql} IS NOT NULL THEN '{REDACTED}' END"
    return sql


def key_parameter(stream: Stream, column: Column) -> str | None:
    """The parameter that carries the key of a column's mask; None if it has none."""
    if column.mask != "hash" or not column.key:
        return None
    return f"_penstock_key_{stream.columns.index(column)}"


def read_keys(stream: Stream, read_reference: Callable[[str], str]) -> Mapping[str, str]:
    """The value of every mask's key, by its parameter."""
    named = ((key_parameter(stream, column), column.key) for column in stream.columns)
    return {name: read_reference(key) for name, key in named if name and key}
