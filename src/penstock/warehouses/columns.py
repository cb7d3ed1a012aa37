"""Logical types: what DuckDB calls them, and how a table's columns widen."""

from __future__ import annotations

import re

from penstock.errors import Rejected

_DUCKDB = {
    "boolean": "BOOLEAN",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double": "DOUBLE",
    "varchar": "VARCHAR",
    "json": "JSON",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}
_LOGICAL = {name: logical for logical, name in _DUCKDB.items()}
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
_CHAINS = (
    ("smallint", "integer", "bigint", "double"),
    ("smallint", "real", "double"),
    ("date", "timestamp", "timestamptz"),
)
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)", re.IGNORECASE)


def plain(logical: str) -> str:
    """The logical type as a warehouse stores it: `varchar(n)` is enforced before, so `varchar`."""
    return "varchar" if logical.startswith("varchar") else logical


def duckdb_type(logical: str) -> str:
    """DuckDB's name of a logical type."""
    name = _DUCKDB.get(plain(logical))
    if name is None and _DECIMAL.fullmatch(logical):
        return logical.upper()
    if name is None:
        raise Rejected(f'a column has the unknown type "{logical}"')
    return name


def logical_type(duckdb_name: str) -> str:
    """The logical type of a DuckDB type; `varchar` for those that Penstock never makes."""
    if _DECIMAL.fullmatch(duckdb_name):
        return duckdb_name.lower()
    return _LOGICAL.get(duckdb_name, "varchar")


def widened(have: str, want: str) -> str:
    """The narrowest type that holds every value of both, so that a column never loses one.

    Why: a late chunk of an older contract is narrower than the table; the table stays as it is.
    """
    have, want = plain(have), plain(want)
    if have == want:
        return have
    for chain in _CHAINS:
        if have in chain and want in chain:
            return max(have, want, key=chain.index)
    if "decimal" in have + want:
        return _widened_decimal(have, want)
    return "double" if {have, want} <= {*_DIGITS, "real", "double"} else "varchar"


def _widened_decimal(have: str, want: str) -> str:
    shapes = [_digits(have), _digits(want)]
    if None in shapes:
        return "double" if {"real", "double"} & {have, want} else "varchar"
    whole = max(shape[0] for shape in shapes if shape)
    scale = max(shape[1] for shape in shapes if shape)
    return f"decimal({whole + scale},{scale})" if whole + scale <= 38 else "varchar"


def _digits(logical: str) -> tuple[int, int] | None:
    """Digits before and after the point, for types that hold whole or decimal numbers."""
    if logical in _DIGITS:
        return _DIGITS[logical], 0
    found = _DECIMAL.fullmatch(logical)
    return (int(found[1]) - int(found[2]), int(found[2])) if found else None
