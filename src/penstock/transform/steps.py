"""Steps: clean, derive, filter, sql and dedupe, each a query over the one before it.

clean   {trim, empty_as_null, lower, upper: [columns] or "*", null_if: [texts]}: text columns,
        in this order: trim, empty_as_null, null_if, lower, upper. `null_if` covers the
        columns of the step's other keys, or every text column if it stands alone.
derive  {name: expression, …}: replaces or adds columns; each expression sees the columns as
        they were before the step, and beside them names that were derived before it.
filter  {where: expression}: rows for which it is not true, NULL too, are filtered.
sql     {query, rows}: FROM input. With `rows: keep` (the default) one row in gives at most one
        row out; what is dropped is filtered. With `rows: change` rows lose their identity.
dedupe  {by: [columns] or "*", keep: first | last, order_by}: within a chunk; NULLs are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.engine import quote
from penstock.errors import Rejected
from penstock.pipeline import Step, Stream
from penstock.transform import sqltext
from penstock.transform.casts import WHITESPACE
from penstock.transform.columns import CURSOR, ROW

if TYPE_CHECKING:
    import duckdb

HIDDEN = (ROW, CURSOR)
FIRST = "_penstock_first"


@dataclass(frozen=True, slots=True)
class Input:
    """What a step sees: the name of the query before it, and its columns with DuckDB's types."""

    query: str
    columns: Mapping[str, str]
    cursor: str | None
    """The output name of the cursor column."""
    describe: Callable[[str, str], dict[str, str]]
    """The columns of a query over this input, with DuckDB's types."""

    @property
    def own(self) -> dict[str, str]:
        return {name: kind for name, kind in self.columns.items() if name not in HIDDEN}

    def named(self, name: str, where: str) -> str:
        """The column of this name, in its own spelling.

        Raises: Rejected if there is none.
        """
        for column in self.own:
            if column.casefold() == name.casefold():
                return column
        raise Rejected(
            f"there is no column {name!r} here",
            where=where,
            why=f"the columns are {', '.join(self.own)}",
        )


def place(stream: Stream, step: Step) -> str:
    """Where a step stands, for people."""
    line = f", line {step.line}" if step.line else ""
    return f"{stream.name}, step {step.kind}{line}"


def step_query(
    connection: duckdb.DuckDBPyConnection, stream: Stream, step: Step, given: Input
) -> str:
    """The query of one step. That of a dedupe keeps every row, and marks the ones to keep.

    Raises: Rejected if the step does not fit its input.
    """
    where = place(stream, step)
    if step.kind == "clean":
        return _clean(step.options, given, where)
    if step.kind == "derive":
        return _derive(connection, step.options, given, where)
    if step.kind == "filter":
        condition = sqltext.expression(connection, step.options["where"], where)
        return f"SELECT * FROM {given.query} WHERE {condition}"
    if step.kind == "sql":
        return _sql(connection, step.options, given, where)
    return _dedupe(step.options, given, where)


def changes_rows(step: Step) -> bool:
    """Whether rows lose their identity in this step."""
    return step.kind == "sql" and step.options.get("rows") == "change"


# ---- clean


_CLEAN = ("trim", "collapse_spaces", "empty_as_null", "lower", "upper")


def _clean(options: Mapping[str, Any], given: Input, where: str) -> str:
    if unknown := set(options) - set(_CLEAN):
        raise Rejected(f"clean cannot {', '.join(sorted(unknown))}", where=where)
    chosen = {verb: _texts(options.get(verb) or [], given, where) for verb in _CLEAN}
    replaced = []
    for name in given.own:
        sql = quote(name)
        for verb in _CLEAN:
            if name in chosen[verb]:
                sql = _cleaned(verb, sql)
        if sql != quote(name):
            replaced.append(f"{sql} AS {quote(name)}")
    return f"SELECT *{_replace(replaced)} FROM {given.query}"


def _cleaned(verb: str, sql: str) -> str:
    if verb == "trim":
        return f"trim({sql}, {WHITESPACE})"
    if verb == "collapse_spaces":
        return f"regexp_replace({sql}, '[\\s\\x{{a0}}]+', ' ', 'g')"
    if verb == "empty_as_null":
        return f"NULLIF({sql}, '')"
    return f"{verb}({sql})"


