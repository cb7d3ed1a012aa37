"""The fields of JSON records: found by looking at every record of a block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.model import Field, Json

if TYPE_CHECKING:
    import duckdb

SEPARATOR = "__"
SCALES = (2, 4, 6)
"""Decimals come in these scales, so that a contract does not change with every block."""
_WHOLE = {"BIGINT", "UBIGINT"}
_NUMBERS = {*_WHOLE, "DOUBLE"}
_SCALARS = {*_NUMBERS, "BOOLEAN", "VARCHAR"}


def structure_of(structures: Sequence[str]) -> Json:
    """One structure that all of them fit: a dict of an object, a list of an array, or a type."""
    merged: Json = None
    for structure in structures:
        merged = _merge(merged, json.loads(structure))
    return merged


def _merge(one: Json, other: Json) -> Json:
    if one is None or one == "NULL" or one == other:
        return other
    if other is None or other == "NULL":
        return one
    if isinstance(one, dict) and isinstance(other, dict):
        for key, inner in other.items():
            one[key] = _merge(one.get(key), inner)
        return one
    if isinstance(one, str) and isinstance(other, str) and {one, other} <= _SCALARS:
        if {one, other} <= _WHOLE:
            return "BIGINT"
        if {one, other} <= _NUMBERS:
            return "DOUBLE"
        return "VARCHAR"
    if isinstance(one, list) and isinstance(other, list):
        return ["JSON"]
    return "JSON"


def leaves(
    structure: Mapping[str, Json], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Every flattened column's keys and structure; objects without keys are leaves."""
    for key, inner in structure.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key), inner


def objects(structure: Mapping[str, Json], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys that lead to every object that is flattened, the record itself first."""
    yield path
    for key, inner in structure.items():
        if isinstance(inner, dict) and inner:
            yield from objects(inner, (*path, key))


def json_path(keys: Sequence[str]) -> str:
    """The path in DuckDB's notation, each key quoted where it has to be."""
    return "$" + "".join(
        f".{key}" if re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) else f".{_quoted(key)}"
        for key in keys
    )


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fields_of(connection: duckdb.DuckDBPyConnection, table: str, structure: Json) -> list[Field]:
    """The columns of the records in `table`'s `_penstock_json`, with logical types.

    Shape: whole numbers are bigint (decimal(20,0) beyond it), numbers with a fraction decimal
    where 15 digits hold them and none is written with an exponent, else double.
    """
    found = list(leaves(structure or {}))
    whole = [keys for keys, kind in found if isinstance(kind, str) and kind in _WHOLE]
    wide = _wide(connection, table, whole)
    numbers = [keys for keys, kind in found if kind == "DOUBLE" or keys in wide]
    types = dict(zip(numbers, _number_types(connection, table, numbers), strict=True))
    return [
        Field(SEPARATOR.join(keys), types.get(keys) or _type(kind), path=json_path(keys))
        for keys, kind in found
    ]


def _wide(
    connection: duckdb.DuckDBPyConnection, table: str, whole: Sequence[tuple[str, ...]]
) -> set[tuple[str, ...]]:
    """The columns of whole numbers in which one has 19 characters or more."""
    if not whole:
        return set()
    lengths = ", ".join(f"max(strlen(x[{i}]))" for i in range(1, len(whole) + 1))
    row = connection.execute(
        f"SELECT {lengths} FROM (SELECT json_extract_string(_penstock_json, ?) x FROM {table})",
        [[json_path(keys) for keys in whole]],
    ).fetchone()
    assert row is not None
    return {keys for keys, length in zip(whole, row, strict=True) if (length or 0) >= 19}


def _type(kind: Json) -> str:
    if isinstance(kind, str) and kind in _WHOLE:
        return "bigint"
    if kind == "BOOLEAN":
        return "boolean"
    return "varchar" if kind in ("VARCHAR", "NULL", None) else "json"


def _number_types(
    connection: duckdb.DuckDBPyConnection, table: str, numbers: Sequence[tuple[str, ...]]
) -> list[str]:
    if not numbers:
        return []
    paths = [json_path(keys) for keys in numbers]
    parts = ", ".join(
        f"bool_or(contains(lower(x[{i}]), 'e')), "
        f"max(strlen(split_part(ltrim(x[{i}], '-'), '.', 1))), "
        f"max(strlen(split_part(x[{i}], '.', 2))), "
        f"max(strlen(replace(ltrim(x[{i}], '-'), '.', ''))), "
        f"bool_and(TRY_CAST(x[{i}] AS BIGINT) IS NOT NULL) FILTER (x[{i}] IS NOT NULL)"
        for i in range(1, len(paths) + 1)
    )
    row = connection.execute(
        f"SELECT {parts} FROM (SELECT json_extract_string(_penstock_json, ?) x FROM {table})",
        [paths],
    ).fetchone()
    assert row is not None
    return [_number_type(*row[i : i + 5]) for i in range(0, len(row), 5)]


def _number_type(
    exponent: bool | None,
    whole: int | None,
    scale: int | None,
    digits: int | None,
    fits: bool | None,
) -> str:
    if exponent or whole is None or scale is None or digits is None:
        return "double"
    if scale == 0:
        if fits:
            return "bigint"
        return f"decimal({20 if whole <= 20 else 38},0)" if whole <= 38 else "varchar"
    for candidate in SCALES:
        if scale <= candidate and digits <= 15 and whole <= 18 - candidate:
            return f"decimal(18,{candidate})"
    return "double"
