"""Columns: raw fields become typed output columns, and a value that does not fit marks its row.

A source's field passes through under its own name and type unless the stream's `columns` say
otherwise. Text of a file that is empty is NULL where the column is not text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from penstock.engine import literal, quote
from penstock.errors import Rejected
from penstock.model import Field
from penstock.pipeline import Column, Stream
from penstock.transform.casts import WHITESPACE, Cast, Numbers, Wanted, cast, is_text
from penstock.transform.jsonraw import exact_json
from penstock.transform.types import Logical, parse_type

ROW, CURSOR = "_penstock_row", "_penstock_cursor"
JSON = "_penstock_json"


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that a row must keep: `holds` is SQL that is never NULL.

    Shape: `value` is SQL of text that shows what was found; `column` is an output name; `where`
    is the place of the rule in the pipeline file, for people.
    """

    rule: str
    column: str | None
    holds: str
    value: str
    reason: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """One output column: where it comes from, what it becomes.

    Shape: `raw` and `slot` name columns of the compiled statement's first two queries.
    """

    name: str
    field: Field
    physical: str
    wanted: Wanted
    raw: str
    slot: str
    cast: Cast
    column: Column | None

    @property
    def type(self) -> str:
        return str(self.wanted.type)


def typed_columns(
    stream: Stream, fields: tuple[Field, ...], physical: Mapping[str, str]
) -> tuple[Typed, ...]:
    """Every output column of the columns stage, in the order of the fields.

    Raises: Rejected if the raw file lacks a field.
    """
    exact = {field.name for field in fields}
    declared: dict[str, list[Column]] = {}
    for column in stream.columns:
        source = column.source or column.name
        declared.setdefault(source if source in exact else source.casefold(), []).append(column)
    taken = {column.name.casefold() for column in stream.columns if column.source is not None}
    made: list[Typed] = []
    for field in fields:
        wanted = declared.get(field.name) or declared.get(field.name.casefold(), [])
        if not wanted and field.name.casefold() not in taken:
            made.append(_typed(stream, field, None, physical, len(made)))
        for column in wanted:
            made.append(_typed(stream, field, column, physical, len(made)))
    _refuse_twins(stream, made)
    return tuple(made)


def _refuse_twins(stream: Stream, typed: list[Typed]) -> None:
    """Raises: Rejected if two columns have one name, but for upper and lower case.

    Why: warehouses take them for the same column, and one would hide the other.
    """
    seen: dict[str, Typed] = {}
    for item in typed:
        twin = seen.setdefault(item.name.casefold(), item)
        if twin is not item:
            source = item.field.name
            raise Rejected(
                f"columns {twin.name!r} and {item.name!r} are one name in a warehouse",
                where=stream.name,
                why=f"they come from {twin.field.name!r} and {item.field.name!r}",
                fix=f"columns: {{{source}_2: {{from: {source}}}}}, or exclude one",
            )


def _typed(
    stream: Stream, field: Field, column: Column | None, physical: Mapping[str, str], index: int
) -> Typed:
    if field.path is None and field.name not in physical:
        raise Rejected(
            f"the raw file has no column {field.name!r}",
            where=stream.name,
            why=f"it has {', '.join(physical)}",
        )
    have = "VARCHAR" if field.path is not None else physical[field.name]
    wanted = _wanted(stream, field, column, have)
    raw, slot = f"r{index}", f"c{index}"
    found = cast(raw, have, wanted)
    name = column.name if column else field.name
    return Typed(name, field, have, wanted, raw, slot, found, column)


def _wanted(stream: Stream, field: Field, column: Column | None, physical: str) -> Wanted:
    numbers = Numbers()
    if stream.files is not None and field.path is None:
        decimal, thousands = stream.format.get("decimal"), stream.format.get("thousands")
        numbers = Numbers(str(decimal or "."), str(thousands or ""))
    vouched = stream.files is None or field.type == "json"
    wanted = Wanted(parse_type(field.type), numbers=numbers, valid=vouched)
    if column is None:
        return wanted
    kind = Logical("timestamptz") if column.timezone else wanted.type
    if column.type is not None:
        kind, wanted = parse_type(column.type), replace(wanted, valid=field.type == "json")
    elif column.format is not None and is_text(physical) and column.timezone is None:
        kind = Logical("timestamp")
    return replace(
        wanted,
        type=kind,
        format=column.format,
        timezone=column.timezone,
        truncate=column.too_long == "truncate",
    )


# ---- SQL