def _texts(names: Any, given: Input, where: str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if "*" in listed:
        return [name for name, kind in given.own.items() if kind == "VARCHAR"]
    found = [given.named(name, where) for name in listed]
    for name in found:
        if given.columns[name] != "VARCHAR":
            raise Rejected(
                f"clean works on text, and {name!r} is {given.columns[name]}", where=where
            )
    return found


def _replace(items: Sequence[str]) -> str:
    return f" REPLACE ({', '.join(items)})" if items else ""


# ---- derive


def _derive(
    connection: duckdb.DuckDBPyConnection, options: Mapping[str, Any], given: Input, where: str
) -> str:
    replaced, added = [], []
    known = {name.casefold(): name for name in given.own}
    for name, text in options.items():
        if name.startswith("_penstock_"):
            raise Rejected(f"{name!r} is a name of Penstock's own", where=where)
        sql = sqltext.expression(connection, str(text), where)
        if name.casefold() in known:
            replaced.append(f"{sql} AS {quote(known[name.casefold()])}")
        else:
            added.append(f", {sql} AS {quote(name)}")
    return f"SELECT *{_replace(replaced)}{''.join(added)} FROM {given.query}"


# ---- sql


def _sql(
    connection: duckdb.DuckDBPyConnection, options: Mapping[str, Any], given: Input, where: str
) -> str:
    text, statement = sqltext.query(connection, options["query"], where)
    if options.get("rows") == "change":
        return _changed(text, given, where)
    _refuse_grouping(statement, where)
    names = given.describe(_over(given.query, text), where)
    missing = [name for name in HIDDEN if name not in names]
    if missing:
        text = _select_also(connection, statement, missing, where)
    ordered = [*(quote(name) for name in names if name not in HIDDEN), *HIDDEN]
    return f"SELECT {', '.join(ordered)} FROM ({_over(given.query, text)})"


def _over(source: str, text: str) -> str:
    return f"WITH input AS (FROM {source}) SELECT * FROM (\n{text}\n)"


def _changed(text: str, given: Input, where: str) -> str:
    source = f"(SELECT {', '.join(quote(name) for name in given.own)} FROM {given.query})"
    names = given.describe(_over(source, text), where)
    cursor = "CAST(NULL AS VARCHAR)"
    if given.cursor is not None:
        kind = given.columns[CURSOR]
        found = [name for name in names if name.casefold() == given.cursor.casefold()]
        cursor = f"CAST({quote(found[0]) if found else 'NULL'} AS {kind})"
    hidden = f"row_number() OVER () - 1 AS {ROW}, {cursor} AS {CURSOR}"
    return f"SELECT *, {hidden} FROM ({_over(source, text)})"


def _refuse_grouping(tree: Any, where: str) -> None:
    """Rows keep their identity only where no two of them become one.

    Why: the row's number joins what is selected, so that DISTINCT, UNION and GROUP BY ALL would
    quietly do nothing.
    """
    for node in sqltext.nodes(tree):
        kind = node.get("type")
        grouped = node.get("aggregate_handling") == "FORCE_AGGREGATES"
        if kind in ("DISTINCT_MODIFIER", "SET_OPERATION_NODE") or grouped:
            raise Rejected(
                "this query makes one row of several",
                where=where,
                why="DISTINCT, UNION and GROUP BY ALL lose which row is which",
                fix="use the step dedupe, or say rows: change",
            )


def _select_also(
    connection: duckdb.DuckDBPyConnection, statement: Any, names: Sequence[str], where: str
) -> str:
    """The query with further columns at the end of its SELECT list."""
    import json

    import duckdb

    for name in names:
        statement["node"]["select_list"].append(
            {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [name]}
        )
    text = json.dumps({"error": False, "statements": [statement]})
    try:
        row = connection.execute("SELECT json_deserialize_sql(?)", [text]).fetchone()
    except duckdb.Error as error:
        raise Rejected(f"SQL: {error}", where=where) from error
    assert row is not None
    return str(row[0])


# ---- dedupe


def _dedupe(options: Mapping[str, Any], given: Input, where: str) -> str:
    by = options.get("by") or "*"
    listed = [by] if isinstance(by, str) else list(by)
    names = list(given.own) if "*" in listed else [given.named(name, where) for name in listed]
    keep = options.get("keep", "last")
    if keep not in ("first", "last"):
        raise Rejected(f"dedupe keeps first or last, not {keep!r}", where=where)
    window = f"(PARTITION BY {', '.join(quote(name) for name in names)} ORDER BY {ROW})"
    mark = "lag" if keep == "first" else "lead"
    return f"SELECT *, {mark}({ROW}) OVER {window} IS NULL AS {FIRST} FROM {given.query}"
