"""One stream compiled into one SQL statement: raw rows to typed, stepped, checked and masked ones.

The statement is a chain of named queries, each over the one before it:

    source -> values (r0, r1, …) -> cast (c0, c1, …) -> typed -> step 1 … n -> final -> judged

`typed` holds the rows whose values fit, `judged` says of each row that reached it whether it keeps
the rules. What the steps make is found by asking DuckDB over an empty source, step by step, so
that an error names its step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.engine import quote
from penstock.errors import Rejected
from penstock.model import Contract, Field
from penstock.pipeline import Expectation, Step, Stream
from penstock.transform import columns as column_sql
from penstock.transform.casts import Wanted, cast
from penstock.transform.columns import CURSOR, ROW, Check, Typed
from penstock.transform.contract import evolve
from penstock.transform.expectations import key_checks, rule_checks
from penstock.transform.expectations import place as place_of_rule
from penstock.transform.masks import key_parameter, mask_expression
from penstock.transform.steps import FIRST, HIDDEN, Input, changes_rows, step_query
from penstock.transform.steps import place as place_of_step
from penstock.transform.types import Logical, logical_of, parse_type

if TYPE_CHECKING:
    import duckdb

SOURCE, CAST, TYPED = "_penstock_source", "_penstock_cast", "_penstock_typed"
FINAL, CHECKED = "_penstock_final", "_penstock_checked"
JUDGED, OK = "_penstock_judged", "_penstock_ok"
_EXTRA = {
    "_penstock_line": "BIGINT",
    "_penstock_error": "VARCHAR",
    "_penstock_raw": "VARCHAR",
    column_sql.JSON: "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class Query:
    """A named query of the chain; `kept` ones are computed once, whoever reads them."""

    name: str
    sql: str
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the staged rows: its SQL over `judged`, and its logical type."""

    name: str
    sql: str
    type: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A stream's whole transformation, for chunks of one shape.

    Shape: `queries` follow the source; `deduplicated` names those that mark rows with FIRST.
    """

    stream: Stream
    typed: tuple[Typed, ...]
    queries: tuple[Query, ...]
    type_checks: tuple[Check, ...]
    rule_checks: tuple[Check, ...]
    deduplicated: tuple[str, ...]
    outputs: tuple[Output, ...]
    cursor: Output
    contract: Contract
    notes: tuple[str, ...]
    parameters: Mapping[str, str]

    @property
    def drops_rows(self) -> bool:
        """Whether a step may leave fewer, or other, rows than it got."""
        return any(step.kind in ("filter", "sql", "dedupe") for step in self.stream.steps)

    @property
    def changes_rows(self) -> bool:
        return any(changes_rows(step) for step in self.stream.steps)

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(output.name, output.type) for output in self.outputs)

    def statement(self, source: str, select: str) -> str:
        """A SELECT over the chain; `source` is a query for the raw rows."""
        return render((Query(SOURCE, source), *self.queries), select)


def render(queries: tuple[Query, ...], select: str) -> str:
    chain = ",\n".join(
        f"{query.name} AS {'MATERIALIZED ' if query.kept else ''}(\n  {query.sql}\n)"
        for query in queries
    )
    return f"WITH {chain}\n{select}"


def all_hold(checks: tuple[Check, ...]) -> str:
    """SQL that is true where every check holds, and false elsewhere."""
    return " AND ".join(check.holds for check in checks) or "true"


def shape_source(physical: Mapping[str, str]) -> str:
    """A source of the raw file's shape, without rows."""
    own = {**physical, ROW: "BIGINT"}
    listed = ", ".join(f"CAST(NULL AS {kind}) AS {quote(name)}" for name, kind in own.items())
    missing = missing_columns(physical)
    return f"SELECT {listed}{missing} LIMIT 0"


def missing_columns(physical: Mapping[str, str]) -> str:
    """Penstock's own columns that a raw file need not have."""
    return "".join(
        f", CAST(NULL AS {kind}) AS {name}" for name, kind in _EXTRA.items() if name not in physical
    )


class _Chain:
    """The queries so far, and what the last one gives."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: str,
        parameters: Mapping[str, str],
    ) -> None:
        self.connection, self.parameters = connection, parameters
        self.queries = [Query(SOURCE, source)]

    def add(self, name: str, sql: str, kept: bool = False) -> None:
        self.queries.append(Query(name, sql, kept))

    def describe(self, sql: str, where: str) -> dict[str, str]:
        """The columns of a query over the chain, with DuckDB's types.

        Raises: Rejected if it does not fit the queries before it.
        """
        import duckdb

        text = f"DESCRIBE ({render(tuple(self.queries), f'FROM ({sql})')})"
        try:
            rows = run(self.connection, text, self.parameters).fetchall()
        except duckdb.Error as error:
            raise Rejected(f"SQL: {short(error)}", where=where) from error
        return {row[0]: row[1] for row in rows}

    def given(self, cursor: str | None) -> Input:
        name = self.queries[-1].name
        columns = self.describe(f"FROM {name}", name)
        return Input(name, columns, cursor, self.describe)


def run(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, str]
) -> duckdb.DuckDBPyConnection:
    """The statement has run with those of the parameters that it names."""
    if not parameters:
        return connection.execute(sql)
    named = connection.extract_statements(sql)[0].named_parameters
    return connection.execute(sql, {name: parameters[name] for name in named if name in parameters})


def short(error: BaseException) -> str:
    """DuckDB's message without the copy of the statement."""
    return str(error).split("\n\nLINE ")[0].strip()