def raw_query(stream: Stream, typed: tuple[Typed, ...], source: str) -> str:
    """The raw values as r0, r1, …, with the row's number in its file."""
    texts = [item for item in typed if item.field.path is not None and item.type != "json"]
    jsons = [item for item in typed if item.field.path is not None and item.type == "json"]
    parts = []
    for item in typed:
        if item in texts:
            parts.append(f"texts[{texts.index(item) + 1}] AS {item.raw}")
        elif item in jsons:
            element = f"CAST(jsons[{jsons.index(item) + 1}] AS VARCHAR)"
            parts.append(f"NULLIF({element}, 'null') AS {item.raw}")
        else:
            parts.append(f"{_value(stream, item)} AS {item.raw}")
    inner = [ROW, "_penstock_error", "_penstock_raw", *(f"{part}" for part in parts)]
    if not texts and not jsons:
        return f"SELECT {', '.join(inner)} FROM {source}"
    digits = any(item.column and item.type.startswith("decimal") for item in texts)
    lists = []
    for name, function, record, items in (
        ("texts", "json_extract_string", exact_json(JSON) if digits else JSON, texts),
        ("jsons", "json_extract", JSON, jsons),
    ):
        if items:
            paths = ", ".join(literal(item.field.path or "") for item in items)
            lists.append(f"{function}({record}, [{paths}]) AS {name}")
    return f"SELECT {', '.join(inner)} FROM (SELECT *, {', '.join(lists)} FROM {source})"


def _value(stream: Stream, item: Typed) -> str:
    name = quote(item.field.name)
    # type_checks lets blanks pass; here the many empty ones are spared the slow way of a cast.
    return f"NULLIF({name}, '')" if _blank_is_null(stream, item) else name


def _blank_is_null(stream: Stream, item: Typed) -> bool:
    typed = item.wanted.type.name not in ("varchar", "json", "binary")
    return stream.files is not None and typed and item.field.path is None and is_text(item.physical)


def cast_query(typed: tuple[Typed, ...], source: str) -> str:
    """The typed values as c0, c1, … beside the raw ones.

    Why: OFFSET 0 keeps the filter on what does not fit from moving below the casts, which would
    then be done twice; that doubled the time of a file with 15 numbers in a row.
    """
    slots = "".join(f", {item.cast.sql} AS {item.slot}" for item in typed)
    barrier = " OFFSET 0" if any(item.cast.checked for item in typed) else ""
    return f"SELECT *{slots} FROM {source}{barrier}"


def type_checks(stream: Stream, typed: tuple[Typed, ...], malformed: bool) -> tuple[Check, ...]:
    """What can be wrong with a row before any step: it was not read, or a value does not fit."""
    checks = []
    if malformed:
        checks.append(
            Check("malformed", None, "_penstock_error IS NULL", "_penstock_raw", "_penstock_error")
        )
    for item in typed:
        if not item.cast.checked:
            continue
        blank = f" OR trim({item.raw}, {WHITESPACE}) = ''" if _blank_is_null(stream, item) else ""
        holds = f"({item.raw} IS NULL OR {item.slot} IS NOT NULL{blank})"
        value = f"CAST({item.raw} AS VARCHAR)"
        size = item.wanted.type.size
        if item.wanted.type.name == "varchar":
            reason = f"strlen({value}) || {literal(f' bytes, and {item.type} holds {size}')}"
            checks.append(Check("too_long", item.name, holds, value, reason))
        else:
            reason = literal(f"not {item.type}" + _how(item.wanted))
            checks.append(Check("type", item.name, holds, value, reason))
    return tuple(checks)


def _how(wanted: Wanted) -> str:
    if wanted.format:
        return f" in the format {wanted.format}"
    if wanted.numbers != Numbers() and wanted.type.name in ("decimal", "double", "bigint"):
        return f" with decimal {wanted.numbers.decimal!r}"
    return ""


def output_query(stream: Stream, typed: tuple[Typed, ...], source: str) -> str:
    """The columns under their output names, with the hidden ones that carry a row's identity."""
    names = [f"{item.slot} AS {quote(item.name)}" for item in typed]
    return f"SELECT {', '.join([*names, ROW, cursor_sql(stream, typed)])} FROM {source}"


def cursor_sql(stream: Stream, typed: tuple[Typed, ...]) -> str:
    """The cursor's typed value; NULL if the stream has none, or the column did not leave."""
    item = cursor_column(stream, typed)
    return f"{item.slot if item else 'CAST(NULL AS VARCHAR)'} AS {CURSOR}"


def cursor_column(stream: Stream, typed: tuple[Typed, ...]) -> Typed | None:
    """The output column that the stream's cursor became."""
    if stream.cursor is None:
        return None
    cursor = stream.cursor.casefold()
    named = [item for item in typed if item.field.name.casefold() == cursor]
    named += [item for item in typed if item.name.casefold() == cursor]
    return named[0] if named else None
