"""Casts that lose nothing: a value that a type cannot hold exactly is NULL, and so gets noticed.

Why: DuckDB's own casts round (`'12.5'::BIGINT` is 13, `'15e-4'::DECIMAL(12,2)` is 0.00), read
`1_000` and `0x10` as numbers, drop the zone of `'2020-01-01 12:00+02'::TIMESTAMP`, the time of
`'2020-01-01 12:00'::DATE` and digits below a microsecond (tests/unit/transform/test_casts.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.engine import literal
from penstock.transform.types import Logical, digits_of, is_nested

WHITESPACE = "' \t\n\r\f\v\u00a0\ufeff\u3000'"
"""What counts as space around a value, as an SQL string of a few characters."""

_TRUE = ("true", "t", "yes", "y", "1")
_FALSE = ("false", "f", "no", "n", "0")
_INTEGERS = ("smallint", "integer", "bigint")
_EXPONENT = r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]{1,3}\s*"
_DAY = r"\s*[0-9]{1,6}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0*)?)?"
_TIME = rf"\s*{_CLOCK}\s*"
_END = r"(?:\s*\(BC\))?\s*|\s*-?infinity\s*"
_MOMENT = rf"{_DAY}(?:[ T]{_CLOCK})?"
_ZONE = r"\s*(?:[zZ]|[-+][0-9]{1,2}(?::?[0-9]{2}){0,2}|\s[A-Za-z_]+(?:/[A-Za-z_/+-]+)?)"
_STAMPS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_ZONED_STAMP = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers are written in text: `1.234,5` has decimal "," and thousands "."."""

    decimal: str = "."
    thousands: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a column is to become.

    Shape: `format` is a strptime format; `timezone` is the zone of values that carry none;
    `valid` is whether the source vouches for text that it says is a number or JSON.
    """

    type: Logical
    format: str | None = None
    timezone: str | None = None
    truncate: bool = False
    numbers: Numbers = Numbers()
    valid: bool = False


@dataclass(frozen=True, slots=True)
class Cast:
    """SQL of a cast value; where `checked`, NULL means that the value did not fit."""

    sql: str
    checked: bool = True


def cast(sql: str, physical: str, wanted: Wanted) -> Cast:
    """SQL for `sql`, of DuckDB type `physical`, as the wanted type: exactly, or NULL."""
    kind = wanted.type.name
    if kind in ("varchar", "json", "binary"):
        return _to_text(sql, physical, wanted)
    if _same(physical, wanted):
        return Cast(sql, checked=False)
    if kind in _INTEGERS or kind == "decimal":
        return _to_exact_number(sql, physical, wanted)
    if kind in ("real", "double"):
        return _to_float(sql, physical, wanted)
    if kind == "boolean":
        return _to_boolean(sql, physical)
    return _to_moment(sql, physical, wanted)


def shortened(sql: str, size: int) -> str:
    """SQL for the text cut to `size` bytes, between two characters."""
    cuts = ", ".join(f"TRY(decode(encode({sql})[1:{max(size - less, 0)}]))" for less in range(4))
    return f"CASE WHEN strlen({sql}) <= {size} THEN {sql} ELSE COALESCE({cuts}) END"


def _same(physical: str, wanted: Wanted) -> bool:
    return physical == wanted.type.duckdb and not is_text(physical)


def is_text(physical: str) -> bool:
    return physical in ("VARCHAR", "JSON", "UUID") or physical.startswith("ENUM(")


def _text(sql: str, physical: str) -> str:
    return sql if physical == "VARCHAR" else f"CAST({sql} AS VARCHAR)"


def _matches(sql: str, pattern: str) -> str:
    return f"regexp_full_match({sql}, {literal(pattern)}, 's')"


# ---- text, json, binary


def _to_text(sql: str, physical: str, wanted: Wanted) -> Cast:
    if wanted.type.name == "binary":
        if physical == "BLOB":
            return Cast(sql, checked=False)
        return Cast(f"encode({_text(sql, physical)})", checked=False)
    if wanted.type.name == "json":
        return _to_json(sql, physical, wanted)
    if is_nested(physical):
        text = f"CAST(to_json({sql}) AS VARCHAR)"
    elif physical == "BLOB":
        text = f"COALESCE(TRY(decode({sql})), CAST({sql} AS VARCHAR))"
    else:
        text = _text(sql, physical)
    size = wanted.type.size
    if not size:
        return Cast(text, checked=False)
    if wanted.truncate:
        return Cast(shortened(text, size), checked=False)
    return Cast(f"CASE WHEN strlen({text}) <= {size} THEN {text} END")


def _to_json(sql: str, physical: str, wanted: Wanted) -> Cast:
    if physical == "JSON" or (wanted.valid and physical == "VARCHAR"):
        return Cast(f"CAST({sql} AS VARCHAR)", checked=False)
    if is_text(physical):
        text = _text(sql, physical)
        return Cast(f"CASE WHEN json_valid({text}) THEN {text} END")
    return Cast(f"CAST(to_json({sql}) AS VARCHAR)", checked=False)


# ---- numbers


def _to_exact_number(sql: str, physical: str, wanted: Wanted) -> Cast:
    to = wanted.type
    if physical == "BOOLEAN":
        return Cast(f"CAST({sql} AS {to.duckdb})", checked=False)
    have = digits_of(physical)
    if have is not None:
        # One digit less: 5 digits of a smallint end at 32767.
        whole = to.size - to.scale if to.name == "decimal" else _whole(to) - 1
        tried = f"TRY_CAST({sql} AS {to.duckdb})"
        if have[1] <= to.scale:
            fits = have[0] <= whole or _widens(physical, to.duckdb)
            return Cast(f"CAST({sql} AS {to.duckdb})" if fits else tried, checked=not fits)
        return Cast(f"CASE WHEN {tried} = {sql} THEN {tried} END")
    if physical in ("FLOAT", "DOUBLE"):
        tried = f"TRY_CAST({sql} AS {to.duckdb})"
        return Cast(f"CASE WHEN CAST({tried} AS {physical}) = {sql} THEN {tried} END")
    text = _text(sql, physical)
    if wanted.valid and wanted.numbers == Numbers():
        return Cast(f"TRY_CAST({text} AS {to.duckdb})")
    return Cast(_exact_from_text(_plain_number(text, wanted.numbers), to))


def _whole(to: Logical) -> int:
    return digits_of(to.duckdb)[0]  # type: ignore[index]  # integers have digits


_ORDER = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def _widens(physical: str, to: str) -> bool:
    """Whether every value of one integer type is one of the other."""
    if to not in _ORDER:
        return False
    if physical in _UNSIGNED:
        return _UNSIGNED.index(physical) + 1 < _ORDER.index(to) + 1
    return physical in _ORDER and _ORDER.index(physical) <= _ORDER.index(to)


def _exact_from_text(text: str, to: Logical) -> str:
    """A number that has no digit below `to.scale`; anything else is NULL.

    Why: most texts are written as DuckDB would write the number, which is cheaper to see than a
    pattern is to match.
    """
    scale = to.scale
    fraction = rf"(?:\.[0-9]{{0,{scale}}}0*)?" if scale else r"(?:\.0*)?"
    bare = rf"|\.[0-9]{{1,{scale}}}0*" if scale else r"|\.0+"
    plain = rf"\s*[-+]?(?:[0-9]+{fraction}{bare})\s*"
    digits = rf"length(regexp_extract({text}, '\.([0-9]*?)0*[eE]', 1))"
    exponent = rf"CAST(regexp_extract({text}, '[eE]([-+]?[0-9]+)', 1) AS INTEGER)"
    tried = f"TRY_CAST({text} AS {to.duckdb})"
    return (
        f"CASE WHEN CAST({tried} AS VARCHAR) = {text} OR {_matches(text, plain)} THEN {tried} "
        f"WHEN {_matches(text, _EXPONENT)} AND {digits} - {exponent} <= {scale} THEN {tried} END"
    )


def _plain_number(text: str, numbers: Numbers) -> str:
    """The text with a point for its decimal sign, and without thousands signs in their places."""
    if numbers.thousands:
        sign, point = _escaped(numbers.thousands), _escaped(numbers.decimal)
        grouped = rf"\s*[-+]?[0-9]{{1,3}}(?:{sign}[0-9]{{3}})+(?:{point}[0-9]*)?\s*"
        bare = f"replace({text}, {literal(numbers.thousands)}, '')"
        text = (
            f"CASE WHEN NOT contains({text}, {literal(numbers.thousands)}) THEN {text} "
            f"WHEN {_matches(text, grouped)} THEN {bare} END"
        )
    if numbers.decimal != ".":
        text = (
            f"CASE WHEN NOT contains({text}, '.') "
            f"THEN replace({text}, {literal(numbers.decimal)}, '.') END"
        )
    return text


def _escaped(sign: str) -> str:
    return "".join(f"\\x{{{ord(character):x}}}" for character in sign)


def _to_float(sql: str, physical: str, wanted: Wanted) -> Cast:
    to = wanted.type.duckdb
    if physical == "FLOAT" or (physical == "BOOLEAN" or digits_of(physical) is not None):
        return Cast(f"CAST({sql} AS {to})", checked=False)
    if physical == "DOUBLE":
        return Cast(f"TRY_CAST({sql} AS {to})")
    text = _plain_number(_text(sql, physical), wanted.numbers)
    tried = f"TRY_CAST({text} AS {to})"
    overflow = f"isinf({tried}) AND NOT contains(lower({text}), 'inf')"
    return Cast(f"CASE WHEN NOT contains({text}, '_') AND NOT ({overflow}) THEN {tried} END")


def _to_boolean(sql: str, physical: str) -> Cast:
    text = _text(sql, physical)
    branches = []
    for form in (text, f"lower(trim({text}, {WHITESPACE}))"):
        branches.append(f"WHEN {form} IN {_TRUE} THEN true WHEN {form} IN {_FALSE} THEN false")
    return Cast(f"CASE {' '.join(branches)} END")


# ---- dates and times


def _to_moment(sql: str, physical: str, wanted: Wanted) -> Cast:
    kind = wanted.type.name
    if physical == "DATE" and kind in ("timestamp", "timestamptz"):
        moment = f"TRY_CAST({sql} AS TIMESTAMP)"
        return Cast(_in_zone(moment, wanted) if kind == "timestamptz" else moment)
    if physical in _STAMPS:
        return _from_stamp(sql, physical, wanted)
    if physical == _ZONED_STAMP and kind in ("timestamp", "date") and wanted.timezone:
        local = f"timezone({literal(wanted.timezone)}, {sql})"
        return _from_stamp(local, "TIMESTAMP", wanted) if kind == "date" else Cast(local)
    text = _text(sql, physical)
    return Cast(_formatted(text, wanted) if wanted.format else _from_iso(text, wanted))


def _from_stamp(sql: str, physical: str, wanted: Wanted) -> Cast:
    kind = wanted.type.name
    exact = f"CAST({sql} AS TIMESTAMP)"
    checked = physical == "TIMESTAMP_NS"
    if checked:
        exact = f"CASE WHEN CAST({exact} AS TIMESTAMP_NS) = {sql} THEN {exact} END"
    if kind == "timestamp":
        return Cast(exact, checked)
    if kind == "timestamptz":
        return Cast(_in_zone(exact, wanted), checked)
    if kind == "date":
        day = f"CAST({sql} AS DATE)"
        return Cast(f"CASE WHEN CAST({day} AS TIMESTAMP) = {exact} THEN {day} END")
    return Cast(f"CASE WHEN false THEN CAST({sql} AS TIME) END")


def _in_zone(moment: str, wanted: Wanted) -> str:
    return f"timezone({literal(wanted.timezone or 'UTC')}, {moment})"


def _formatted(text: str, wanted: Wanted) -> str:
    """A moment read by a strptime format."""
    form = wanted.format or ""
    reads = (
        f"try_strptime({given}, {literal(form)})" for given in (text, f"trim({text}, {WHITESPACE})")
    )
    moment = f"COALESCE({', '.join(reads)})"
    zoned = "%z" in form or "%Z" in form
    kind = wanted.type.name
    if kind == "timestamptz":
        return moment if zoned else _in_zone(moment, wanted)
    if zoned:
        moment = f"timezone({literal(wanted.timezone or 'UTC')}, {moment})"
    return f"CAST({moment} AS {wanted.type.duckdb})"


def _from_iso(text: str, wanted: Wanted) -> str:
    """A moment in ISO 8601 or the database's own way of writing it."""
    kind, to = wanted.type.name, wanted.type.duckdb
    trimmed = f"trim({text}, {WHITESPACE})"
    plain, slow = f"TRY_CAST({text} AS {to})", f"TRY_CAST({trimmed} AS {to})"
    same = f"WHEN CAST({plain} AS VARCHAR) = {text} THEN {plain}"
    if kind == "time":
        return f"CASE {same} WHEN {_matches(text, _TIME)} THEN {slow} END"
    if kind == "timestamp":
        return f"CASE {same} WHEN {_matches(text, _MOMENT + _END)} THEN {slow} END"
    if kind == "date":
        stamp = f"TRY_CAST({trimmed} AS TIMESTAMP)"
        return (
            f"CASE {same} WHEN {_matches(text, _DAY + _END)} THEN {slow} "
            f"WHEN {_matches(text, _MOMENT + _END)} AND {stamp} = CAST({slow} AS TIMESTAMP) "
            f"THEN {slow} END"
        )
    # DuckDB reads a zone after seconds only.
    seconds = (
        f"regexp_replace({trimmed}, '([ T][0-9]{{1,2}}:[0-9]{{2}})(\\s*[^:0-9].*)', '\\1:00\\2')"
    )
    zoned = (
        f"WHEN {_matches(text, _MOMENT + _ZONE + _END)} "
        f"THEN COALESCE({slow}, TRY_CAST({seconds} AS {to}))"
    )
    local = _in_zone(f"TRY_CAST({trimmed} AS TIMESTAMP)", wanted)
    return f"CASE WHEN {_matches(text, _MOMENT + _END)} THEN {local} {zoned} END"