def compile_chunk(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    fields: tuple[Field, ...],
    physical: Mapping[str, str],
    contract: Contract | None,
    parameters: Mapping[str, str],
) -> Compiled:
    """The stream's transformation for raw files of this shape.

    Shape: `physical` is the raw file's columns with DuckDB's types; `parameters` are the stream's
    vars and its masks' keys.
    Raises: Rejected if a step, an expectation or the contract does not fit.
    """
    typed = column_sql.typed_columns(stream, fields, physical)
    checks = column_sql.type_checks(stream, typed, "_penstock_error" in physical)
    chain = _Chain(connection, shape_source(physical), parameters)
    chain.add("_penstock_values", column_sql.raw_query(stream, typed, SOURCE))
    chain.add(CAST, column_sql.cast_query(typed, "_penstock_values"))
    where = f" WHERE {all_hold(checks)}" if checks else ""
    chain.add(TYPED, column_sql.output_query(stream, typed, CAST) + where)
    cursor = column_sql.cursor_column(stream, typed)
    cursor_name = cursor.name if cursor else None
    deduplicated = []
    for number, step in enumerate(stream.steps, 1):
        deduplicated += _add_step(chain, stream, step, number, cursor_name)
    given = chain.given(cursor_name)
    outputs, moved, used, notes = _conformed(chain, stream, typed, contract, given)
    rules = list(moved)
    judged_input = chain.given(cursor_name)
    rules += key_checks(stream, judged_input)
    if stream.bad_rows.action != "keep":
        for rule in stream.expect:
            rules += _checked(chain, stream, rule, judged_input)
    rules = _judge(chain, rules)
    hides = cursor is not None and cursor.column is not None and cursor.column.mask is not None
    cursor_type = logical_of(given.columns[CURSOR])
    cursor_sql = f"CASE WHEN false THEN {CURSOR} END" if hides else CURSOR
    return Compiled(
        stream,
        typed,
        tuple(chain.queries[1:]),
        checks,
        tuple(rules),
        tuple(deduplicated),
        outputs,
        Output(CURSOR, cursor_sql, cursor_type),
        used,
        notes,
        parameters,
    )


def step_name(number: int) -> str:
    """The query of a stream's step, counted from 1."""
    return f"_penstock_step_{number}"


def _add_step(
    chain: _Chain, stream: Stream, step: Step, number: int, cursor: str | None
) -> list[str]:
    """The step is part of the chain; gives the query that marks rows, if it is a dedupe."""
    sql = step_query(chain.connection, stream, step, chain.given(cursor))
    name = step_name(number)
    columns = chain.describe(sql, place_of_step(stream, step))
    reserved = [c for c in columns if c.startswith("_penstock_") and c not in (*HIDDEN, FIRST)]
    if reserved or any(name not in columns for name in HIDDEN):
        raise Rejected(
            "the query does not keep which row is which",
            where=place_of_step(stream, step),
            why=f"its columns are {', '.join(columns)}",
            fix="select from input without renaming _penstock_row, or say rows: change",
        )
    chain.add(name, sql, kept=step.kind == "dedupe")
    if step.kind != "dedupe":
        return []
    kept = f"SELECT * EXCLUDE ({FIRST}) FROM {name} WHERE {FIRST}"
    chain.add(f"_penstock_kept_{number}", kept)
    return [name]


def _judge(chain: _Chain, rules: list[Check]) -> list[Check]:
    """The last query says which checks hold; each check is now the name of its answer there.

    Why: a window over the bad rows alone would see no double, and `random()` may not be asked
    twice (tests/unit/transform/test_chunk.py).
    """
    named = [replace(rule, holds=f"_penstock_holds_{i}") for i, rule in enumerate(rules)]
    answers = "".join(
        f", {rule.holds} AS {name.holds}" for rule, name in zip(rules, named, strict=True)
    )
    chain.add(CHECKED, f"SELECT *{answers} FROM {FINAL}")
    chain.add(JUDGED, f"SELECT *, {all_hold(tuple(named))} AS {OK} FROM {CHECKED}")
    return named


