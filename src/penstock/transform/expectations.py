"""Expectations: rules that every row must keep. NULL passes, except in not_null.

`unique` acts within a chunk: every row after the first with the same values breaks it. The
pattern of `matches` (RE2) is for the whole value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.engine import literal, quote
from penstock.errors import Rejected
from penstock.pipeline import Expectation, Stream
from penstock.transform import sqltext
from penstock.transform.columns import ROW, Check
from penstock.transform.steps import Input
from penstock.transform.types import digits_of

if TYPE_CHECKING:
    import duckdb

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def place(stream: Stream, rule: Expectation) -> str:
    """Where an expectation stands, for people."""
    line = f", line {rule.line}" if rule.line else ""
    return f"{stream.name}, expect {rule.kind}{line}"


def key_checks(stream: Stream, given: Input) -> tuple[Check, ...]:
    """A key that rows are merged by has no NULL.

    Raises: Rejected if a column of the key is not there.
    """
    if stream.load.write != "merge":
        return ()
    names = [given.named(name, f"{stream.name}, primary_key") for name in stream.primary_key]
    return tuple(
        Check(
            "primary_key", name, f"{quote(name)} IS NOT NULL", "NULL", "'NULL in the primary key'"
        )
        for name in names
    )


def rule_checks(
    connection: duckdb.DuckDBPyConnection, stream: Stream, rule: Expectation, given: Input
) -> tuple[Check, ...]:
    """The checks of one expectation over its input.

    Raises: Rejected if the expectation does not fit its input.
    """
    where, options = place(stream, rule), rule.options
    if rule.kind == "expression":
        text = str(options["sql"])
        sql = sqltext.expression(connection, text, where)
        reason = literal(f"not true: {text.strip()}")
        return (Check("expression", None, f"COALESCE({sql}, true)", "NULL", reason),)
    if rule.kind in ("not_null", "unique"):
        names = [given.named(name, where) for name in _listed(options["columns"])]
        if rule.kind == "unique":
            return (_unique(names),)
        return tuple(
            Check("not_null", name, f"{quote(name)} IS NOT NULL", "NULL", "'is NULL'")
            for name in names
        )
    name = given.named(options["column"], where)
    holds, reason = _column_rule(rule, name, given.columns[name], where)
    value = f"CAST({quote(name)} AS VARCHAR)"
    return (Check(rule.kind, name, f"COALESCE({holds}, true)", value, literal(reason)),)


def _listed(names: Any) -> Sequence[str]:
    return [names] if isinstance(names, str) else list(names)


def _unique(names: Sequence[str]) -> Check:
    columns = ", ".join(quote(name) for name in names)
    empty = " OR ".join(f"{quote(name)} IS NULL" for name in names)
    first = f"lag({ROW}) OVER (PARTITION BY {columns} ORDER BY {ROW}) IS NULL"
    values = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in names)
    reason = literal(f"an earlier row of the chunk has the same {', '.join(names)}")
    column = names[0] if len(names) == 1 else None
    return Check("unique", column, f"({empty} OR {first})", f"concat_ws(', ', {values})", reason)


def _column_rule(rule: Expectation, name: str, kind: str, where: str) -> tuple[str, str]:
    """SQL that holds where the rule is kept, and what to say where it is not."""
    column, options = quote(name), rule.options
    if rule.kind == "matches":
        pattern = str(options["pattern"])
        found = f"regexp_full_match(CAST({column} AS VARCHAR), {literal(pattern)})"
        return found, f"does not match {pattern}"
    if rule.kind == "accepted_values":
        values = [value for value in options["values"] if value is not None]
        listed = ", ".join(_constant(value, kind) for value in values)
        shown = ", ".join(str(value) for value in values)
        return f"{column} IN ({listed})", f"not one of {shown}"
    low, high = options.get("min"), options.get("max")
    bounds, said = [], []
    if low is not None:
        bounds.append(f"{column} >= {_bound(low, kind, where)}")
        said.append(f"at least {low}")
    if high is not None:
        bounds.append(f"{column} <= {_bound(high, kind, where)}")
        said.append(f"at most {high}")
    if not bounds:
        raise Rejected("between needs min, max, or both", where=where)
    return f"({' AND '.join(bounds)})", f"not {' and '.join(said)}"


def _bound(value: Any, kind: str, where: str) -> str:
    if digits_of(kind) is None and kind not in ("FLOAT", "DOUBLE"):
        return _constant(value, kind)
    text = str(value)
    if not _NUMBER.fullmatch(text):
        raise Rejected(f"{text!r} is not a number", where=where)
    return text


def _constant(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"CAST({literal(str(value))} AS {kind})"
