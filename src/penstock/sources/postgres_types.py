"""Postgres types: what they are called here, and how each one is read without loss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.engine import quote
from penstock.model import Field

_LOGICAL = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double",
    "bool": "boolean",
    "text": "varchar",
    "varchar": "varchar",
    "bpchar": "varchar",
    "name": "varchar",
    "bytea": "binary",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "oid": "bigint",
    "json": "json",
    "jsonb": "json",
}
_AS_JSON = frozenset({"array", "composite"})
_AS_IT_IS = frozenset(_LOGICAL) - {"oid", "json", "jsonb"}
INTEGERS = frozenset({"int2", "int4", "int8"})
TEXTS = frozenset({"text", "varchar", "bpchar"})
TIMES = frozenset({"timestamp", "timestamptz", "date"})
ORDERED = INTEGERS | TEXTS | TIMES | {"numeric", "float4", "float8", "bool", "uuid", "time"}
"""Types whose order is total and whose values have a text that Postgres reads back exactly."""

# What ADBC makes of Postgres's infinities, by adding the years from 1970 to 2000.
_INFINITY_US, _MINUS_INFINITY_US = -9222425352054775809, -9222425352054775808
_INFINITY_DAYS, _MINUS_INFINITY_DAYS = -2147472692, -2147472691
_WRAPPED_BELOW_US = -9222425352054775808
_DUCKDB_INFINITY_US = 9223372036854775807
_FOUR_CENTURIES_US = 12_622_780_800_000_000


@dataclass(frozen=True, slots=True)
class PgColumn:
    """A column as the server has it.

    Shape: `kind` is the base type's name in pg_catalog, or array, composite, other; `type_sql` its
    quoted name; `typmod` as pg_attribute has it (-1: none); `zone` turns a timestamp into a
    timestamptz while it is read.
    """

    name: str
    kind: str
    type_sql: str
    typmod: int = -1
    nullable: bool = True
    zone: str | None = None

    @property
    def field(self) -> Field:
        return Field(self.name, self.logical, nullable=self.nullable)

    @property
    def logical(self) -> str:
        if self.kind == "numeric":
            return _decimal(self.typmod)
        if self.kind in _AS_JSON:
            return "json"
        if self.kind == "timestamp" and self.zone:
            return "timestamptz"
        return _LOGICAL.get(self.kind, "varchar")

    @property
    def select_sql(self) -> str:
        """What the server is asked for."""
        name = quote(self.name)
        if self.kind == "timestamp" and self.zone:
            return f"{name} AT TIME ZONE {pg_literal(self.zone)}"
        if self.kind in _AS_IT_IS or self.kind == "numeric":
            return name
        if self.kind == "oid":
            return f"{name}::bigint"
        if self.kind == "money":
            return f"{name}::numeric::text"
        if self.kind in _AS_JSON:
            return f"to_json({name})::text"
        return f"{name}::text"

    @property
    def order_sql(self) -> str:
        """The column in comparisons: text by its bytes, so that every reader orders alike."""
        return quote(self.name) + (' COLLATE "C"' if self.kind in TEXTS else "")

    def value_sql(self, text: object) -> str:
        """A value of this column, from its text."""
        collate = ' COLLATE "C"' if self.kind in TEXTS else ""
        return f"{pg_literal(str(text))}::{self.type_sql}{collate}"

    @property
    def precision_s(self) -> float:
        """How far below the true moment a stored one may lie: timestamp(0) rounds.

        Shape: 1 second where the type's precision is not known (`typmod` -2).
        """
        if self.kind not in ("timestamp", "timestamptz") or self.typmod == -1:
            return 0.0
        return 1.0 if self.typmod < 0 else float(10.0**-self.typmod)

    @property
    def keep_sql(self) -> str:
        """The column on its way from ADBC into raw.

        Why: ADBC spells a numeric's NaN `nan` and Infinity `inf`.
        """
        name = quote(self.name)
        if self.kind == "numeric" and self.typmod < 0:
            return (
                f"CASE {name} WHEN 'nan' THEN 'NaN' WHEN 'inf' THEN 'Infinity' "
                f"WHEN '-inf' THEN '-Infinity' ELSE {name} END AS {name}"
            )
        return name

    @property
    def spell_sql(self) -> str:
        """As `keep_sql`, where `is_strange` found a value: text, spelled out."""
        name = quote(self.name)
        if self.kind == "numeric":
            return f"CASE {name} WHEN 'nan' THEN 'NaN' ELSE {name} END AS {name}"
        return f"{self.text_sql} AS {name}"

    @property
    def text_sql(self) -> str:
        """DuckDB: the value as text; a timestamp must be given as its microseconds (BIGINT)."""
        name = quote(self.name)
        if self.kind == "date":
            return _date_text(name)
        if self.kind in ("timestamp", "timestamptz"):
            return _timestamp_text(name, "+00" if self.logical == "timestamptz" else "")
        return f"{name}::VARCHAR"

    @property
    def position_sql(self) -> str:
        """As `text_sql`, in words that Postgres reads back exactly."""
        if self.kind in TIMES:
            return f"regexp_replace({self.text_sql}, '^(.*) \\(BC\\)(.*)$', '\\1\\2 BC')"
        return self.text_sql

    def is_strange(self, statistics: Mapping[str, str]) -> bool:
        """Whether the written column holds values that its physical type has wrong.

        Why: ADBC shifts Postgres's epoch without looking, so that infinity and years after 294246
        wrap around to years that Postgres does not have (before 4714 BC).
        """
        if self.kind == "numeric":
            return self.typmod >= 0 and statistics.get("max") == "nan"
        if self.kind not in TIMES:
            return False
        bounds = (statistics.get("min", ""), statistics.get("max", ""))
        return any("infinity" in bound or _is_before_postgres(bound) for bound in bounds)


def _is_before_postgres(text: str) -> bool:
    found = re.match(r"(\d+)-.*\(BC\)", text)
    return found is not None and int(found[1]) > 4714


def _decimal(typmod: int) -> str:
    """The logical type of numeric: exact text where it has no precision, or more than 38 digits."""
    if typmod < 4:
        return "varchar"
    precision, scale = ((typmod - 4) >> 16) & 0xFFFF, (typmod - 4) & 0x7FF
    scale = scale - 0x800 if scale & 0x400 else scale
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return f"decimal({precision},{scale})" if precision <= 38 else "varchar"


def _date_text(name: str) -> str:
    days = f"({name} - DATE '1970-01-01')"
    return (
        f"CASE {days} WHEN {_INFINITY_DAYS} THEN 'infinity' "
        f"WHEN {_MINUS_INFINITY_DAYS} THEN '-infinity' ELSE {name}::VARCHAR END"
    )


def _timestamp_text(us: str, suffix: str) -> str:
    """Why: a wrapped value is lifted by 2^64, lowered by 400 years to fit, and its year raised."""
    lifted = f"({us}::HUGEINT + 18446744073709551616 - {_FOUR_CENTURIES_US})::BIGINT"
    early = f"make_timestamp({lifted})::VARCHAR"
    return (
        f"CASE WHEN {us} = {_INFINITY_US} THEN 'infinity' "
        f"WHEN {us} = {_MINUS_INFINITY_US} THEN '-infinity' "
        f"WHEN {us} < {_WRAPPED_BELOW_US} THEN "
        f"(regexp_extract({early}, '^\\d+')::INTEGER + 400)::VARCHAR "
        f"|| regexp_extract({early}, '-.*$') || '{suffix}' "
        f"WHEN {us} = {_DUCKDB_INFINITY_US} THEN '294247-01-10 04:00:54.775807{suffix}' "
        f"ELSE make_timestamp({us})::VARCHAR || '{suffix}' END"
    )


def pg_literal(text: str) -> str:
    """The text as an SQL string, safe under standard_conforming_strings, which sessions set.

    Why: COPY, by which ADBC streams, takes no bound values.
    """
    return "'" + text.replace("'", "''") + "'"


_TOKEN = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/"""
    r"""|\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$|\w[\w$]*|\$(?P<name>[A-Za-z_]\w*)""",
    re.DOTALL,
)


def bind(sql: str, values: Mapping[str, str]) -> str:
    """The SQL with each `$name` of `values` as a literal; text, names and comments stay."""

    def bound(found: re.Match[str]) -> str:
        name = found["name"]
        return pg_literal(values[name]) if name in values else found[0]

    return _TOKEN.sub(bound, sql)
