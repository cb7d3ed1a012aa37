"""Logical types and DuckDB's: what each is called on the other side."""

from __future__ import annotations

import re
from dataclasses import dataclass

from penstock.errors import SpecError

_DUCKDB = {
    "boolean": "BOOLEAN",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double": "DOUBLE",
    "varchar": "VARCHAR",
    "json": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}
_LOGICAL = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "UTINYINT": "smallint",
    "USMALLINT": "integer",
    "UINTEGER": "bigint",
    "UBIGINT": "decimal(20,0)",
    "HUGEINT": "decimal(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double",
    "BLOB": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "JSON": "json",
}
_DIGITS = {
    "TINYINT": 3,
    "UTINYINT": 3,
    "SMALLINT": 5,
    "USMALLINT": 5,
    "INTEGER": 10,
    "UINTEGER": 10,
    "BIGINT": 19,
    "UBIGINT": 20,
    "HUGEINT": 39,
    "UHUGEINT": 39,
}
_WRITTEN = re.compile(r"\s*([a-z]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*", re.IGNORECASE)
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_NESTED = re.compile(r"(STRUCT|MAP|UNION)\(|.*\]$|VARIANT$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Logical:
    """A logical type, read.

    Shape: `size` is p of a decimal or n of a varchar (0: none), `scale` is s of a decimal.
    Units: n is UTF-8 bytes.
    """

    name: str
    size: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.name == "decimal":
            return f"decimal({self.size},{self.scale})"
        return f"{self.name}({self.size})" if self.size else self.name

    @property
    def duckdb(self) -> str:
        """What DuckDB calls it."""
        if self.name == "decimal":
            return f"DECIMAL({self.size},{self.scale})"
        return _DUCKDB[self.name]


def parse_type(text: str) -> Logical:
    """The logical type that `text` spells.

    Raises: SpecError for a type that there is not.
    """
    match = _WRITTEN.fullmatch(text)
    name = match[1].lower() if match else ""
    size = int(match[2] or 0) if match else 0
    scale = int(match[3] or 0) if match else 0
    fits = (
        (name == "decimal" and 0 < size <= 38 and scale <= size)
        or (name == "varchar" and scale == 0)
        or (name in _DUCKDB and size == 0)
    )
    if not fits:
        raise SpecError(
            f"there is no type {text!r}",
            why=f"types are decimal(p,s) with p <= 38, varchar(n), {', '.join(_DUCKDB)}",
        )
    return Logical(name, size, scale)


def logical_of(duckdb_type: str) -> str:
    """The logical type that keeps every value of a DuckDB type; text where there is none."""
    if match := _DECIMAL.fullmatch(duckdb_type):
        return f"decimal({match[1]},{match[2]})"
    if is_nested(duckdb_type):
        return "json"
    return _LOGICAL.get(duckdb_type, "varchar")


def digits_of(duckdb_type: str) -> tuple[int, int] | None:
    """Digits before and after the point that an exact number type can have; None for others."""
    if match := _DECIMAL.fullmatch(duckdb_type):
        return int(match[1]) - int(match[2]), int(match[2])
    digits = _DIGITS.get(duckdb_type)
    return None if digits is None else (digits, 0)


def is_nested(duckdb_type: str) -> bool:
    """Whether values have parts: lists, structs, maps, unions."""
    return _NESTED.match(duckdb_type) is not None
