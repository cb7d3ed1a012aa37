"""Records kept as JSON text: reading them without losing digits, and what an empty field is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.engine import literal
from penstock.model import Contract, Field
from penstock.pipeline import Stream

if TYPE_CHECKING:
    import duckdb

_LONG = "[0-9][0-9.]{15,}[0-9]"


def exact_json(sql: str) -> str:
    """SQL of the same record with its long numbers in quotes.

    Why: DuckDB reads a JSON number with a point as a double, which keeps 17 digits. Digits inside
    a text would be quoted too, and break the record: then it stays as it is. The search costs more
    than all else, so that it is done only for columns that are declared decimal.
    """
    quoted = (
        f"regexp_replace({sql}, '([:\\[,]\\s*)(-?{_LONG})(\\s*[,\\]}}])', '\\1\"\\2\"\\3', 'g')"
    )
    return (
        f"CASE WHEN regexp_matches({sql}, '[:\\[,]\\s*-?{_LONG}') AND json_valid({quoted}) "
        f"THEN {quoted} ELSE {sql} END"
    )


def settled_fields(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    fields: tuple[Field, ...],
    contract: Contract | None,
    source: str,
) -> tuple[Field, ...]:
    """The fields, where one that is null in every record has the type that the contract knows.

    Why: nothing but null looks like text, and would turn a column of numbers into text.
    """
    known: Mapping[str, str] = {c.name: c.type for c in contract.columns} if contract else {}
    declared = {column.source or column.name for column in stream.columns}
    doubtful = [
        field
        for field in fields
        if field.path is not None
        and field.type == "varchar"
        and field.name not in declared
        and known.get(field.name, "varchar") != "varchar"
    ]
    if not doubtful:
        return fields
    counted = ", ".join(
        f"count(json_extract_string(_penstock_json, {literal(field.path or '')}))"
        for field in doubtful
    )
    row = connection.execute(f"SELECT {counted} FROM ({source})").fetchone()
    assert row is not None
    empty = {field.name for field, values in zip(doubtful, row, strict=True) if not values}
    return tuple(
        replace(field, type=known[field.name]) if field.name in empty else field for field in fields
    )