def _checked(chain: _Chain, stream: Stream, rule: Expectation, given: Input) -> tuple[Check, ...]:
    checks = rule_checks(chain.connection, stream, rule, given)
    where = place_of_rule(stream, rule)
    chain.describe(f"SELECT {all_hold(checks)} FROM {FINAL}", where)
    return tuple(replace(check, where=where) for check in checks)


def _conformed(
    chain: _Chain,
    stream: Stream,
    typed: tuple[Typed, ...],
    contract: Contract | None,
    given: Input,
) -> tuple[tuple[Output, ...], tuple[Check, ...], Contract, tuple[str, ...]]:
    """The final columns are those of the contract, in its order and its types."""
    own = given.own
    wanted = {name: _wanted(stream, typed, name, kind) for name, kind in own.items()}
    _refuse_unknown(stream, typed, own, contract)
    given_by_source = {item.name for item in typed if item.column is None}
    observed = tuple(Field(name, _shown(stream, name, wanted[name])) for name in own)
    where = f"{stream.name} -> {stream.load.target}"
    asked = frozenset(own) - given_by_source
    used = evolve(stream.schema_contract, contract, observed, where, asked)
    by_name = {name.casefold(): name for name in own}
    parts, checks, outputs = [], [], []
    for index, field in enumerate(used.columns):
        name = by_name.pop(field.name.casefold(), None)
        column, key = stream.column(field.name), None
        if column is not None:
            parameter = key_parameter(stream, column)
            key = f"${parameter}" if parameter else None
        if name is None:
            parts.append(f"CAST(NULL AS {parse_type(field.type).duckdb}) AS {quote(field.name)}")
            outputs.append(Output(field.name, quote(field.name), field.type))
            continue
        hashed = column is not None and column.mask == "hash"
        target = str(wanted[name]) if hashed else field.type
        sql, checked = _final_cast(stream, typed, name, own[name], wanted[name], target)
        parts.append(f"{sql} AS {quote(field.name)}")
        if checked:
            was = f"_penstock_was_{index}"
            parts.append(f"{quote(name)} AS {was}")
            holds = f"({was} IS NULL OR {quote(field.name)} IS NOT NULL)"
            value = f"CAST({was} AS VARCHAR)"
            checks.append(Check("type", field.name, holds, value, f"'not {target}'"))
        masked = quote(field.name)
        if column is not None and column.mask is not None:
            text = parse_type(field.type).duckdb == "VARCHAR"
            masked = mask_expression(column, masked, text, key)
        outputs.append(Output(field.name, masked, field.type))
    notes = tuple(f"column {name} is new and was discarded" for name in by_name.values())
    chain.add(FINAL, f"SELECT {', '.join([*parts, *HIDDEN])} FROM {given.query}")
    return tuple(outputs), tuple(checks), used, notes


def _wanted(stream: Stream, typed: tuple[Typed, ...], name: str, physical: str) -> Logical:
    """The type of a column after the steps: as declared, as it came, or as a step made it."""
    column = stream.column(name)
    if column is not None and column.type is not None:
        return parse_type(column.type)
    for item in typed:
        if item.name == name and item.wanted.type.duckdb == physical:
            return item.wanted.type
    return parse_type(logical_of(physical))


def _shown(stream: Stream, name: str, kind: Logical) -> str:
    column = stream.column(name)
    return "varchar" if column is not None and column.mask == "hash" else str(kind)


def _final_cast(
    stream: Stream, typed: tuple[Typed, ...], name: str, physical: str, own: Logical, target: str
) -> tuple[str, bool]:
    """SQL of a column in its own type and then the contract's, and whether it may not fit."""
    sql, checked = quote(name), False
    settled = any(
        item.name == name and item.wanted.type == own and own.duckdb == physical for item in typed
    )
    altered = any(step.kind in ("clean", "derive", "sql") for step in stream.steps)
    if not settled or (altered and own.name == "varchar" and own.size):
        column = stream.column(name)
        cut = column is not None and column.too_long == "truncate"
        first = cast(sql, physical, Wanted(own, truncate=cut, valid=own.name == "json"))
        sql, checked = first.sql, first.checked
    kind = parse_type(target)
    if kind != own and kind != Logical("varchar"):
        second = cast(sql, own.duckdb, Wanted(kind))
        return second.sql, checked or second.checked
    if kind != own:
        sql = f"CAST({sql} AS VARCHAR)"
    return sql, checked


def _refuse_unknown(
    stream: Stream, typed: tuple[Typed, ...], own: Mapping[str, str], contract: Contract | None
) -> None:
    known = {name.casefold() for name in (*own, *(item.name for item in typed))}
    known |= {field.name.casefold() for field in contract.columns} if contract else set()
    for column in stream.columns:
        if column.name.casefold() not in known:
            wanted = column.source or column.name
            raise Rejected(
                f"columns: {column.name} has nothing to come from: there is no {wanted!r}",
                where=stream.name,
                why=f"the columns are {', '.join(own)}",
            )
